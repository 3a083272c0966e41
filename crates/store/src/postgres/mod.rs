//! Postgres behind several nodes.
//!
//! Each node has one writer that commits in groups. The writers of all nodes are serialized by the `head` row, which
//! each locks first. Reads have their own connections. [`cluster`] has what the coherence protocol needs.

mod batch;
mod cluster;
mod connect;
mod connection;
mod engine;
#[cfg(feature = "sqlite")]
mod import;
mod migrate;
mod prepared;
mod tx_state;

use crate::backend::Backend;
use crate::error::{StoreError, WriteError};
use crate::operations::Written;
use crate::sql::writer::Writer;
use crate::store::{CommitObserver, WriteHealth};
use crate::tx::Tx;
use connect::{Link, Slots, failed, reason};
use connection::PostgresConnection;
use engine::{PostgresReaders, ReaderPool, slow};
use futures_util::future::BoxFuture;
#[cfg(feature = "sqlite")]
pub(crate) use import::Import;
pub use migrate::SchemaChange;
use prepared::Use;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// Connections beside those in use, for each of the three purposes. They take over while the server still holds one
/// that does not respond.
const SPARE: usize = 1;
/// Maximum time to reach the server over the network.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_200);
/// How long this machine takes to notice that a connection is lost in the network (`connect::LOST` relies on it).
const SILENCE: Duration = Duration::from_secs(5);
/// Maximum time to connect at startup.
const START_DEADLINE: Duration = Duration::from_secs(3);

/// An open Postgres store.
pub struct PostgresStore {
    config: Config,
    readers: ReaderPool,
    writer: Writer<PostgresConnection>,
    /// Slots for the connections that write, and for migrations and copies at startup.
    writers: Slots,
    meeting: cluster::PollConnection,
}

impl PostgresStore {
    /// Connects, and migrates the database if it is of an older version. `url` is `postgres://user:password@host/name`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it cannot be reached, refuses the login or is read-only;
    /// [`StoreError::Corrupt`] if a newer version wrote it.
    pub async fn open(url: &str, observer: Arc<dyn CommitObserver>) -> Result<Self, StoreError> {
        let config = configured(url)?;
        let writers = Slots::new(1 + SPARE);
        let until = Instant::now() + START_DEADLINE;
        let link = Link::open(&config, Use::Long, &writers, until).await?;
        let made_ready = async {
            timeout_at(until, must_be_primary(&link)).await.map_err(|_| slow())??;
            timeout_at(until, must_be_unicode(&link)).await.map_err(|_| slow())??;
            migrate::migrate(&link).await?;
            migrate::fill_folded_names(&link).await
        };
        if let Err(error) = made_ready.await {
            link.cancel();
            return Err(error);
        }
        drop(link);
        Ok(Self {
            writer: Writer::start(PostgresConnection::new(config.clone(), writers.clone()), observer)?,
            readers: ReaderPool::new(config.clone()),
            meeting: cluster::PollConnection::new(),
            writers,
            config,
        })
    }
}

impl PostgresStore {
    /// Whether traffic to the database can be read on the network. Returns false for a URL that cannot be parsed.
    pub fn is_reached_unencrypted(url: &str) -> bool {
        let Ok(config) = configured(url) else { return false };
        let is_here = |name: &str| match name.parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => name == "localhost",
        };
        let is_far = |host: &Host| match host {
            Host::Tcp(name) => !is_here(name.trim_matches(['[', ']'])),
            Host::Unix(_) => false,
        };
        let addresses = config.get_hostaddrs();
        match addresses.is_empty() {
            true => config.get_hosts().iter().any(is_far),
            false => addresses.iter().any(|address| !address.is_loopback()),
        }
    }
}

fn configured(url: &str) -> Result<Config, StoreError> {
    // The driver's error may repeat the URL, with its password.
    let mut config: Config = url.parse().map_err(|error| unreadable(url, &error))?;
    if config.get_application_name().is_none() {
        config.application_name("keyreeve");
    }
    config.keepalives_idle(Duration::from_secs(3));
    config.keepalives_interval(Duration::from_secs(1));
    config.keepalives_retries(3);
    config.tcp_user_timeout(SILENCE);
    config.connect_timeout(CONNECT_TIMEOUT);
    Ok(config)
}

/// Returns what is wrong with a URL. Names a parameter that the driver does not know, if it looks like a name.
fn unreadable(url: &str, error: &tokio_postgres::Error) -> StoreError {
    let is_name =
        |name: &&str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    // Only a known phrase of the driver's text is used; the rest may contain a value.
    let said = reason(error);
    let unknown = said
        .split_once("unknown option `")
        .and_then(|(_, rest)| rest.split('`').next());
    let named = unknown.filter(is_name).filter(|name| url.contains(&format!("{name}=")));
    let what = match named {
        Some(name) => format!("the URL has the parameter {name}, which is not known; leave it out"),
        None => "the URL cannot be read; write postgres://user@host/name".to_owned(),
    };
    StoreError::Unavailable(what)
}

/// Names and claims are arbitrary text: only a database in UTF-8 stores all of it and compares it as SQLite does.
async fn must_be_unicode(link: &Link) -> Result<(), StoreError> {
    let ask = "SELECT current_setting('server_encoding') AS encoding";
    let row = link.client().query_typed_one(ask, &[]).await.map_err(failed)?;
    let encoding: String = row.try_get("encoding").map_err(failed)?;
    match encoding.as_str() {
        "UTF8" => Ok(()),
        other => Err(StoreError::Disagreement(format!(
            "the database has the encoding {other}, and must have UTF8: make one with CREATE DATABASE name ENCODING 'UTF8' \
             TEMPLATE template0"
        ))),
    }
}

async fn must_be_primary(link: &Link) -> Result<(), StoreError> {
    let ask = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' AS is_read_only";
    let row = link.client().query_typed_one(ask, &[]).await.map_err(failed)?;
    match row.try_get("is_read_only").map_err(failed)? {
        true => Err(StoreError::Unavailable(
            "it is read-only: name the primary, not a replica".to_owned(),
        )),
        false => Ok(()),
    }
}

impl Backend for PostgresStore {
    type Reader<'s> = PostgresReaders<'s>;

    fn reader(&self) -> PostgresReaders<'_> {
        PostgresReaders(&self.readers)
    }

    async fn write<T, F>(&self, operation: F) -> Result<T, WriteError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut dyn Tx) -> BoxFuture<'t, Result<Written<T>, WriteError>> + Send + 'static,
    {
        self.writer.write(operation).await
    }

    fn write_health(&self) -> WriteHealth {
        self.writer.health()
    }

    async fn close(&self) {
        self.writer.close().await;
        self.readers.close();
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_parameter_of_the_url_is_named_and_nothing_else_of_it() {
        let said = |url: &str| configured(url).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(
            said("postgres://u:hidden@h/k?sslmodus=require").contains("parameter sslmodus"),
            "{}",
            said("postgres://u:hidden@h/k?sslmodus=require")
        );
        for url in [
            "postgres://u:hidden@h/k?hid%20den=1",
            "postgres://u:hidden@h:x/k",
            "postgres://u:hidden@h/k?port=hidden",
        ] {
            assert!(!said(url).is_empty() && !said(url).contains("hid"), "{}", said(url));
        }
        assert_eq!(said("postgres://u@h/k?sslmode=prefer&application_name=x"), "");
    }

    #[test]
    fn only_what_leaves_the_machine_can_be_heard() {
        for (url, is_heard) in [
            ("postgres://u@db.example/k", true),
            ("postgres://u@10.0.0.1/k", true),
            ("postgres://u@localhost/k", false),
            ("postgres://u@127.0.0.1:5433/k", false),
            ("postgres://u@[::1]/k", false),
            ("postgres:///k?host=/run/postgresql", false),
            ("postgres://u@localhost,db.example/k", true),
            ("postgres://u@db.example/k?hostaddr=127.0.0.1", false),
            ("no url", false),
        ] {
            assert_eq!(PostgresStore::is_reached_unencrypted(url), is_heard, "{url}");
        }
    }
}
