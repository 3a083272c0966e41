//! Postgres behind several nodes.
//!
//! Each node has one writer that commits in groups. The writers of all nodes are serialized by the `head` row, which
//! each locks first. Reads have their own connections. [`cluster`] has what the coherence protocol needs.

mod access;
mod batch;
mod cluster;
mod connect;
mod connection;
mod connector;
mod engine;
#[cfg(feature = "sqlite")]
mod load;
mod login;
mod migrate;
mod prepared;
mod refusal;
#[cfg(feature = "sqlite")]
mod snapshot;
mod tls;
mod tx_state;

use crate::backend::Backend;
use crate::error::{StoreError, WriteError};
use crate::operations::Written;
use crate::sql::writer::Writer;
use crate::store::{CommitObserver, WriteHealth};
use crate::tx::Tx;
pub use access::{DatabaseAccess, GivenAccess, LoginEnvironment, NetworkExposure, OnWait};
use connect::{Link, Slots, failed};
use connection::PostgresConnection;
use connector::{Connector, NotConnected};
use engine::{PostgresReaders, ReaderPool, slow};
use futures_util::future::BoxFuture;
#[cfg(feature = "sqlite")]
pub use load::PostgresLoad;
pub use migrate::SchemaChange;
use prepared::Use;
#[cfg(feature = "sqlite")]
pub use snapshot::PostgresSnapshot;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// Connections beside those in use, for each of the three purposes. They take over while the server still holds one
/// that does not respond.
const SPARE: usize = 1;
/// Maximum time of one attempt to connect at the start.
const START_DEADLINE: Duration = Duration::from_secs(3);
/// Interval between attempts while the start waits for the database.
const WAIT_INTERVAL: Duration = Duration::from_millis(250);
/// Minimum time between two reports that the start waits.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Ends the time limits of a transaction that copies an instance: roles may have some, and a server gives up a client
/// that does not read for a while. Settings that a server does not have are left out.
#[cfg(feature = "sqlite")]
const NO_TIMEOUTS: &str = "SELECT set_config(name, '0', TRUE) FROM pg_settings WHERE name IN ('statement_timeout', \
     'lock_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout', 'tcp_user_timeout')";

/// An open Postgres store.
pub struct PostgresStore {
    connector: Connector,
    readers: ReaderPool,
    writer: Writer<PostgresConnection>,
    /// Slots for connections that copy.
    #[cfg(feature = "sqlite")]
    copiers: Slots,
    meeting: cluster::PollConnection,
}

impl PostgresStore {
    /// Connects, and migrates the database if it is of an older version. Waits for a database that is not up yet, as long
    /// as `access` has it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it cannot be reached, refuses the login or is read-only;
    /// [`StoreError::Corrupt`] if a newer version wrote it.
    pub async fn open(access: &DatabaseAccess, observer: Arc<dyn CommitObserver>) -> Result<Self, StoreError> {
        let connector = Connector::new(access.clone());
        let writers = Slots::new(1 + SPARE);
        let link = first_link(access, &connector, &writers).await?;
        let until = Instant::now() + START_DEADLINE;
        let made_ready = async {
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
            writer: Writer::start(PostgresConnection::new(connector.clone(), writers), observer)?,
            readers: ReaderPool::new(connector.clone()),
            meeting: cluster::PollConnection::new(),
            #[cfg(feature = "sqlite")]
            copiers: Slots::new(1 + SPARE),
            connector,
        })
    }
}

/// Returns a connection to the primary. Waits for a database that is not up yet; what only an operator can correct ends
/// the wait at once.
async fn first_link(access: &DatabaseAccess, connector: &Connector, slots: &Slots) -> Result<Link, StoreError> {
    let give_up = Instant::now() + access.0.wait;
    let mut next_report = Instant::now();
    loop {
        let until = Instant::now() + START_DEADLINE;
        let failure = match primary(connector, slots, until).await {
            Ok(link) => return Ok(link),
            Err(failure) => failure,
        };
        let now = Instant::now();
        if failure.is_final || now + WAIT_INTERVAL > give_up {
            return Err(StoreError::Unavailable(failure.why));
        }
        if let Some(report) = access.0.on_wait.filter(|_| now >= next_report) {
            next_report = now + REPORT_INTERVAL;
            if report(&failure.why).is_break() {
                return Err(StoreError::Unavailable(failure.why));
            }
        }
        sleep(WAIT_INTERVAL).await;
    }
}

async fn primary(connector: &Connector, slots: &Slots, until: Instant) -> Result<Link, NotConnected> {
    let link = Link::open_first(connector, Use::Long, slots, until).await?;
    let is_primary = timeout_at(until, must_be_primary(&link)).await.map_err(|_| slow());
    match is_primary.and_then(|asked| asked) {
        Ok(()) => Ok(link),
        Err(error) => {
            link.cancel();
            Err(NotConnected::passing(error))
        }
    }
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
