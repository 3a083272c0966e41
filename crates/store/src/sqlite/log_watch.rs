//! Whether the WAL still has what the open database reads from it.
//!
//! The WAL index (`-shm`) names the last committed frame, its checksum, and the salts of the WAL. SQLite writes frames
//! before the index names them. When it restarts or truncates the WAL, the index names no frame before the first byte
//! changes. So whatever the index names must be in the WAL, also while another thread commits or checkpoints; a WAL that
//! was cut off or overwritten by another program does not have it. See <https://www.sqlite.org/walformat.html>.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// The header of the WAL, in bytes.
const LOG_HEADER_BYTES: u64 = 32;
/// The header of a frame, in bytes. A page follows.
const FRAME_HEADER_BYTES: u64 = 24;
/// One copy of the header of the index, in bytes. There are two, and they differ while it is written.
const INDEX_HEADER_BYTES: usize = 48;
/// Readings of an index that is being written. After that the next look decides.
const TRIES: u32 = 8;

/// The WAL and its index, open. Closing a file of the index would release the locks of SQLite in this process, so this
/// must live as long as the connections.
#[derive(Debug)]
pub(super) struct LogWatch {
    log: File,
    index: File,
}

/// The last committed frame, by the index.
#[derive(PartialEq, Eq)]
struct LastFrame {
    frames: u32,
    page_bytes: u64,
    salts: [u8; 8],
    /// As the header of the frame has it.
    checksum: [u8; 8],
}

impl LogWatch {
    /// Opens both files of a database that is open; `None` if there are none.
    pub(super) fn open(database: &Path) -> Option<Self> {
        Some(Self {
            log: File::open(super::beside(database, "-wal")).ok()?,
            index: File::open(super::beside(database, "-shm")).ok()?,
        })
    }

    /// Whether the WAL has the last committed frame. True if the index does not name one now.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn is_complete(&self) -> io::Result<bool> {
        for _ in 0..TRIES {
            let Some(named) = self.named()? else { continue };
            if named.frames == 0 || self.has(&named)? {
                return Ok(true);
            }
            // Only if it still names it: the WAL may have been restarted in between.
            if self.named()?.as_ref() == Some(&named) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns what the index names; `None` while it is written.
    fn named(&self) -> io::Result<Option<LastFrame>> {
        let mut both = [0; 2 * INDEX_HEADER_BYTES];
        self.index.read_exact_at(&mut both, 0)?;
        let (first, second) = both.split_at(INDEX_HEADER_BYTES);
        Ok(if first == second { last_frame_in(first) } else { None })
    }

    fn has(&self, named: &LastFrame) -> io::Result<bool> {
        let frame_bytes = FRAME_HEADER_BYTES + named.page_bytes;
        let end = LOG_HEADER_BYTES + u64::from(named.frames) * frame_bytes;
        if self.log.metadata()?.len() < end {
            return Ok(false);
        }
        // Salts are at 16 in the header of the WAL, and at 8 in that of a frame, before the checksum.
        let (mut salts, mut frame) = ([0; 8], [0; 16]);
        let read = self.log.read_exact_at(&mut salts, 16);
        let read = read.and_then(|()| self.log.read_exact_at(&mut frame, end - frame_bytes + 8));
        match read {
            Ok(()) => Ok(salts == named.salts && frame == *[named.salts, named.checksum].as_flattened()),
            // It was cut off between the two readings.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Numbers are in the byte order of the machine, salts as in the WAL.
fn last_frame_in(header: &[u8]) -> Option<LastFrame> {
    let is_initialised = at::<1>(header, 12)? == [1];
    let page = u16::from_ne_bytes(at(header, 14)?);
    let checksum = [at(header, 24)?, at(header, 28)?].map(|half| u32::from_ne_bytes(half).to_be_bytes());
    let named = LastFrame {
        frames: u32::from_ne_bytes(at(header, 16)?),
        // 64 KiB does not fit.
        page_bytes: if page == 1 { 65_536 } else { u64::from(page) },
        salts: at(header, 32)?,
        checksum: at(checksum.as_flattened(), 0)?,
    };
    is_initialised.then_some(named)
}

fn at<const N: usize>(bytes: &[u8], place: usize) -> Option<[u8; N]> {
    bytes.get(place..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn opened(file: &Path) -> Connection {
        let connection = Connection::open(file).unwrap();
        let settings = "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 20; \
             CREATE TABLE IF NOT EXISTS rows (number INTEGER PRIMARY KEY, digest BLOB)";
        connection.execute_batch(settings).unwrap();
        connection
    }

    fn write(connection: &Connection, times: u32) {
        for _ in 0..times {
            let row = "INSERT INTO rows (digest) VALUES (randomblob(2000))";
            connection.execute(row, []).unwrap();
        }
    }

    struct Scene {
        _directory: tempfile::TempDir,
        writer: Connection,
        log: PathBuf,
        watch: LogWatch,
    }

    fn scene() -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("rows.db");
        let writer = opened(&file);
        write(&writer, 3);
        let watch = LogWatch::open(&file).unwrap();
        assert!(watch.is_complete().unwrap());
        Scene {
            _directory: directory,
            writer,
            log: super::super::beside(&file, "-wal"),
            watch,
        }
    }

    #[test]
    fn a_log_that_was_cut_off_or_overwritten_is_found() {
        type Harm = fn(&Path, &[u8]);
        let harms: [(&str, Harm); 5] = [
            ("emptied", |log, _| {
                File::options().write(true).open(log).unwrap().set_len(0).unwrap();
            }),
            ("cut off", |log, _| {
                let opened = File::options().write(true).open(log).unwrap();
                opened.set_len(opened.metadata().unwrap().len() - 1).unwrap();
            }),
            ("overwritten by an older copy", |log, older| {
                std::fs::write(log, older).unwrap();
            }),
            ("its header overwritten", |log, _| {
                File::options()
                    .write(true)
                    .open(log)
                    .unwrap()
                    .write_all_at(&[7; 32], 0)
                    .unwrap();
            }),
            ("its end overwritten", |log, _| {
                let opened = File::options().write(true).open(log).unwrap();
                let end = opened.metadata().unwrap().len();
                opened.write_all_at(&[7; 8_192], end - 8_192).unwrap();
            }),
        ];
        for (what, harm) in harms {
            let scene = scene();
            let older = std::fs::read(&scene.log).unwrap();
            write(&scene.writer, 3);
            assert!(scene.watch.is_complete().unwrap(), "{what}");
            harm(&scene.log, &older);
            assert!(!scene.watch.is_complete().unwrap(), "{what}");
        }
    }

    #[test]
    fn commits_checkpoints_and_restarts_of_the_log_are_no_harm() {
        let scene = scene();
        let is_done = AtomicBool::new(false);
        let looked = std::thread::scope(|scope| {
            let looking = scope.spawn(|| {
                let mut looked = 0;
                while !is_done.load(Ordering::Relaxed) {
                    assert!(scene.watch.is_complete().unwrap());
                    looked += 1;
                }
                looked
            });
            let other = opened(&scene.log.with_file_name("rows.db"));
            for _ in 0..40 {
                write(&scene.writer, 15);
                assert!(scene.watch.is_complete().unwrap());
                // Another program may truncate it in an orderly way.
                other
                    .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                    .unwrap();
                assert!(scene.watch.is_complete().unwrap());
            }
            is_done.store(true, Ordering::Relaxed);
            looking.join().unwrap()
        });
        assert!(looked > 0);
        let rows: u32 = scene
            .writer
            .query_row("SELECT count(*) FROM rows", [], |row| row.get(0))
            .unwrap();
        assert_eq!(rows, 603);
    }
}
