//! WAL checkpoints beside the writer.
//!
//! A commit is appended to the WAL. A checkpoint later writes its pages to their places in the database file: thousands
//! of random writes, which take tens of milliseconds. Changes would wait if the writer did that, so a thread does it on
//! a connection of its own while the writer continues. But the WAL restarts from its beginning only when all of it is
//! checkpointed, and the writer keeps appending. So the thread repeats until little is left, and the writer checkpoints
//! that rest itself, after its commit.
//!
//! Durability does not depend on this: what is committed is in the WAL.

use crate::error::StoreError;
use rusqlite::hooks::Wal;
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, DEFAULT_NAME};
use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Maximum number of checkpoints that the thread makes in a row, for what was appended while it ran.
const PASSES: u32 = 5;

/// When to checkpoint, in pages of the WAL (4 KiB).
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckpointLimits {
    /// The thread begins. A page that is in the WAL several times is written once.
    pub(super) begin: u32,
    /// What the writer checkpoints in a few milliseconds.
    pub(super) little: u32,
    /// The writer checkpoints everything, and changes wait for it: the thread has ended or does not keep up.
    pub(super) most: u32,
}

impl Default for CheckpointLimits {
    fn default() -> Self {
        Self {
            begin: 4_000,
            little: 400,
            most: 16_000,
        }
    }
}

/// State that the writer and the thread share.
#[derive(Debug, Default)]
struct State {
    /// Pages in the WAL at the last commit.
    pages: AtomicU32,
    /// The thread has left the rest to the writer.
    is_nearly_done: AtomicBool,
}

/// Makes the writer's commits wake a thread that checkpoints. It ends when the writer's connection is closed.
pub(super) fn beside(
    writer: &mut Connection,
    own: Connection,
    limits: CheckpointLimits,
) -> Result<JoinHandle<()>, StoreError> {
    let failed = |why: String| StoreError::Unavailable(format!("cannot fold the log of the database: {why}"));
    let state = Arc::new(State::default());
    let (wake, woken) = sync_channel(1);
    let hook = committed(Arc::clone(&state), wake, limits);
    // Replaces SQLite's own hook, which would checkpoint inside the writer.
    writer.wal_hook(Some(hook)).map_err(|error| failed(error.to_string()))?;
    let thread = std::thread::Builder::new().name("keyreeve-checkpointer".to_owned());
    let started = thread.spawn(move || run(&own, &woken, &state, limits));
    started.map_err(|error| failed(error.to_string()))
}

/// Runs after each commit, which is durable by then: a failure here does not concern the caller.
fn committed(
    state: Arc<State>,
    wake: SyncSender<()>,
    limits: CheckpointLimits,
) -> impl FnMut(&mut Wal, c_int) -> rusqlite::Result<()> + Send + 'static {
    move |log, pages| {
        let pages = u32::try_from(pages).unwrap_or(0);
        state.pages.store(pages, Ordering::Relaxed);
        if pages < limits.begin {
            return Ok(());
        }
        if state.is_nearly_done.swap(false, Ordering::Relaxed) || pages >= limits.most {
            // With all pages checkpointed, the next commit restarts the WAL. A failure leaves them for the next time.
            log.checkpoint().ok();
        } else {
            // A full channel holds a wake-up that was not received yet.
            wake.try_send(()).ok();
        }
        Ok(())
    }
}

fn run(own: &Connection, woken: &Receiver<()>, state: &State, limits: CheckpointLimits) {
    while woken.recv().is_ok() {
        if state.pages.load(Ordering::Relaxed) >= limits.begin {
            fold(own, state, limits);
            state.is_nearly_done.store(true, Ordering::Relaxed);
        }
    }
}

fn fold(own: &Connection, state: &State, limits: CheckpointLimits) {
    for _ in 0..PASSES {
        // A passive checkpoint waits for no lock: it stops at pages that are still read.
        let Ok((_, folded)) = own.wal_checkpoint_v2(DEFAULT_NAME, CheckpointMode::PASSIVE) else {
            return;
        };
        let folded = u32::try_from(folded).unwrap_or(0);
        let pages = state.pages.load(Ordering::Relaxed);
        if pages < folded + limits.little || pages >= limits.most {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};
    use tempfile::TempDir;

    const LIMITS: CheckpointLimits = CheckpointLimits {
        begin: 50,
        little: 10,
        most: 400,
    };
    const COMMITS: u32 = 600;
    /// Pages that one commit of these tests appends: at least, and nearly always at most.
    const PAGES_OF_A_COMMIT: (u64, u64) = (2, 8);
    const PAGE_IN_LOG: u64 = 4_096 + 24;

    fn opened(file: &Path) -> Connection {
        let connection = Connection::open(file).unwrap();
        let settings = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
             CREATE TABLE IF NOT EXISTS rows (number INTEGER PRIMARY KEY, digest BLOB UNIQUE)";
        connection.execute_batch(settings).unwrap();
        connection
    }

    fn write(writer: &Connection, numbers: std::ops::Range<u32>) {
        for number in numbers {
            writer
                .execute("INSERT INTO rows VALUES (?1, randomblob(32))", [number])
                .unwrap();
        }
    }

    fn rows(connection: &Connection) -> u32 {
        connection
            .query_row("SELECT count(*) FROM rows", [], |row| row.get(0))
            .unwrap()
    }

    fn log_bytes(file: &Path) -> u64 {
        let mut log = file.as_os_str().to_owned();
        log.push("-wal");
        std::fs::metadata(PathBuf::from(log)).map_or(0, |found| found.len())
    }

    fn scene() -> (TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("rows.db");
        (directory, file)
    }

    #[test]
    fn the_log_stays_short_under_steady_writing_and_nothing_is_lost() {
        let (_directory, file) = scene();
        let mut writer = opened(&file);
        let never = u32::MAX;
        let thread = beside(&mut writer, opened(&file), CheckpointLimits { most: never, ..LIMITS }).unwrap();
        write(&writer, 0..COMMITS);
        let written = u64::from(COMMITS) * PAGES_OF_A_COMMIT.0 * PAGE_IN_LOG;
        assert!(log_bytes(&file) < written / 2, "{} bytes of log", log_bytes(&file));
        assert_eq!(rows(&writer), COMMITS);
        writer.close().unwrap();
        thread.join().unwrap();
        assert_eq!(log_bytes(&file), 0, "the last to close folds all and removes the log");
        assert_eq!(rows(&opened(&file)), COMMITS);
    }

    #[test]
    fn a_reader_that_stays_holds_nobody_up_and_is_folded_past_when_it_is_gone() {
        let (_directory, file) = scene();
        let mut writer = opened(&file);
        let thread = beside(&mut writer, opened(&file), LIMITS).unwrap();
        let reader = opened(&file);
        reader.execute_batch("BEGIN").unwrap();
        assert_eq!(rows(&reader), 0);
        write(&writer, 0..COMMITS);
        assert_eq!(rows(&reader), 0, "it still sees what it saw");
        let held = log_bytes(&file);
        assert!(
            held > u64::from(LIMITS.most) * PAGE_IN_LOG,
            "nothing could be folded: {held} bytes"
        );
        reader.execute_batch("COMMIT").unwrap();
        write(&writer, COMMITS..2 * COMMITS);
        let grown = log_bytes(&file) - held;
        assert!(
            grown <= 2 * PAGES_OF_A_COMMIT.1 * PAGE_IN_LOG,
            "it did not begin anew: {grown} bytes more"
        );
        drop(reader);
        writer.close().unwrap();
        thread.join().unwrap();
        assert_eq!(rows(&opened(&file)), 2 * COMMITS);
    }

    #[test]
    fn without_the_thread_the_writer_folds() {
        let (_directory, file) = scene();
        let mut writer = opened(&file);
        let (wake, woken) = sync_channel(1);
        drop(woken);
        writer.wal_hook(Some(committed(Arc::default(), wake, LIMITS))).unwrap();
        write(&writer, 0..COMMITS);
        let most = (u64::from(LIMITS.most) + PAGES_OF_A_COMMIT.1) * PAGE_IN_LOG;
        assert!(log_bytes(&file) <= most, "{} bytes of log", log_bytes(&file));
        assert_eq!(rows(&writer), COMMITS);
    }
}
