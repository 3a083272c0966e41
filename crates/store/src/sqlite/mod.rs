//! SQLite inside the process: the default store.
//!
//! One writer commits in groups; readers have their own connections and never wait for it (WAL). `synchronous=FULL`:
//! what was answered survives power loss. One process per data directory, by an exclusive lock.

mod engine;
mod fold;
mod migrate;
#[cfg(test)]
mod plans;
#[cfg(feature = "postgres")]
mod pour;

use crate::error::StoreError;
use crate::lock::DirectoryLock;
use crate::sql::store::SqlStore;
use crate::sql::writer::Writer;
use crate::store::{CommitObserver, Store as _};
use async_trait::async_trait;
use deadpool::unmanaged::Pool;
use engine::{Connection, Readers};
use rusqlite::OpenFlags;
use std::fmt;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Connections that read. Reads are short; more would only wait for the same two disks and cores.
const READERS: usize = 4;
/// How long a connection waits for a lock that a backup tool may hold.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements kept by a connection: more than this crate has.
const STATEMENTS_KEPT: usize = 128;

/// For each row that a `CHECK (word IN (…))` guards, SQLite makes a table of those words and throws it away; this
/// connection writes only words that come from an enum, and everybody else's are checked.
const TO_WRITE: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
     PRAGMA ignore_check_constraints = ON; PRAGMA cache_size = -4000";
/// Waits for the disk before the log begins anew.
const TO_FOLD: &str = "PRAGMA synchronous = FULL";
/// A quarter of the usual cache each: what is read often lies in the system's cache anyway.
const TO_READ: &str = "PRAGMA query_only = ON; PRAGMA cache_size = -500";

/// An open SQLite store. Dropping it without [`crate::Store::close`] loses nothing that was answered.
pub struct SqliteStore {
    readers: Pool<rusqlite::Connection>,
    writer: Writer<Connection>,
    _lock: Option<DirectoryLock>,
}

impl SqliteStore {
    /// Opens the store in a directory, which is made if it does not exist; migrates it if it is of an older version.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process has it; [`StoreError::Corrupt`] if a newer version wrote it.
    pub async fn open(directory: &Path, observer: Arc<dyn CommitObserver>) -> Result<Self, StoreError> {
        let lock = DirectoryLock::take(directory)?;
        let file = directory.join("keyreeve.db");
        make_private(&file)?;
        let (connection, readers) = aside(move || opened(&file)).await?;
        Ok(Self {
            readers: Pool::from(readers),
            writer: Writer::start(connection, observer)?,
            _lock: Some(lock),
        })
    }

    /// Opens a database file for reading only: a copy, or the file of an instance that is running. Every change is
    /// refused as unavailable.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it cannot be opened; [`StoreError::Corrupt`] if it is not one of ours.
    pub async fn open_to_read(file: &Path) -> Result<Self, StoreError> {
        let path = file.to_owned();
        let reader = aside(move || connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY, TO_READ)).await?;
        let store = Self {
            readers: Pool::from(vec![reader]),
            writer: Writer::closed(),
            _lock: None,
        };
        let foreign = |_| StoreError::Corrupt(format!("{} is no database of Keyreeve", file.display()));
        store.head().await.map_err(foreign)?;
        Ok(store)
    }
}

/// Runs what waits for the disk where it holds nobody up.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| StoreError::Unavailable(error.to_string()))?
}

/// The connection that writes, when everything is migrated, and those that read.
fn opened(file: &Path) -> Result<(Connection, Vec<rusqlite::Connection>), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut writer = connect(file, flags, TO_WRITE)?;
    migrate::migrate(&mut writer)?;
    let readers = (0..READERS).map(|_| connect(file, flags, TO_READ));
    let readers = readers.collect::<Result<_, _>>()?;
    let folder = fold::beside(&mut writer, connect(file, flags, TO_FOLD)?, fold::Limits::default())?;
    Ok((Connection { writer, folder }, readers))
}

fn connect(file: &Path, flags: OpenFlags, settings: &str) -> Result<rusqlite::Connection, StoreError> {
    let connect = || {
        // Each connection is used by one thread at a time.
        let connection = rusqlite::Connection::open_with_flags(file, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        connection.execute_batch(settings)?;
        Ok(connection)
    };
    connect().map_err(|error: rusqlite::Error| StoreError::Unavailable(format!("cannot open the database: {error}")))
}

#[async_trait]
impl SqlStore for SqliteStore {
    type Reader<'s> = Readers<'s>;
    type Connection = Connection;

    fn reader(&self) -> Readers<'_> {
        Readers(&self.readers)
    }

    fn writer(&self) -> &Writer<Connection> {
        &self.writer
    }

    async fn close_readers(&self) {
        for _ in 0..self.readers.status().size {
            // One that is busy for too long is closed by whoever drops the store.
            drop(self.readers.timeout_remove(Some(BUSY_TIMEOUT)).await);
        }
        self.readers.close();
    }
}

/// Digests are no secrets, but names and owners are nobody else's business on a shared machine.
fn make_private(file: &Path) -> Result<(), StoreError> {
    let opened = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(file);
    opened
        .map(drop)
        .map_err(|error| StoreError::Unavailable(format!("cannot open {}: {error}", file.display())))
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}
