//! Copies of a complete instance: a consistent snapshot of one database is read, and loaded into an empty one.
//!
//! Backups, restores and moves are made of these two halves. Rows travel in batches through a bounded channel, so that
//! the memory of a copy does not grow with the instance. Nothing here decides anything about keys.

mod tables;

pub use crate::postgres::{PostgresLoad, PostgresSnapshot};
pub use crate::sqlite::{SqliteLoad, SqliteSnapshot};
pub use tables::{Cell, ColumnKind, CopiedColumn, CopiedTable, TABLES};

use crate::error::StoreError;
use crate::model::Head;
use keyreeve_core::Timestamp;
use keyreeve_core::audit::{ChainHash, HashedEntry};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Rows in one batch, at most.
pub const BATCH_ROWS: usize = 2_000;
/// Batches that wait in a channel between two halves of a copy: one is written while the next one is read.
pub const BATCHES_WAITING: usize = 2;
/// How long a copy waits until a batch is taken. The snapshot is given up then: while it is open the database cannot
/// reuse space.
pub(crate) const BATCH_WAIT_MAX: Duration = Duration::from_secs(300);
/// The niceness of copies beside a server: a tenth of the weight of its other threads where the processors are busy. With
/// less, a busy server would never complete a backup.
const NICE: i32 = 10;

/// The priority of the threads of a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CopyPriority {
    /// That of the process: nothing else is served by it.
    Usual,
    /// Less than that of the other threads of a server.
    Low,
}

/// Rows of one table, in the order of `columns`.
#[derive(Debug)]
pub struct RowBatch {
    /// The table.
    pub table: &'static CopiedTable,
    /// The columns that the rows have. A backup of an older version may lack some; they get the database's default.
    pub columns: Arc<[CopiedColumn]>,
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
}

/// How many rows of a table were copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Copied {
    /// The table.
    pub table: &'static str,
    /// Its rows.
    pub rows: u64,
}

/// What a snapshot is a snapshot of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotFacts {
    /// `sqlite` or `postgres`.
    pub database: &'static str,
    /// The version of the schema: the number of the newest migration.
    pub schema: i64,
    /// The end of the audit log.
    pub head: Head,
    /// The chain hash of the first entry, which identifies the instance; `None` if nothing was ever written.
    pub first: Option<ChainHash>,
    /// The timeline of Postgres that was last seen.
    pub timeline: Option<String>,
    /// Rows by table, to show the progress.
    pub rows: Vec<Copied>,
}

/// A consistent view of a database, which stays as it was when it was opened. It is read once.
#[derive(Debug)]
pub enum InstanceSnapshot {
    /// Of SQLite.
    Embedded(Box<SqliteSnapshot>),
    /// Of Postgres.
    Shared(Box<PostgresSnapshot>),
}

impl InstanceSnapshot {
    /// Returns what it is a snapshot of.
    pub fn facts(&self) -> &SnapshotFacts {
        match self {
            Self::Embedded(snapshot) => snapshot.facts(),
            Self::Shared(snapshot) => snapshot.facts(),
        }
    }

    /// Sends every row of every table, table by table in the order of [`TABLES`], entries of the audit log in their
    /// order. Ends early without an error if the receiver is dropped, which has a reason of its own for that.
    ///
    /// # Errors
    /// If the database fails, or has grown too much in the meantime.
    pub async fn send(self, to: mpsc::Sender<RowBatch>, priority: CopyPriority) -> Result<(), StoreError> {
        match self {
            Self::Embedded(snapshot) => on_thread(priority, move || snapshot.send(&to)).await?,
            Self::Shared(snapshot) => {
                // Its connection is driven by the runtime; the rows are decoded on the thread.
                let runtime = tokio::runtime::Handle::current();
                on_thread(priority, move || runtime.block_on(snapshot.send(&to))).await?
            }
        }
    }
}

/// An empty database that is being filled. Dropped without [`Load::finish`], it leaves nothing behind that is served.
#[derive(Debug)]
pub enum Load {
    /// SQLite, in a file that gets its name at the end.
    Embedded(Box<SqliteLoad>),
    /// Postgres, in one transaction.
    Shared(Box<PostgresLoad>),
}

impl Load {
    /// Loads rows. Tables come in the order of [`TABLES`].
    ///
    /// # Errors
    /// If the database refuses them.
    pub async fn take(&mut self, batch: RowBatch) -> Result<(), StoreError> {
        match self {
            Self::Embedded(load) => load.take(batch).await,
            Self::Shared(load) => load.take(&batch).await,
        }
    }

    /// Commits, if every table has as many rows as were read, and the log ends at `head`.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if they differ; then nothing was loaded.
    pub async fn finish(self, rows: &[Copied], head: Head) -> Result<(), StoreError> {
        match self {
            Self::Embedded(load) => load.finish(rows, head).await,
            Self::Shared(load) => load.finish(rows, head).await,
        }
    }
}

/// Copies everything from a snapshot into an empty database, or nothing.
///
/// # Errors
/// As [`InstanceSnapshot::send`] and [`Load::finish`].
pub async fn copy(from: InstanceSnapshot, mut to: Load) -> Result<Vec<Copied>, StoreError> {
    let head = from.facts().head;
    let (sender, mut batches) = mpsc::channel(BATCHES_WAITING);
    let take = async {
        let mut copied = RowCounts::default();
        while let Some(batch) = batches.recv().await {
            copied.add(&batch);
            to.take(batch).await?;
        }
        Ok::<_, StoreError>((copied, to))
    };
    let ((), (copied, to)) = futures_util::future::try_join(from.send(sender, CopyPriority::Usual), take).await?;
    let copied = copied.all();
    to.finish(&copied, head).await?;
    Ok(copied)
}

/// Counts rows by table.
#[derive(Debug, Default)]
pub struct RowCounts([u64; TABLES.len()]);

impl RowCounts {
    /// Counts the rows of a batch.
    pub fn add(&mut self, batch: &RowBatch) {
        let mut counts = TABLES.iter().zip(self.0.iter_mut());
        if let Some((_, count)) = counts.find(|(table, _)| table.name == batch.table.name) {
            *count += u64::try_from(batch.rows.len()).unwrap_or(u64::MAX);
        }
    }

    /// Returns the rows of every table, in the order of [`TABLES`].
    pub fn all(&self) -> Vec<Copied> {
        let counts = TABLES.iter().zip(self.0);
        counts
            .map(|(table, rows)| Copied {
                table: table.name,
                rows,
            })
            .collect()
    }
}

impl RowBatch {
    /// Returns a batch with all columns of a table.
    pub(crate) fn complete(table: &'static CopiedTable, rows: Vec<Vec<Cell>>) -> Self {
        Self {
            table,
            columns: table.columns.into(),
            rows,
        }
    }

    /// Returns the entry of the audit log in a row, and the chain hash that is stored with it; `None` if the row is of
    /// another table or lacks a field.
    pub fn entry<'r>(&self, row: &'r [Cell]) -> Option<(HashedEntry<'r>, ChainHash)> {
        let cell = |name: &str| {
            let place = self.columns.iter().position(|(column, _)| *column == name)?;
            row.get(place)
        };
        let text = |name: &str| match cell(name)? {
            Cell::Text(text) => Some(text.as_deref()),
            _ => None,
        };
        let int = |name: &str| match cell(name)? {
            Cell::Int(value) => *value,
            _ => None,
        };
        let chain = match cell("chain")? {
            Cell::Blob(bytes) => bytes.as_deref()?.try_into().ok()?,
            _ => return None,
        };
        let entry = HashedEntry {
            revision: u64::try_from(int("revision")?).ok()?,
            at: Timestamp::from_millis(int("at")?),
            tenant: text("tenant")??,
            actor_type: text("actor_type")??,
            actor_id: text("actor_id")??,
            action: text("action")??,
            target_type: text("target_type")??,
            target_id: text("target_id")??,
            subject: text("subject")?,
            reason: text("reason")?,
            address: text("address")?,
            request_id: text("request_id")??,
            before: text("before")?,
            after: text("after")?,
        };
        Some((entry, chain))
    }
}

/// Returns the names of columns, separated by commas.
pub(crate) fn listed(columns: &[CopiedColumn]) -> String {
    columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// Returns the error of a load whose row counts differ from what was read.
pub(crate) fn miscounted(copied: &Copied, arrived: i64) -> StoreError {
    StoreError::Corrupt(format!(
        "{} rows of {} were copied, and {arrived} arrived",
        copied.rows, copied.table
    ))
}

/// Returns the error of a load whose log ends elsewhere than the snapshot's.
pub(crate) fn ends_elsewhere(head: Head) -> StoreError {
    StoreError::Corrupt(format!(
        "the copied audit log does not end at revision {}, or not with its chain hash",
        head.revision
    ))
}

/// Returns the error of a copy whose rows are not taken.
pub(crate) fn not_taken() -> StoreError {
    StoreError::Unavailable(
        "the copy was given up, because what it is written to has taken nothing for too long (a network disk or a client \
         that is blocked): correct that, and try again"
            .to_owned(),
    )
}

/// Runs blocking work on a thread of its own.
///
/// # Errors
/// If the thread cannot be started, or ends without a result.
pub async fn on_thread<T: Send + 'static>(
    priority: CopyPriority,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    let (sender, done) = oneshot::channel();
    let thread = std::thread::Builder::new().name("keyreeve-backup".to_owned());
    let started = thread.spawn(move || {
        if priority == CopyPriority::Low {
            // Of this thread alone. Without the right to do that, it runs like every other.
            let _refused = rustix::process::setpriority_process(None, NICE);
        }
        // An error means that the caller has gone.
        drop(sender.send(work()));
    });
    let failed = |error: &dyn std::fmt::Display| StoreError::Unavailable(format!("cannot copy the database: {error}"));
    started.map_err(|error| failed(&error))?;
    done.await.map_err(|error| failed(&error))
}
