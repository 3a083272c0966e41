//! SQLite inside the process: the default store.
//!
//! One writer commits in groups; readers have their own connections and never wait for it (WAL). `synchronous=FULL`:
//! what was answered survives power loss. One process per data directory, by an exclusive lock.

mod engine;
#[cfg(feature = "postgres")]
mod pour;

use crate::error::StoreError;
use crate::lock::DirectoryLock;
use crate::sql::store::SqlStore;
use crate::sql::writer::Writer;
use crate::store::{CommitObserver, Store as _};
use async_trait::async_trait;
use engine::{Connection, Readers};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, SqlSafeStr as _, SqlitePool};
use std::fmt;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Connections that read. Reads are short; more would only wait for the same two disks and cores.
const READERS: u32 = 4;
/// How long a connection waits for a lock that a backup tool may hold.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements kept by a connection: more than this crate has.
const STATEMENTS_KEPT: usize = 128;
/// How long a read may wait for a free connection before the store counts as away.
const READER_WAIT: Duration = Duration::from_secs(2);

/// An open SQLite store. Dropping it without [`crate::Store::close`] loses nothing that was answered.
pub struct SqliteStore {
    readers: SqlitePool,
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
        let options = options(&file);
        let mut connection = options.connect().await.map_err(|error| at_open(&error))?;
        migrator()
            .run(&mut connection)
            .await
            .map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(READER_WAIT)
            .connect_with(options.pragma("query_only", "ON"))
            .await
            .map_err(|error| at_open(&error))?;
        Ok(Self {
            readers,
            writer: Writer::start(Connection(connection), observer),
            _lock: Some(lock),
        })
    }
}

impl SqliteStore {
    /// Opens a database file for reading only: a copy, or the file of an instance that is running. Every change is
    /// refused as unavailable.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it cannot be opened; [`StoreError::Corrupt`] if it is not one of ours.
    pub async fn open_to_read(file: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .read_only(true)
            .busy_timeout(BUSY_TIMEOUT);
        let readers = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(READER_WAIT)
            .connect_with(options)
            .await
            .map_err(|error| at_open(&error))?;
        let store = Self {
            readers,
            writer: Writer::closed(),
            _lock: None,
        };
        let foreign = |_| StoreError::Corrupt(format!("{} is no database of Keyreeve", file.display()));
        store.head().await.map_err(foreign)?;
        Ok(store)
    }
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
        self.readers.close().await;
    }
}

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(STATEMENTS_KEPT)
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

fn at_open(error: &sqlx::Error) -> StoreError {
    StoreError::Unavailable(format!("cannot open the database: {error}"))
}

/// The migrations are in the binary. A merged one is never edited (ARCHITECTURE.md, A9).
fn migrator() -> Migrator {
    let migration = |number, name: &'static str, sql: &'static str| {
        Migration::new(number, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(vec![
        migration(
            1,
            "foundation",
            include_str!("../../migrations/sqlite/0001_foundation.sql"),
        ),
        migration(
            2,
            "lifecycle",
            include_str!("../../migrations/sqlite/0002_lifecycle.sql"),
        ),
        migration(
            4,
            "dashboard",
            include_str!("../../migrations/sqlite/0004_dashboard.sql"),
        ),
    ])
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}
