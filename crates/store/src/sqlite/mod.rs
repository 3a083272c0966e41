//! SQLite inside the process: the default store.
//!
//! One writer commits in groups; readers have connections of their own and never wait for it (WAL). With
//! `synchronous=FULL`, an answered change survives power loss. An exclusive lock allows one process per data directory.

mod checkpoint;
mod engine;
#[cfg(feature = "postgres")]
mod export;
mod log_watch;
mod look;
mod migrate;
#[cfg(test)]
mod plans;
mod watch;

pub use look::{FoundDatabase, inspect_database};

use crate::backend::Backend;
use crate::error::{StoreError, WriteError};
use crate::lock::DirectoryLock;
use crate::model::Head;
use crate::operations::Written;
use crate::reads::Reads as _;
use crate::sql::writer::Writer;
use crate::store::{CommitObserver, WriteHealth};
use crate::tx::Tx;
use deadpool::unmanaged::Pool;
use engine::{SqliteConnection, SqliteReaders};
use futures_util::future::BoxFuture;
use rusqlite::{FileControl, OpenFlags};
use std::fmt;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use watch::FileWatch;

/// The database in a data directory.
pub const DATABASE_FILE: &str = "keyreeve.db";
/// Number of connections that read. Reads are short; more would only wait for the same disks and cores.
const READERS: usize = 4;
/// What SQLite needs beside the file to begin: one region of the WAL index, and a few pages of the WAL.
const ROOM_BYTES: usize = 64 * 1024;
/// How long a connection waits for a lock that a backup tool may hold.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements kept by a connection: more than this crate has.
const STATEMENTS_KEPT: usize = 128;

/// For each row under a `CHECK (word IN (…))`, SQLite builds a table of those words and discards it. This connection
/// writes only words that come from an enum; those of other programs are still checked.
const TO_WRITE: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
     PRAGMA ignore_check_constraints = ON; PRAGMA cache_size = -4000";
/// Syncs the database file before the WAL restarts.
const TO_FOLD: &str = "PRAGMA synchronous = FULL";
/// A quarter of the usual cache each: pages that are read often are usually in the system's cache. The last connection
/// to close checkpoints the WAL and truncates it.
const TO_READ: &str = "PRAGMA query_only = ON; PRAGMA cache_size = -500; PRAGMA journal_size_limit = 0";

/// An open SQLite store. Dropping it without [`crate::Store::close`] loses no answered change.
pub struct SqliteStore {
    readers: Pool<rusqlite::Connection>,
    writer: Writer<SqliteConnection>,
    file: PathBuf,
    watch: Arc<FileWatch>,
    /// Why nothing can be changed, if that is so.
    read_only: Option<String>,
    _lock: Option<DirectoryLock>,
}

impl SqliteStore {
    /// Opens the store in a directory, which is created if it does not exist. Migrates a store of an older version.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process has it; [`StoreError::Corrupt`] if a newer version wrote it.
    pub async fn open(directory: &Path, observer: Arc<dyn CommitObserver>) -> Result<Self, StoreError> {
        Self::open_locked(directory, DirectoryLock::take(directory)?, observer).await
    }

    /// Opens the store in a directory whose lock is held. If the directory or a file is read-only, or the disk is too
    /// full for SQLite to begin, it is opened for reading only, and [`crate::Store::obstacle`] returns the reason.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub async fn open_locked(
        directory: &Path,
        lock: DirectoryLock,
        observer: Arc<dyn CommitObserver>,
    ) -> Result<Self, StoreError> {
        let file = directory.join(DATABASE_FILE);
        if let Some(why) = lock.obstacle() {
            return Self::open_read_only(file, lock, why).await;
        }
        if let Err(error) = make_private(&file) {
            return match crate::lock::is_read_only(&error) && file.exists() {
                true => Self::open_read_only(file, lock, "the database file is read-only").await,
                false => {
                    let why = format!("cannot open {}: {error}", file.display());
                    Err(StoreError::Unavailable(why))
                }
            };
        }
        let path = file.clone();
        let (connection, readers, watch) = match aside(move || opened(&path)).await {
            Ok(opened) => opened,
            Err(Opening::DiskFull) => {
                let why = "the disk is full, and was when the server started: make room and start it again";
                return Self::open_read_only(file, lock, why).await;
            }
            Err(Opening::Failed(error)) => return Err(error),
        };
        Ok(Self {
            readers: Pool::from(readers),
            writer: Writer::start(connection, observer)?,
            file,
            watch,
            read_only: None,
            _lock: Some(lock),
        })
    }

    /// Opens a store that cannot be written.
    async fn open_read_only(file: PathBuf, lock: DirectoryLock, why: &'static str) -> Result<Self, StoreError> {
        let path = file.clone();
        let readers = aside(move || {
            if !matches!(std::fs::metadata(&path), Ok(found) if found.len() > 0) {
                return Err(StoreError::Unavailable(format!(
                    "{why}, and there is no instance in it yet"
                )));
            }
            let readers = (0..READERS).map(|_| look::connect_to_read(&path));
            let readers: Vec<_> = readers.collect::<Result<_, _>>()?;
            if let Some(reader) = readers.first() {
                migrate::require_newest(reader, why)?;
            }
            Ok(readers)
        });
        let readers = readers.await?;
        Ok(Self {
            readers: Pool::from(readers),
            writer: Writer::read_only(why.to_owned()),
            watch: Arc::new(FileWatch::start(&file)),
            file,
            read_only: Some(why.to_owned()),
            _lock: Some(lock),
        })
    }

    /// Opens a database file for reading only: a copy, or the file of a running instance. Every change is refused as
    /// unavailable.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it cannot be opened; [`StoreError::Corrupt`] if it is not one of ours.
    pub async fn open_to_read(file: &Path) -> Result<Self, StoreError> {
        let path = file.to_owned();
        let reader = aside(move || look::connect_to_read(&path)).await?;
        let store = Self {
            readers: Pool::from(vec![reader]),
            writer: Writer::read_only("the database is open for reading only".to_owned()),
            file: file.to_owned(),
            watch: Arc::new(FileWatch::start(file)),
            read_only: Some("the database is open for reading only".to_owned()),
            _lock: None,
        };
        let foreign = |_| StoreError::Corrupt(format!("{} is no database of Keyreeve", file.display()));
        store.reader().head().await.map_err(foreign)?;
        Ok(store)
    }

    /// Checks that the open files are still those in the directory, and that the database file itself has only moved
    /// forward. Call it once a second. An error is permanent until the process ends: nothing is read or written any
    /// more.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with what was found.
    pub async fn look_after_files(&self) -> Result<(), StoreError> {
        let (file, watch) = (self.file.clone(), Arc::clone(&self.watch));
        let Some((stamp, head)) = aside(move || {
            watch.look()?;
            let change = watch.change();
            Ok::<_, StoreError>(change.map(|(stamp, is_shorter)| (stamp, inside(&file, &watch, is_shorter))))
        })
        .await?
        else {
            return Ok(());
        };
        let inside = match head {
            Ok(head) => self.require_own(head).await?,
            Err(odd) => Err(odd),
        };
        if let Some(revision) = self.watch.settle(stamp, inside)
            && self.read_only.is_none()
        {
            let (file, watch) = (self.file.clone(), Arc::clone(&self.watch));
            aside(move || {
                if let Ok(opened) = watch.opened() {
                    look::note_folded(&file, opened, revision);
                }
                Ok::<_, StoreError>(())
            })
            .await?;
        }
        self.watch.require_sound()
    }

    /// Returns why nothing is read or written any more; `None` if all is well.
    pub fn halt_reason(&self) -> Option<String> {
        self.watch.halt_reason().map(str::to_owned)
    }

    /// Checks that the audit log of the open database contains the head of the file.
    async fn require_own(&self, head: Head) -> Result<watch::Inside, StoreError> {
        let revision = head.revision;
        if revision == 0 {
            return Ok(Ok(0));
        }
        let found = self
            .reader()
            .with(move |connection| look::chain_at(connection, revision).map_err(engine::failed))
            .await?;
        let other = || format!("{} ends in another history than the open database", self.file.display());
        Ok(if found == Some(head.chain) {
            Ok(revision)
        } else {
            Err(watch::Odd::Other(other()))
        })
    }
}

/// Returns the head of the database file alone, without its WAL.
fn inside(file: &Path, watch: &FileWatch, is_shorter: bool) -> Result<Head, watch::Odd> {
    let opened = || watch.opened().map_err(|error| error.to_string());
    let require_whole = || look::require_whole(file, opened()?);
    let whole = if is_shorter { require_whole() } else { Ok(()) };
    match whole.and_then(|()| look::head_in_file(file)) {
        Ok(head) => Ok(head),
        Err(why) if is_shorter || !opened().is_ok_and(look::begins_well) => Err(watch::Odd::Unreadable(why)),
        Err(_) => Err(watch::Odd::HalfFolded),
    }
}

/// Returns the path of a file beside the database.
fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Runs blocking work on a thread where it delays no task.
async fn aside<T: Send + 'static, E: From<StoreError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| E::from(StoreError::Unavailable(error.to_string())))?
}

/// Why the database could not be opened for writing.
enum Opening {
    /// SQLite has no room for its files beside the database. Nothing was changed.
    DiskFull,
    Failed(StoreError),
}

impl From<StoreError> for Opening {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

type OpenedConnections = (SqliteConnection, Vec<rusqlite::Connection>, Arc<FileWatch>);

/// Opens the connection that writes, migrates, and opens those that read.
fn opened(file: &Path) -> Result<OpenedConnections, Opening> {
    if !look::has_wal(file)
        && let Ok(head) = look::head_in_file(file)
    {
        // Before anything is written: the WAL continues from this revision. No connection is open yet.
        if let Ok(unlocked) = std::fs::File::open(file) {
            look::note_folded(file, &unlocked, head.revision);
        }
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut writer = connect(file, flags, TO_WRITE).map_err(|error| full_or(file, error))?;
    migrate::migrate(&mut writer).map_err(|error| full_or(file, error))?;
    let readers = (0..READERS).map(|_| connect(file, flags, TO_READ));
    let mut readers = readers.collect::<Result<Vec<_>, _>>()?;
    let own = connect(file, flags, TO_FOLD)?;
    for connection in readers.iter_mut().chain([&mut writer]) {
        keep_files(connection)?;
    }
    keep_files(&own)?;
    // After the connections: SQLite has created all files by then, and all are watched.
    let watch = Arc::new(FileWatch::start_with_log(file));
    let checkpointer = checkpoint::beside(&mut writer, own, checkpoint::CheckpointLimits::default())?;
    let connection = SqliteConnection {
        writer,
        checkpointer,
        watch: Arc::clone(&watch),
    };
    Ok((connection, readers, watch))
}

/// Keeps the WAL and its index, empty, when the last connection is closed: on a full disk they could not be created
/// again, and the next start could not even read.
fn keep_files(connection: &rusqlite::Connection) -> Result<(), StoreError> {
    let mut keep = 1;
    let kept = connection.file_control(Some("main"), FileControl::PersistWal(&mut keep));
    kept.map_err(|error| StoreError::Unavailable(format!("cannot open the database: {error}")))
}

/// Whether opening failed because the disk is full. If the WAL index does not fit, SQLite reports other reasons.
fn full_or(file: &Path, error: StoreError) -> Opening {
    match (error, is_full(file)) {
        (StoreError::Unavailable(_), true) => Opening::DiskFull,
        (other, _) => Opening::Failed(other),
    }
}

/// Whether there is no room for SQLite's files beside the database. Found by writing, because file systems have
/// reserves and quotas.
fn is_full(file: &Path) -> bool {
    let path = beside(file, "-room");
    let tried = std::fs::write(&path, vec![0; ROOM_BYTES]);
    // If it cannot be removed, the next try overwrites it.
    drop(std::fs::remove_file(&path));
    tried.is_err_and(|error| {
        matches!(
            error.kind(),
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
        )
    })
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

impl Backend for SqliteStore {
    type Reader<'s> = SqliteReaders<'s>;

    fn reader(&self) -> SqliteReaders<'_> {
        SqliteReaders {
            pool: &self.readers,
            watch: &self.watch,
        }
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

    fn halt(&self, why: &str) {
        self.watch.fail(why);
    }

    fn obstacle(&self) -> Option<String> {
        let halt_reason = self.watch.halt_reason().map(str::to_owned);
        halt_reason.or_else(|| self.read_only.clone())
    }

    async fn close(&self) {
        self.writer.close().await;
        for _ in 0..self.readers.status().size {
            // A connection that stays busy for too long is closed when the store is dropped.
            let reader = self.readers.timeout_remove(Some(BUSY_TIMEOUT)).await;
            if let Ok(reader) = reader
                && self.watch.halt_reason().is_some()
            {
                engine::leave(reader);
            }
        }
        self.readers.close();
    }
}

/// Makes the file private. Digests are not secret, but names and owners must not be readable by other users of the
/// machine.
fn make_private(file: &Path) -> std::io::Result<()> {
    let opened = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(file);
    opened.map(drop)
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}
