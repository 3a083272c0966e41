//! A consistent view of SQLite, on a connection of its own.
//!
//! One read transaction, so that no other connection is delayed and nothing is read twice. It has a price: the WAL
//! cannot restart while the transaction is open. SQLite's backup API has that price too when it copies all pages in one
//! step, needs the space of a second database, and with smaller steps begins again at each commit of the writer. So
//! the growth of the WAL is bounded instead: a backup beside too many changes fails, and the changes do not.

use super::{beside, look};
use crate::copy::{
    BATCH_ROWS, BATCH_WAIT_MAX, Cell, ColumnKind, Copied, CopiedTable, RowBatch, SnapshotFacts, TABLES, listed,
    not_taken,
};
use crate::error::StoreError;
use crate::model::Head;
use crate::sqlite::{aside, engine, migrate};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _};
use rustix::fs::statvfs;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

/// Bytes by which the WAL may grow while a snapshot is read.
const LOG_GROWTH_MAX: u64 = 4 << 30;
/// Free bytes on the disk below which a snapshot under which the WAL grows is given up.
const FREE_MIN: u64 = 256 << 20;
/// Growth of the WAL from which the free space is looked at.
const LOG_GROWTH_LITTLE: u64 = 32 << 20;

/// The shortest and the longest time between two attempts to send a batch.
const WAIT_STEPS: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(250));

const HEAD: &str = "SELECT revision, chain FROM head WHERE id = 1";
const FIRST: &str = "SELECT chain FROM log WHERE revision = 1";

/// An open read transaction.
pub struct SqliteSnapshot {
    connection: Connection,
    file: PathBuf,
    log_bytes: u64,
    growth_max: u64,
    wait_max: Duration,
    facts: SnapshotFacts,
}

impl SqliteSnapshot {
    /// Opens a snapshot of a database file, beside a running server or without one. Nothing is changed or migrated.
    ///
    /// # Errors
    /// If the file cannot be read, or is of another version.
    pub async fn open(file: &Path) -> Result<Self, StoreError> {
        let file = file.to_owned();
        aside(move || begin(file)).await
    }

    /// Returns what it is a snapshot of.
    pub const fn facts(&self) -> &SnapshotFacts {
        &self.facts
    }

    /// Sends every row. Blocks.
    pub(crate) fn send(&self, to: &mpsc::Sender<RowBatch>) -> Result<(), StoreError> {
        for table in &TABLES {
            if !self.send_table(table, to)? {
                break;
            }
        }
        Ok(())
    }

    /// Sends the rows of a table. Returns false if the receiver was dropped.
    fn send_table(&self, table: &'static CopiedTable, to: &mpsc::Sender<RowBatch>) -> Result<bool, StoreError> {
        let order = if table.name == "log" { " ORDER BY revision" } else { "" };
        let sql = format!("SELECT {} FROM {}{order}", listed(table.columns), table.name);
        let mut statement = self.connection.prepare(&sql).map_err(engine::failed)?;
        let mut rows = statement.query([]).map_err(engine::failed)?;
        let mut batch = Vec::with_capacity(BATCH_ROWS);
        while let Some(row) = rows.next().map_err(engine::failed)? {
            batch.push(cells(row, table)?);
            if batch.len() == BATCH_ROWS {
                let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH_ROWS));
                if !self.send_batch(RowBatch::complete(table, full), to)? {
                    return Ok(false);
                }
            }
        }
        Ok(batch.is_empty() || self.send_batch(RowBatch::complete(table, batch), to)?)
    }

    /// Sends a batch, and waits for a bounded time until it is taken. Returns false if the receiver was dropped.
    fn send_batch(&self, mut batch: RowBatch, to: &mpsc::Sender<RowBatch>) -> Result<bool, StoreError> {
        let began = Instant::now();
        loop {
            // While it waits, too: the WAL grows then.
            self.require_short_log()?;
            batch = match to.try_send(batch) {
                Ok(()) => return Ok(true),
                Err(TrySendError::Closed(_)) => return Ok(false),
                Err(TrySendError::Full(_)) if began.elapsed() >= self.wait_max => return Err(not_taken()),
                Err(TrySendError::Full(batch)) => batch,
            };
            // Short at first: usually the receiver is only a little behind.
            std::thread::sleep((began.elapsed() / 4).clamp(WAIT_STEPS.0, WAIT_STEPS.1));
        }
    }

    /// Returns an error if the WAL has grown too much since the snapshot was opened.
    fn require_short_log(&self) -> Result<(), StoreError> {
        let growth = log_bytes(&self.file).saturating_sub(self.log_bytes);
        let is_disk_short = || {
            let disk = statvfs(self.file.parent().unwrap_or(Path::new(".")));
            disk.is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < FREE_MIN)
        };
        let why = match growth {
            _ if growth > self.growth_max => "its WAL has grown by 4 GiB",
            _ if growth > LOG_GROWTH_LITTLE && is_disk_short() => "the disk is nearly full",
            _ => return Ok(()),
        };
        Err(StoreError::Unavailable(format!(
            "the copy was given up, because {why} while it was read: make it when fewer changes are made"
        )))
    }
}

fn begin(file: PathBuf) -> Result<SqliteSnapshot, StoreError> {
    let connection = look::connect_to_read(&file)?;
    connection.execute_batch("BEGIN").map_err(engine::failed)?;
    let foreign = |_| StoreError::Corrupt(format!("{} is no database of Keyreeve", file.display()));
    let head = connection.query_row(HEAD, [], |row| {
        Ok(Head {
            revision: u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0),
            chain: row.get(1)?,
        })
    });
    let head = head.map_err(foreign)?;
    migrate::require_newest(&connection, "the database is only read for a copy")?;
    let first = connection.query_row(FIRST, [], |row| row.get(0)).optional();
    let mut rows = Vec::new();
    for table in &TABLES {
        let count = format!("SELECT count(*) FROM {}", table.name);
        let count: i64 = connection
            .query_row(&count, [], |row| row.get(0))
            .map_err(engine::failed)?;
        rows.push(Copied {
            table: table.name,
            rows: u64::try_from(count).unwrap_or(0),
        });
    }
    let facts = SnapshotFacts {
        database: "sqlite",
        schema: migrate::newest(),
        head,
        first: first.map_err(engine::failed)?,
        timeline: None,
        rows,
    };
    Ok(SqliteSnapshot {
        log_bytes: log_bytes(&file),
        growth_max: LOG_GROWTH_MAX,
        wait_max: BATCH_WAIT_MAX,
        connection,
        file,
        facts,
    })
}

fn log_bytes(file: &Path) -> u64 {
    std::fs::metadata(beside(file, "-wal")).map_or(0, |found| found.len())
}

fn cells(row: &rusqlite::Row<'_>, table: &CopiedTable) -> Result<Vec<Cell>, StoreError> {
    let unreadable = |name: &str| StoreError::Corrupt(format!("{}.{name}", table.name));
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned).ok();
    let cell = |(place, (name, kind)): (usize, &(&'static str, ColumnKind))| {
        let value = row.get_ref(place).map_err(engine::failed)?;
        Ok(match (kind, value) {
            (ColumnKind::Int, ValueRef::Null) => Cell::Int(None),
            (ColumnKind::Int, ValueRef::Integer(value)) => Cell::Int(Some(value)),
            (ColumnKind::Text, ValueRef::Null) => Cell::Text(None),
            (ColumnKind::Text, ValueRef::Text(bytes)) => Cell::Text(Some(text(bytes).ok_or_else(|| unreadable(name))?)),
            (ColumnKind::Blob, ValueRef::Null) => Cell::Blob(None),
            (ColumnKind::Blob, ValueRef::Blob(bytes)) => Cell::Blob(Some(bytes.to_vec())),
            (ColumnKind::Flag, ValueRef::Null) => Cell::Flag(None),
            (ColumnKind::Flag, ValueRef::Integer(value)) => Cell::Flag(Some(value != 0)),
            _ => return Err(unreadable(name)),
        })
    };
    table.columns.iter().enumerate().map(cell).collect()
}

impl fmt::Debug for SqliteSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteSnapshot").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Tables that a copy does not have, and why.
    const LEFT_OUT: [&str; 5] = [
        // The end of the audit log, which a copy sets from its last entry.
        "head",
        // Made by the migrations of the new database.
        "keyreeve_migrations",
        // Kept by triggers while keys are written.
        "subject_keys",
        // Sessions and sign-in links, and addresses that keys were used from: of one running instance.
        "logins",
        "traces",
    ];

    #[test]
    fn a_snapshot_beside_too_many_changes_or_before_a_blocked_receiver_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keyreeve.db");
        let mut writer = Connection::open(&file).unwrap();
        writer.execute_batch("PRAGMA journal_mode = WAL").unwrap();
        migrate::migrate(&mut writer).unwrap();
        let rows = "INSERT INTO usage (key_id, hour, outcome, count) WITH RECURSIVE number (n) AS \
             (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 3000) SELECT randomblob(16), n, 'valid', 1 FROM number";
        writer.execute_batch(rows).unwrap();
        let send = |growth_max: u64| {
            let mut snapshot = begin(file.clone()).unwrap();
            snapshot.growth_max = growth_max;
            writer.execute_batch(rows).unwrap();
            // Enough for every batch.
            let (sender, _batches) = mpsc::channel(100);
            snapshot.send(&sender).map_err(|error| error.to_string())
        };
        assert_eq!(send(LOG_GROWTH_MAX), Ok(()));
        let why = send(1_000).unwrap_err();
        assert!(why.contains("when fewer changes are made"), "{why}");

        // A receiver that takes nothing does not keep the snapshot open.
        let mut snapshot = begin(file.clone()).unwrap();
        snapshot.wait_max = Duration::from_millis(50);
        let (sender, _blocked) = mpsc::channel(1);
        let why = snapshot.send(&sender).unwrap_err().to_string();
        assert!(why.contains("has taken nothing"), "{why}");
    }

    #[test]
    fn every_column_of_every_table_is_copied_or_left_out_for_a_reason() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate::migrate(&mut connection).unwrap();
        let found = "SELECT m.name || '.' || c.name FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS c \
             WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'";
        let mut statement = connection.prepare(found).unwrap();
        let found = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        let is_copied = |column: &String| !LEFT_OUT.iter().any(|table| column.starts_with(&format!("{table}.")));
        let found: BTreeSet<_> = found.map(Result::unwrap).filter(is_copied).collect();
        let columns = |table: &CopiedTable| {
            table
                .columns
                .iter()
                .map(|(name, _)| format!("{}.{name}", table.name))
                .collect::<Vec<_>>()
        };
        let copied: BTreeSet<_> = TABLES.iter().flat_map(columns).collect();
        assert_eq!(copied, found);
    }
}
