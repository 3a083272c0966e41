//! Inspects a database before it is opened, or the file without its WAL, without changing anything.

use super::{TO_READ, aside, beside, connect};
use crate::error::StoreError;
use crate::model::Head;
use keyreeve_core::audit::ChainHash;
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

const HEAD: &str = "SELECT revision, chain FROM head";
const CHAIN: &str = "SELECT chain FROM log WHERE revision = ?1";
const ENTRIES: &str = "SELECT count(*) FROM log";
const HAS_HEAD: &str = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'head'";
/// The first bytes of every SQLite database.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// What has a meaning in a URI of SQLite (sqlite.org/uri.html, section 3.1), and none in a path.
const NOT_IN_A_PATH: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#');
/// Any query that makes SQLite read the file.
const ANYTHING: &str = "SELECT count(*) FROM sqlite_master";

/// What is in a data directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FoundDatabase {
    /// No database file.
    Missing,
    /// A file without any change.
    Empty,
    /// A database with an audit log.
    Log {
        /// The end of the audit log.
        head: Head,
        /// The chain of the requested entry; `None` if there is no such entry.
        chain_there: Option<ChainHash>,
        /// Entries are missing in between.
        has_gaps: bool,
        /// The file has a lower revision than was noted for it, and a WAL is beside it: they are not of the same copy,
        /// unless both are of an older one.
        is_older_than_log: bool,
    },
}

/// Inspects the database of a directory, and the entry of its audit log at a revision. Nothing is created, migrated or
/// changed. Hold the directory's lock until it returns.
///
/// # Errors
/// [`StoreError::Corrupt`] if the file is no database of ours, [`StoreError::Unavailable`] if it cannot be read.
pub async fn inspect_database(directory: &Path, revision: u64) -> Result<FoundDatabase, StoreError> {
    let file = directory.join(super::DATABASE_FILE);
    aside(move || look_at(&file, revision)).await
}

fn look_at(file: &Path, revision: u64) -> Result<FoundDatabase, StoreError> {
    let length = match std::fs::metadata(file) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(FoundDatabase::Missing),
        Err(error) => return Err(unreadable(file, &error)),
    };
    let has_log = has_wal(file);
    if length == 0 && !has_log {
        return Ok(FoundDatabase::Empty);
    }
    // Read before SQLite opens the file, which may checkpoint the WAL into it.
    let folded = if has_log { head_in_file(file).ok() } else { None };
    let connection = connect_to_read(file)?;
    let broken = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
            StoreError::Corrupt(format!("{} is damaged, or no database: {error}", file.display()))
        }
        _ => unreadable(file, &error),
    };
    let is_ours = connection.query_row(HAS_HEAD, [], |_| Ok(())).optional();
    if is_ours.map_err(broken)?.is_none() {
        return Ok(FoundDatabase::Empty);
    }
    let head = head_of(&connection).map_err(broken)?;
    let chain_there = chain_at(&connection, revision).map_err(broken)?;
    // Without a WAL the end of the audit log is conclusive. With one, an older file may lie under a newer WAL.
    match head.revision {
        0 => Ok(FoundDatabase::Empty),
        _ => Ok(FoundDatabase::Log {
            head,
            chain_there,
            has_gaps: has_log && has_gaps(&connection, head).map_err(broken)?,
            is_older_than_log: has_log && is_older_than_noted(file, folded),
        }),
    }
}

fn unreadable(file: &Path, error: &dyn std::error::Error) -> StoreError {
    StoreError::Unavailable(format!("cannot read {}: {error}", file.display()))
}

fn head_of(connection: &Connection) -> rusqlite::Result<Head> {
    connection.query_row(HEAD, [], |row| {
        let revision: i64 = row.get(0)?;
        Ok(Head {
            revision: u64::try_from(revision).unwrap_or(0),
            chain: row.get(1)?,
        })
    })
}

/// Returns the chain that is stored with an entry.
pub(super) fn chain_at(connection: &Connection, revision: u64) -> rusqlite::Result<Option<ChainHash>> {
    let revision = i64::try_from(revision).unwrap_or(i64::MAX);
    connection.query_row(CHAIN, [revision], |row| row.get(0)).optional()
}

fn has_gaps(connection: &Connection, head: Head) -> rusqlite::Result<bool> {
    let entries: i64 = connection.query_row(ENTRIES, [], |row| row.get(0))?;
    Ok(u64::try_from(entries).ok() != Some(head.revision))
}

/// Whether there is a WAL with contents beside the file.
pub(super) fn has_wal(file: &Path) -> bool {
    std::fs::metadata(beside(file, "-wal")).is_ok_and(|found| found.len() > 0)
}

/// Opens a connection to a database without writers. If SQLite cannot create its files beside the database, the file is
/// opened as immutable, which is possible if all of the database is in the file itself.
pub(super) fn connect_to_read(file: &Path) -> Result<Connection, StoreError> {
    let usual = connect(file, OpenFlags::SQLITE_OPEN_READ_ONLY, TO_READ);
    let usual = usual.and_then(|connection| match connection.query_row(ANYTHING, [], |_| Ok(())) {
        Ok(()) => Ok(connection),
        Err(error) => Err(unreadable(file, &error)),
    });
    match usual {
        Err(_) if !has_wal(file) => immutable(file),
        Err(StoreError::Unavailable(why)) => Err(StoreError::Unavailable(format!(
            "{why}. The last changes are still in {}, and reading them needs a directory that can be written to, with \
             some free space: start there once, or put the directory on a disk that has it",
            beside(file, "-wal").display()
        ))),
        other => other,
    }
}

/// Opens the file as it is, without its WAL and without locks: for a file that does not change, or for one read.
fn immutable(file: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    connect(&uri(file), flags, TO_READ)
}

/// Returns the URI of a file for SQLite.
fn uri(file: &Path) -> PathBuf {
    let path = percent_encode(file.as_os_str().as_bytes(), NOT_IN_A_PATH);
    PathBuf::from(format!("file:{path}?immutable=1"))
}

/// Returns the end of the audit log at the last checkpoint; revision 0 if nothing was checkpointed yet.
pub(super) fn head_in_file(file: &Path) -> Result<Head, String> {
    let connection = immutable(file).map_err(|error| error.to_string())?;
    let read = || match connection.query_row(HAS_HEAD, [], |_| Ok(())).optional()? {
        Some(()) => head_of(&connection),
        None => Ok(Head {
            revision: 0,
            chain: [0; 32],
        }),
    };
    read().map_err(|error| format!("{} cannot be read: {error}", file.display()))
}

/// Whether the file is as long as its first page records (sqlite.org/fileformat.html, section 1.3).
pub(super) fn require_whole(file: &Path, opened: &File) -> Result<(), String> {
    let cut = || format!("{} was cut off", file.display());
    let mut first = [0_u8; 100];
    opened.read_exact_at(&mut first, 0).map_err(|_| cut())?;
    let length = opened.metadata().map_err(|error| error.to_string())?.len();
    let page = first.get(16..18).and_then(|bytes| bytes.try_into().ok());
    let page = page.map_or(0, |bytes| u64::from(u16::from_be_bytes(bytes)));
    let page = if page == 1 { 65_536 } else { page };
    let pages = first.get(28..32).and_then(|bytes| bytes.try_into().ok());
    let pages = pages.map_or(0, |bytes| u64::from(u32::from_be_bytes(bytes)));
    match length < page.saturating_mul(pages) {
        true => Err(cut()),
        false => Ok(()),
    }
}

/// The file that stores which revision was checkpointed into the database file. An older copy of that file under a WAL
/// that continues from a newer one would otherwise look like a complete database.
fn note_of(file: &Path) -> PathBuf {
    beside(file, "-folded")
}

fn is_older_than_noted(file: &Path, folded: Option<Head>) -> bool {
    let noted = std::fs::read_to_string(note_of(file)).unwrap_or_default();
    let noted: u64 = noted.trim().parse().unwrap_or(0);
    // A file that cannot be read alone is partly checkpointed.
    folded.is_some_and(|head| head.revision < noted)
}

/// Whether the file starts as a database does, or is empty.
pub(super) fn begins_well(opened: &File) -> bool {
    let mut first = [0_u8; MAGIC.len()];
    let read = opened.read_at(&mut first, 0);
    read.is_ok_and(|length| length == 0 || first == *MAGIC)
}

/// Stores which revision was checkpointed into the file. Best effort: a note that is too low finds less, and is never a
/// false alarm. While connections are open, `opened` must stay open, too ([`FileWatch::opened`](super::watch::FileWatch)).
pub(super) fn note_folded(file: &Path, opened: &File, revision: u64) {
    let fresh = beside(file, "-folded.new");
    let write = || {
        // What was read may not be on the disk yet, and a note must not survive a power cut that the file's pages did
        // not.
        opened.sync_all()?;
        let mut options = std::fs::OpenOptions::new();
        let options = options.create(true).write(true).truncate(true).mode(0o600);
        writeln!(options.open(&fresh)?, "{revision}")?;
        // Renamed into its place: a reader finds the old note or the new one, never a part of one.
        std::fs::rename(&fresh, note_of(file))
    };
    drop(write());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn a_file_is_opened_whatever_bytes_its_path_has() {
        let directory = tempfile::tempdir().unwrap();
        for name in [&b"plain"[..], b"50%25?x=1#y &+", b"latin-\xe9", "ünïcode".as_bytes()] {
            let folder = directory.path().join(OsStr::from_bytes(name));
            std::fs::create_dir(&folder).unwrap();
            let file = folder.join("keyreeve.db");
            let written = Connection::open(&file).unwrap();
            written
                .execute_batch("CREATE TABLE here (x); INSERT INTO here VALUES (1)")
                .unwrap();
            drop(written);
            let read = immutable(&file).unwrap();
            let count: i64 = read
                .query_row("SELECT count(*) FROM here", [], |row| row.get(0))
                .unwrap();
            assert_eq!(count, 1, "{}", file.display());
        }
    }
}
