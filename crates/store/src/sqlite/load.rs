//! Fills a new SQLite database, in a file that gets its name when everything is in it and on the disk.

use super::{DATABASE_FILE, aside, beside, engine, look, make_private, migrate};
use crate::copy::{Cell, Copied, CopiedColumn, RowBatch, ends_elsewhere, listed, miscounted};
use crate::error::StoreError;
use crate::model::Head;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Nothing of the file is used before it is complete: it needs no journal, and is synced once, at the end.
const TO_LOAD: &str = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE; \
     PRAGMA foreign_keys = OFF; PRAGMA cache_size = -64000";
/// Indexes are made at the end, from sorted entries: rows of random digests would write a page each.
const INDEXES: &str = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL";
const SET_HEAD: &str = "UPDATE head SET (revision, chain) = \
     (SELECT revision, chain FROM log ORDER BY revision DESC LIMIT 1) WHERE EXISTS (SELECT 1 FROM log)";
const HEAD: &str = "SELECT revision, chain FROM head WHERE id = 1";
const ORPHAN: &str = "SELECT count(*) FROM pragma_foreign_key_check";

/// A database file that is being filled. Dropped before it is finished, the file is removed.
pub struct SqliteLoad {
    parts: Option<Parts>,
}

struct Parts {
    connection: Connection,
    indexes: Vec<(String, String)>,
    /// Held until the file has its final name or is removed.
    unfinished: Unfinished,
    file: PathBuf,
}

/// A file that is removed unless it gets its final name.
struct Unfinished(Option<PathBuf>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            drop(std::fs::remove_file(path));
        }
    }
}

impl SqliteLoad {
    /// Begins a new database in a directory, whose lock the caller holds.
    ///
    /// # Errors
    /// [`StoreError::Disagreement`] if there is a database in it already.
    pub async fn begin(directory: &Path) -> Result<Self, StoreError> {
        let file = directory.join(DATABASE_FILE);
        aside(move || {
            let is_there = std::fs::metadata(&file).is_ok_and(|found| found.len() > 0);
            if is_there || look::has_wal(&file) {
                return Err(StoreError::Disagreement(format!(
                    "there is a database in {} already, and nothing was changed; name an empty directory",
                    file.parent().unwrap_or(Path::new(".")).display()
                )));
            }
            Ok(Self {
                parts: Some(begin(file)?),
            })
        })
        .await
    }

    pub(crate) async fn take(&mut self, batch: RowBatch) -> Result<(), StoreError> {
        let parts = self.parts.take().ok_or_else(ended)?;
        let parts = aside(move || {
            insert(&parts.connection, &batch).map_err(|error| refused(batch.table.name, error))?;
            Ok::<_, StoreError>(parts)
        });
        self.parts = Some(parts.await?);
        Ok(())
    }

    pub(crate) async fn finish(self, copied: &[Copied], head: Head) -> Result<(), StoreError> {
        let (parts, copied) = (self.parts.ok_or_else(ended)?, copied.to_vec());
        aside(move || finish(parts, &copied, head)).await
    }
}

fn ended() -> StoreError {
    StoreError::Unavailable("the copy has failed before".to_owned())
}

fn begin(file: PathBuf) -> Result<Parts, StoreError> {
    let path = beside(&file, "-restoring");
    drop(std::fs::remove_file(&path));
    let unwritable =
        |error: &dyn fmt::Display| StoreError::Unavailable(format!("cannot write {}: {error}", path.display()));
    make_private(&path).map_err(|error| unwritable(&error))?;
    let unfinished = Unfinished(Some(path.clone()));
    let open = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags)?;
        connection.execute_batch(TO_LOAD)?;
        Ok(connection)
    };
    let mut connection = open().map_err(|error: rusqlite::Error| unwritable(&error))?;
    migrate::migrate(&mut connection)?;
    let indexes = without_indexes(&connection).map_err(engine::failed)?;
    connection.execute_batch("BEGIN").map_err(engine::failed)?;
    Ok(Parts {
        connection,
        indexes,
        unfinished,
        file,
    })
}

/// Removes the indexes, and returns their names and definitions.
fn without_indexes(connection: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let mut statement = connection.prepare(INDEXES)?;
    let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let found: Vec<(String, String)> = found.collect::<rusqlite::Result<_>>()?;
    for (name, _) in &found {
        connection.execute_batch(&format!("DROP INDEX {name}"))?;
    }
    Ok(found)
}

fn insert(connection: &Connection, batch: &RowBatch) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(&insertion(batch.table.name, &batch.columns))?;
    for row in &batch.rows {
        for (place, cell) in row.iter().enumerate() {
            statement.raw_bind_parameter(place + 1, value(cell))?;
        }
        statement.raw_execute()?;
    }
    Ok(())
}

fn insertion(table: &str, columns: &[CopiedColumn]) -> String {
    let places = vec!["?"; columns.len()].join(", ");
    format!("INSERT INTO {table} ({}) VALUES ({places})", listed(columns))
}

fn value(cell: &Cell) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(match cell {
        Cell::Int(value) => value.map_or(ValueRef::Null, ValueRef::Integer),
        Cell::Text(value) => value
            .as_ref()
            .map_or(ValueRef::Null, |text| ValueRef::Text(text.as_bytes())),
        Cell::Blob(value) => value.as_ref().map_or(ValueRef::Null, |bytes| ValueRef::Blob(bytes)),
        Cell::Flag(value) => value.map_or(ValueRef::Null, |flag| ValueRef::Integer(i64::from(flag))),
    })
}

/// Names the table whose rows the database has refused.
fn refused(table: &str, error: rusqlite::Error) -> StoreError {
    match engine::failed(error) {
        StoreError::Corrupt(why) => StoreError::Corrupt(format!("rows of {table}: {why}")),
        other => other,
    }
}

fn finish(parts: Parts, copied: &[Copied], head: Head) -> Result<(), StoreError> {
    let Parts {
        connection,
        indexes,
        mut unfinished,
        file,
    } = parts;
    for (name, sql) in &indexes {
        connection.execute_batch(sql).map_err(|error| refused(name, error))?;
    }
    connection.execute_batch(SET_HEAD).map_err(engine::failed)?;
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    for one in copied {
        let arrived = count(&format!("SELECT count(*) FROM {}", one.table)).map_err(engine::failed)?;
        if u64::try_from(arrived) != Ok(one.rows) {
            return Err(miscounted(one, arrived));
        }
    }
    if count(ORPHAN).map_err(engine::failed)? > 0 {
        return Err(StoreError::Corrupt("rows refer to others that are missing".to_owned()));
    }
    let end = connection.query_row(HEAD, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 32]>(1)?)));
    let (revision, chain) = end.map_err(engine::failed)?;
    if u64::try_from(revision) != Ok(head.revision) || chain != head.chain {
        return Err(ends_elsewhere(head));
    }
    connection.execute_batch("COMMIT").map_err(engine::failed)?;
    connection.close().map_err(|(_, error)| engine::failed(error))?;
    let named = unfinished.0.take();
    let path = named.as_deref().unwrap_or(&file);
    let renamed = keep(path, &file);
    if renamed.is_err() {
        drop(std::fs::remove_file(path));
    }
    renamed.map_err(|error| StoreError::Unavailable(format!("cannot write {}: {error}", file.display())))
}

/// Gives the synced file its final name.
fn keep(path: &Path, file: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()?;
    std::fs::rename(path, file)?;
    let synced = file
        .parent()
        .map_or(Ok(()), |directory| File::open(directory)?.sync_all());
    if synced.is_err() {
        // What is reported as not loaded must not be found by the next start.
        std::fs::remove_file(file)?;
    }
    synced
}

impl fmt::Debug for SqliteLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteLoad").finish_non_exhaustive()
    }
}
