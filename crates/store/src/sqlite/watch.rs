//! Whether the files that are open are still those in the data directory.
//!
//! An open file that was deleted or replaced can still be read and written, and all of it is lost when the process
//! ends. So the files are checked before each commit, and by the server once a second. A finding is permanent: the
//! database is neither read nor written until the process is restarted. The contents of the WAL are checked by
//! [`LogWatch`].

use super::log_watch::LogWatch;
use crate::error::StoreError;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The files of an open database.
#[derive(Debug)]
pub(super) struct FileWatch {
    /// The database, open for as long as it is watched. Closing any descriptor of it would release the POSIX locks of this
    /// process, and another program would take itself for the only one and delete the WAL
    /// (sqlite.org/howtocorrupt.html, section 2.2).
    opened: Option<File>,
    files: Vec<Watched>,
    /// The contents of the WAL, if this process writes it.
    log: Option<LogWatch>,
    log_path: PathBuf,
    is_closing: AtomicBool,
    halt_reason: OnceLock<String>,
    contents: Mutex<Contents>,
}

#[derive(Debug)]
struct Watched {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// What is known of the database file itself, without its WAL.
#[derive(Debug, Default)]
struct Contents {
    /// Length and times at the last look: if they are the same, nothing was written.
    stamp: Option<Stamp>,
    /// The greatest length of the file: it only grows, unless it is cut off, overwritten or vacuumed.
    longest: u64,
    /// The revision of the file at the last look.
    revision: u64,
    /// What was wrong at the last look. What is read during a checkpoint is believed only when it is read twice.
    suspicion: Option<String>,
}

/// What is wrong with the contents of the file.
#[derive(Debug)]
pub(super) enum Odd {
    /// It is cut off, or no database: SQLite never leaves it so.
    Unreadable(String),
    /// Its contents do not belong to the open database.
    Other(String),
    /// It cannot be read alone, but has lost nothing: a checkpoint is incomplete, which a full disk can cause.
    HalfFolded,
}

type Stamp = (u64, i64, i64, i64, i64);

fn stamp_of(found: &Metadata) -> Stamp {
    (
        found.len(),
        found.mtime(),
        found.mtime_nsec(),
        found.ctime(),
        found.ctime_nsec(),
    )
}

/// The revision of the database file alone, or what is wrong with it.
pub(super) type Inside = Result<u64, Odd>;

impl FileWatch {
    /// Records the files as they are now: the database, and what SQLite keeps beside it.
    pub(super) fn start(file: &Path) -> Self {
        let all = [
            Some(file.to_owned()),
            Some(super::beside(file, "-wal")),
            Some(super::beside(file, "-shm")),
        ];
        let seen = |path: PathBuf| {
            let found = std::fs::metadata(&path).ok()?;
            Some(Watched {
                path,
                device: found.dev(),
                inode: found.ino(),
            })
        };
        let contents = Contents {
            longest: std::fs::metadata(file).map_or(0, |found| found.len()),
            ..Contents::default()
        };
        Self {
            files: all.into_iter().flatten().filter_map(seen).collect(),
            log: None,
            opened: File::open(file).ok(),
            log_path: super::beside(file, "-wal"),
            is_closing: AtomicBool::new(false),
            halt_reason: OnceLock::new(),
            contents: Mutex::new(contents),
        }
    }

    /// Returns the database file, open for reading.
    pub(super) fn opened(&self) -> std::io::Result<&File> {
        let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
        self.opened.as_ref().ok_or_else(missing)
    }

    /// As [`FileWatch::start`], for a database that this process writes: the contents of the WAL are checked too.
    pub(super) fn start_with_log(file: &Path) -> Self {
        Self {
            log: LogWatch::open(file),
            ..Self::start(file)
        }
    }

    /// Returns the first thing that was found to be wrong.
    pub(super) fn halt_reason(&self) -> Option<&str> {
        self.halt_reason.get().map(String::as_str)
    }

    /// Records that connections are being closed: the last one truncates the WAL, and its index still names frames.
    pub(super) fn note_closing(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
    }

    /// Records that the database must not be used any more.
    pub(super) fn fail(&self, why: &str) {
        // The first reason is kept.
        drop(self.halt_reason.set(why.to_owned()));
    }

    /// Returns an error if the database must not be used any more.
    pub(super) fn require_sound(&self) -> Result<(), StoreError> {
        match self.halt_reason() {
            None => Ok(()),
            Some(why) => Err(StoreError::Unavailable(why.to_owned())),
        }
    }

    /// Checks that the open files are those at their paths, and that the WAL has what was committed.
    pub(super) fn look(&self) -> Result<(), StoreError> {
        self.require_sound()?;
        for watched in &self.files {
            let why = match std::fs::metadata(&watched.path) {
                Ok(found) if found.dev() == watched.device && found.ino() == watched.inode => continue,
                Ok(_) => format!("{} was replaced while the server ran", watched.path.display()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    format!("{} was deleted while the server ran", watched.path.display())
                }
                // An error of the file system may be temporary.
                Err(error) => {
                    let why = format!("{} cannot be looked at: {error}", watched.path.display());
                    return Err(StoreError::Unavailable(why));
                }
            };
            self.fail(&why);
        }
        let path = self.log_path.display();
        match self.log.as_ref().map_or(Ok(true), LogWatch::is_complete) {
            Ok(true) => {}
            Ok(false) if self.is_closing.load(Ordering::Relaxed) => {}
            Ok(false) => self.fail(&format!("{path} was cut off or overwritten while the server ran")),
            Err(error) => {
                return Err(StoreError::Unavailable(format!(
                    "{path} or its index cannot be read: {error}"
                )));
            }
        }
        self.require_sound()
    }

    /// Returns the stamp of the database file if it was written since the last look, or if something was wrong then;
    /// and whether the file is shorter than it was.
    pub(super) fn change(&self) -> Option<(Stamp, bool)> {
        let file = self.files.first()?;
        let found = stamp_of(&std::fs::metadata(&file.path).ok()?);
        let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        let is_shorter = found.0 < contents.longest;
        contents.longest = contents.longest.max(found.0);
        (contents.stamp != Some(found) || contents.suspicion.is_some()).then_some((found, is_shorter))
    }

    /// Records the revision that was found in the file. It never decreases, because a checkpoint writes only newer
    /// states. Returns the revision if it is newer than before.
    pub(super) fn settle(&self, stamp: Stamp, inside: Inside) -> Option<u64> {
        let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        contents.stamp = Some(stamp);
        let former = contents.revision;
        let (wrong, is_certain) = match inside {
            Ok(revision) if revision >= former => {
                contents.revision = revision;
                contents.suspicion = None;
                // A file that was vacuumed by hand is complete, and may be shorter.
                contents.longest = stamp.0;
                return (revision > former).then_some(revision);
            }
            Ok(revision) => (
                format!("the database file went back from revision {former} to {revision}"),
                false,
            ),
            Err(Odd::HalfFolded) => {
                contents.suspicion = None;
                return None;
            }
            Err(Odd::Other(why)) => (why, false),
            Err(Odd::Unreadable(why)) => (why, true),
        };
        if contents.suspicion.replace(wrong.clone()).is_some() || is_certain {
            self.fail(&format!("{wrong}: it was overwritten while the server ran"));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene() -> (tempfile::TempDir, PathBuf, FileWatch) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("x.db");
        std::fs::write(&file, "x").unwrap();
        std::fs::write(super::super::beside(&file, "-wal"), "y").unwrap();
        let watch = FileWatch::start(&file);
        (directory, file, watch)
    }

    #[test]
    fn a_file_that_is_gone_or_another_one_is_found_and_never_forgotten() {
        for name in ["", "-wal"] {
            let (_directory, file, watch) = scene();
            watch.look().unwrap();
            let path = super::super::beside(&file, name);
            let kept = path.with_extension("kept");
            std::fs::rename(&path, &kept).unwrap();
            let found = watch.look().unwrap_err().to_string();
            assert!(found.contains("was deleted"), "{found}");
            std::fs::rename(&kept, &path).unwrap();
            assert!(watch.look().is_err(), "what was written meanwhile may be lost");
        }
        let (_directory, file, watch) = scene();
        let other = file.with_extension("other");
        std::fs::write(&other, "z").unwrap();
        std::fs::rename(&other, &file).unwrap();
        let found = watch.look().unwrap_err().to_string();
        assert!(found.contains("was replaced"), "{found}");
    }

    #[test]
    fn contents_that_go_back_are_believed_when_they_are_seen_twice() {
        let (_directory, _, watch) = scene();
        let (stamp, _) = watch.change().unwrap();
        assert_eq!(watch.settle(stamp, Ok(7)), Some(7));
        assert_eq!(watch.change(), None);
        assert_eq!(watch.settle(stamp, Ok(6)), None);
        assert!(watch.halt_reason().is_none() && watch.change().is_some());
        watch.settle(stamp, Ok(8));
        watch.settle(stamp, Ok(3));
        assert!(watch.halt_reason().is_none());
        watch.settle(stamp, Ok(3));
        assert!(watch.halt_reason().is_some());
    }

    #[test]
    fn a_file_that_is_folded_into_by_half_is_no_cause_for_alarm_and_one_that_is_cut_off_is() {
        let (_directory, file, watch) = scene();
        let (stamp, is_shorter) = watch.change().unwrap();
        assert!(!is_shorter);
        for _ in 0..3 {
            assert_eq!(watch.settle(stamp, Err(Odd::HalfFolded)), None);
        }
        assert!(watch.halt_reason().is_none());
        std::fs::write(&file, "").unwrap();
        let (stamp, is_shorter) = watch.change().unwrap();
        assert!(is_shorter);
        watch.settle(stamp, Err(Odd::Unreadable("cut off".to_owned())));
        assert!(watch.halt_reason().is_some());
    }
}
