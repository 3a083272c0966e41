//! Postgres behind several nodes.
//!
//! One writer per node commits in groups, and all writers of all nodes go one after the other by the `head` row, which
//! each takes first. Readers have their own connections. What coherence needs stands in [`cluster`].

mod bulk;
mod cluster;
mod connect;
mod connection;
mod engine;
#[cfg(feature = "sqlite")]
mod fill;
mod message;
mod migrate;
mod prepared;
mod turn;

use crate::error::StoreError;
use crate::sql::store::SqlStore;
use crate::sql::writer::Writer;
use crate::store::CommitObserver;
use async_trait::async_trait;
use connect::{Link, failed, reason};
use connection::Connection;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use engine::Readers;
#[cfg(feature = "sqlite")]
pub(crate) use fill::Filling;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::config::Host;
use tokio_postgres::{Config, NoTls};

/// Connections that read. More would only wait for the same cores.
const READERS: usize = 8;
/// How long a read waits for a connection.
const READER_WAIT: Duration = Duration::from_millis(1_200);

/// An open Postgres store.
pub struct PostgresStore {
    config: Config,
    readers: Pool,
    writer: Writer<Connection>,
    meeting: cluster::Meeting,
}

impl PostgresStore {
    /// Connects, and migrates the database if it is of an older version. `url` is `postgres://user:password@host/name`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it cannot be reached, refuses the login or is read-only;
    /// [`StoreError::Corrupt`] if a newer version wrote it.
    pub async fn open(url: &str, observer: Arc<dyn CommitObserver>) -> Result<Self, StoreError> {
        let config = configured(url)?;
        let link = Link::open(&config).await?;
        must_be_primary(&link).await?;
        migrate::migrate(&link).await?;
        drop(link);
        let settings = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let readers = Pool::builder(Manager::from_config(config.clone(), NoTls, settings))
            .max_size(READERS)
            .wait_timeout(Some(READER_WAIT))
            .create_timeout(Some(READER_WAIT))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| StoreError::Unavailable(reason(&error)))?;
        Ok(Self {
            writer: Writer::start(Connection::new(config.clone()), observer)?,
            readers,
            config,
            meeting: cluster::Meeting::default(),
        })
    }
}

impl PostgresStore {
    /// Whether what goes between this machine and the database can be heard on the way. A URL that cannot be read leads
    /// nowhere.
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
    // What the driver says of a URL may repeat it, and a password with it.
    let unreadable = |_| StoreError::Unavailable("the URL cannot be read; write postgres://user@host/name".to_owned());
    let mut config: Config = url.parse().map_err(unreadable)?;
    if config.get_application_name().is_none() {
        config.application_name("keyreeve");
    }
    config.keepalives_idle(Duration::from_secs(5));
    config.connect_timeout(READER_WAIT);
    Ok(config)
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

#[async_trait]
impl SqlStore for PostgresStore {
    type Reader<'s> = Readers<'s>;
    type Connection = Connection;

    fn reader(&self) -> Readers<'_> {
        Readers(&self.readers)
    }

    fn writer(&self) -> &Writer<Connection> {
        &self.writer
    }

    async fn close_readers(&self) {
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
