//! Statements on SQLite.

use super::watch::FileWatch;
use crate::error::StoreError;
use crate::sql::rows::corrupt;
use crate::sql::writer::WriteEngine;
use crate::sql::{Columns, Dialect, Engine, PlainParameter, Statement, Value, list, same_digest};
use async_trait::async_trait;
use deadpool::unmanaged::Pool;
use rusqlite::ffi::{ErrorCode, SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE, SQLITE_IOERR_WRITE};
use rusqlite::types::{ToSqlOutput, Value as Cell, ValueRef};
use rusqlite::{CachedStatement, ToSql};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::time::Instant;

/// How long a read may wait for an idle connection before the store counts as unavailable.
const READER_WAIT: Duration = Duration::from_secs(2);

pub(super) const DIALECT: Dialect = Dialect {
    keys_of_subject: list::OF_SUBJECT_INDEXED,
    use_credentials: concat!(
        "UPDATE credentials SET last_used_at = max(coalesce(last_used_at, 0), u.at) FROM ",
        "(SELECT unhex(value ->> 0) AS digest, value ->> 1 AS at FROM json_each(?1)) AS u WHERE ",
        same_digest!("credentials.digest", "u.digest"),
        " AND last_used_at IS NULL"
    ),
    use_keys: concat!(
        "UPDATE keys SET last_used_at = max(coalesce(keys.last_used_at, 0), u.at) FROM ",
        "(SELECT c.key_id AS id, max(j.value ->> 1) AS at FROM json_each(?1) AS j JOIN credentials AS c ON ",
        same_digest!("c.digest", "unhex(j.value ->> 0)"),
        " GROUP BY c.key_id) AS u WHERE keys.id = u.id"
    ),
    refuse_keys: "UPDATE keys SET last_refused_at = max(coalesce(keys.last_refused_at, 0), u.at) FROM \
         (SELECT unhex(value ->> 0) AS id, value ->> 1 AS at FROM json_each(?1)) AS u WHERE keys.id = u.id",
    add_counts: "INSERT INTO usage (key_id, hour, outcome, count, extra_cost) \
         SELECT unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(?1) WHERE true \
         ON CONFLICT DO UPDATE SET count = count + excluded.count, \
         extra_cost = extra_cost + excluded.extra_cost",
    usage_of: "SELECT key_id, hour, outcome, count, extra_cost FROM usage \
         WHERE key_id IN (SELECT unhex(value) FROM json_each(?1)) AND hour >= ?2 AND hour < ?3 ORDER BY 1, 2, 3",
    add_traces: "INSERT INTO traces (key_id, outcome, address, count, last_at) \
         SELECT unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(?1) WHERE true \
         ON CONFLICT DO UPDATE SET count = count + excluded.count, last_at = max(last_at, excluded.last_at)",
    trim_traces: "DELETE FROM traces WHERE (key_id, outcome, address) IN (SELECT key_id, outcome, address FROM \
         (SELECT key_id, outcome, address, row_number() OVER (PARTITION BY key_id ORDER BY last_at DESC) AS place \
         FROM traces WHERE key_id IN (SELECT unhex(value) FROM json_each(?1))) AS ranked WHERE place > ?2)",
};

/// Converts the database's own failures: unavailable, busy, disk full.
pub(super) fn failed(error: rusqlite::Error) -> StoreError {
    match error {
        rusqlite::Error::SqliteFailure(inner, why) if inner.code == ErrorCode::ConstraintViolation => {
            let is_twice = [SQLITE_CONSTRAINT_UNIQUE, SQLITE_CONSTRAINT_PRIMARYKEY].contains(&inner.extended_code);
            let why = why.unwrap_or_else(|| inner.to_string());
            match is_twice {
                true => StoreError::Corrupt(why),
                false => StoreError::Unavailable(why),
            }
        }
        other => StoreError::Unavailable(other.to_string()),
    }
}

/// Whether a commit that failed like this has certainly written nothing that can come back after a rollback.
///
/// A commit is a run of pages at the end of the WAL. The last one carries the commit mark that makes all of them valid.
/// If writing a page failed, that mark is missing or does not match its checksum. After the last page the WAL is synced
/// and then published to other connections: if one of those steps failed, a restart may find a complete commit (SQLite
/// documentation, "WAL-mode File Format" and "Result and Error Codes").
fn leaves_nothing(error: &rusqlite::Error) -> bool {
    let rusqlite::Error::SqliteFailure(error, _) = error else {
        return false;
    };
    let is_before_the_end = matches!(
        error.code,
        ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked
    );
    is_before_the_end || error.extended_code == SQLITE_IOERR_WRITE
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        fn or_null<'v, T>(value: Option<T>, kind: impl Fn(T) -> ValueRef<'v>) -> ValueRef<'v> {
            value.map_or(ValueRef::Null, kind)
        }
        let value = match self.plain() {
            PlainParameter::Int(value) => or_null(value, ValueRef::Integer),
            PlainParameter::Text(value) => or_null(value, |text| ValueRef::Text(text.as_bytes())),
            PlainParameter::Blob(value) => or_null(value, ValueRef::Blob),
            PlainParameter::Flag(value) => ValueRef::Integer(i64::from(value)),
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

/// A row that was read.
#[derive(Debug)]
pub(crate) struct SqliteRow {
    names: Arc<[Box<str>]>,
    cells: Vec<Cell>,
}

impl SqliteRow {
    fn cell(&self, name: &str) -> Result<&Cell, StoreError> {
        let place = self.names.iter().position(|known| **known == *name);
        let cell = place.and_then(|place| self.cells.get(place));
        cell.ok_or_else(|| corrupt(name))
    }
}

impl Columns for SqliteRow {
    fn int(&self, name: &str) -> Result<Option<i64>, StoreError> {
        match self.cell(name)? {
            Cell::Null => Ok(None),
            Cell::Integer(value) => Ok(Some(*value)),
            _ => Err(corrupt(name)),
        }
    }

    fn text(&self, name: &str) -> Result<Option<&str>, StoreError> {
        match self.cell(name)? {
            Cell::Null => Ok(None),
            Cell::Text(value) => Ok(Some(value)),
            _ => Err(corrupt(name)),
        }
    }

    fn blob(&self, name: &str) -> Result<Option<&[u8]>, StoreError> {
        match self.cell(name)? {
            Cell::Null => Ok(None),
            Cell::Blob(value) => Ok(Some(value)),
            _ => Err(corrupt(name)),
        }
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, StoreError> {
        Ok(self.int(name)?.map(|value| value != 0))
    }
}

fn bind(statement: &mut rusqlite::Statement<'_>, values: &[impl ToSql]) -> rusqlite::Result<()> {
    let wanted = statement.parameter_count();
    if wanted != values.len() {
        return Err(rusqlite::Error::InvalidParameterCount(values.len(), wanted));
    }
    let mut places = values.iter().enumerate();
    places.try_for_each(|(place, value)| statement.raw_bind_parameter(place + 1, value))
}

/// Prepares a statement, or takes it from the cache, and binds its parameters.
fn prepared<'c>(
    connection: &'c rusqlite::Connection,
    sql: &str,
    values: &[impl ToSql],
) -> rusqlite::Result<CachedStatement<'c>> {
    let mut statement = connection.prepare_cached(sql)?;
    bind(&mut statement, values)?;
    Ok(statement)
}

/// Runs prepared statements one after the other. Consecutive ones usually have the same text: then the last one is used
/// again without a cache look-up, which costs as much as binding ten parameters.
struct AtHand<'c> {
    connection: &'c rusqlite::Connection,
    last: Option<(&'static str, CachedStatement<'c>)>,
}

impl<'c> AtHand<'c> {
    const fn of(connection: &'c rusqlite::Connection) -> Self {
        let last = None;
        Self { connection, last }
    }

    /// Passes the next statement, with its parameters, to a function.
    fn with<T>(
        &mut self,
        next: &Statement<'_>,
        work: impl FnOnce(&mut rusqlite::Statement<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut statement = match self.last.take() {
            Some((sql, statement)) if sql == next.sql => statement,
            _ => self.connection.prepare_cached(next.sql).map_err(failed)?,
        };
        bind(&mut statement, &next.values).map_err(failed)?;
        let done = work(&mut statement)?;
        self.last = Some((next.sql, statement));
        Ok(done)
    }
}

fn touched(statement: &mut rusqlite::Statement<'_>) -> Result<u64, StoreError> {
    let rows = statement.raw_execute().map_err(failed)?;
    Ok(u64::try_from(rows).unwrap_or(u64::MAX))
}

fn run_on(connection: &rusqlite::Connection, sql: &str, values: &[impl ToSql]) -> Result<u64, StoreError> {
    touched(&mut *prepared(connection, sql, values).map_err(failed)?)
}

/// Runs a statement without parameters.
fn run_plain(connection: &rusqlite::Connection, sql: &str) -> rusqlite::Result<()> {
    prepared(connection, sql, &[0_i64; 0])?.raw_execute().map(drop)
}

fn rows_of(connection: &rusqlite::Connection, sql: &str, values: &[impl ToSql]) -> Result<Vec<SqliteRow>, StoreError> {
    let mut found = Vec::new();
    each_row(connection, sql, values, |row| {
        found.push(row);
        Ok(true)
    })?;
    Ok(found)
}

/// Passes every row of a statement to a function, until that returns false.
pub(super) fn each_row(
    connection: &rusqlite::Connection,
    sql: &str,
    values: &[impl ToSql],
    take: impl FnMut(SqliteRow) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    each_row_of(&mut *prepared(connection, sql, values).map_err(failed)?, take)
}

fn each_row_of(
    statement: &mut rusqlite::Statement<'_>,
    mut take: impl FnMut(SqliteRow) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let names: Arc<[Box<str>]> = statement.column_names().map(Into::into).collect();
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next().map_err(failed)? {
        let cells = (0..names.len()).map(|place| row.get(place)).collect::<Result<_, _>>();
        let cells = cells.map_err(failed)?;
        let names = Arc::clone(&names);
        if !take(SqliteRow { names, cells })? {
            break;
        }
    }
    Ok(())
}

/// Connections that read, on threads that may block on the disk; each statement sees one snapshot.
#[derive(Debug)]
pub(crate) struct SqliteReaders<'p> {
    pub(super) pool: &'p Pool<rusqlite::Connection>,
    pub(super) watch: &'p FileWatch,
}

impl SqliteReaders<'_> {
    /// Passes an idle connection to a function.
    pub(super) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&rusqlite::Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let away = |why: String| StoreError::Unavailable(why);
        self.watch.require_sound()?;
        let waited = tokio::time::timeout(READER_WAIT, self.pool.get()).await;
        let got = waited.map_err(|_| away("every connection to the database is busy".to_owned()))?;
        let connection = got.map_err(|_| away("the store is closed".to_owned()))?;
        let done = tokio::task::spawn_blocking(move || work(&connection)).await;
        let done = done.map_err(|error| away(error.to_string()))?;
        // Again: what was read from files that are no longer in their place must not be answered.
        self.watch.require_sound()?;
        done
    }
}

#[async_trait]
impl Engine for SqliteReaders<'_> {
    type Row = SqliteRow;
    const DIALECT: Dialect = DIALECT;

    async fn run(&mut self, statement: Statement<'_>) -> Result<u64, StoreError> {
        let Statement { sql, values, .. } = statement.kept();
        self.with(move |connection| run_on(connection, sql, &values)).await
    }

    async fn rows(&mut self, statement: Statement<'_>) -> Result<Vec<SqliteRow>, StoreError> {
        let Statement { sql, values, .. } = statement.kept();
        self.with(move |connection| rows_of(connection, sql, &values)).await
    }
}

/// The connection that writes, on the writer's own thread: a statement waits only for the disk.
#[derive(Debug)]
pub(crate) struct SqliteConnection {
    pub(super) writer: rusqlite::Connection,
    /// The thread that checkpoints the WAL.
    pub(super) checkpointer: JoinHandle<()>,
    pub(super) watch: Arc<FileWatch>,
}

#[async_trait]
impl Engine for SqliteConnection {
    type Row = SqliteRow;
    const DIALECT: Dialect = DIALECT;

    async fn run(&mut self, statement: Statement<'_>) -> Result<u64, StoreError> {
        run_on(&self.writer, statement.sql, &statement.values)
    }

    async fn rows(&mut self, statement: Statement<'_>) -> Result<Vec<SqliteRow>, StoreError> {
        rows_of(&self.writer, statement.sql, &statement.values)
    }

    async fn rows_of_all(&mut self, statements: Vec<Statement<'_>>) -> Result<Vec<SqliteRow>, StoreError> {
        let mut found = Vec::with_capacity(statements.len());
        let mut at_hand = AtHand::of(&self.writer);
        for statement in &statements {
            at_hand.with(statement, |prepared| {
                each_row_of(prepared, |row| {
                    found.push(row);
                    Ok(true)
                })
            })?;
        }
        Ok(found)
    }
}

/// Leaves a connection open without a checkpoint, as a killed process would, so that the files can be examined later.
#[expect(
    clippy::mem_forget,
    reason = "closing would fold the log into files that are not ours any more"
)]
pub(super) fn leave(connection: rusqlite::Connection) {
    std::mem::forget(connection);
}

impl SqliteConnection {
    fn say(&mut self, sql: &'static str) -> Result<(), StoreError> {
        run_plain(&self.writer, sql).map_err(failed)
    }
}

#[async_trait]
impl WriteEngine for SqliteConnection {
    async fn change(&mut self, statements: Vec<Statement<'_>>) -> Result<(), StoreError> {
        let mut at_hand = AtHand::of(&self.writer);
        for statement in &statements {
            if at_hand.with(statement, touched)? != 1 && statement.touches_one() {
                return Err(corrupt("a row that was just read is gone"));
            }
        }
        Ok(())
    }

    /// Uses a thread of its own: no task is scheduled between the statements of a change, which would cost more than
    /// the statements.
    fn launch(task: impl Future<Output = ()> + Send + 'static) -> Result<(), StoreError> {
        let runtime = tokio::runtime::Handle::current();
        let thread = std::thread::Builder::new().name("keyreeve-writer".to_owned());
        let started = thread.spawn(move || runtime.block_on(task));
        let failed = |error: std::io::Error| StoreError::Unavailable(format!("cannot start a thread: {error}"));
        started.map(drop).map_err(failed)
    }

    async fn begin(&mut self, _until: Instant) -> Result<(), StoreError> {
        self.watch.require_sound()?;
        // A deferred transaction could find the database locked at its first write, in the middle of a change.
        self.say("BEGIN IMMEDIATE")
    }

    async fn save(&mut self) -> Result<(), StoreError> {
        self.say("SAVEPOINT job")
    }

    async fn keep(&mut self) -> Result<(), StoreError> {
        self.say("RELEASE job")
    }

    async fn undo(&mut self) -> Result<(), StoreError> {
        // SQLite keeps the savepoint after this, until it is released.
        self.say("ROLLBACK TO job")?;
        self.say("RELEASE job")
    }

    async fn commit(&mut self, _is_news: bool) -> Result<(), StoreError> {
        // A commit to a file that is already deleted would be answered and then lost when the process ends.
        self.watch.look()?;
        let Err(error) = run_plain(&self.writer, "COMMIT") else {
            return Ok(());
        };
        // A write error makes SQLite roll back; after other errors the transaction is still open.
        let is_undone = self.writer.is_autocommit() || run_plain(&self.writer, "ROLLBACK").is_ok();
        Err(match is_undone && leaves_nothing(&error) {
            true => StoreError::Unavailable(error.to_string()),
            false => StoreError::OutcomeUnknown(error.to_string()),
        })
    }

    async fn roll_back(&mut self) {
        // SQLite may have rolled back already (disk full): then nothing is left to undo.
        if !self.writer.is_autocommit() {
            drop(self.say("ROLLBACK"));
        }
    }

    async fn close(self) {
        if self.watch.halt_reason().is_some() {
            // A checkpoint would write into files that do not belong to this process any more, and delete the WAL
            // beside them.
            leave(self.writer);
            return;
        }
        self.watch.note_closing();
        // The last connection to close checkpoints the WAL; if that fails, the next start does it.
        drop(self.writer.close());
        // Ends when the connection is closed, whose hook has the sender that the thread waits for.
        drop(self.checkpointer.join());
    }
}
