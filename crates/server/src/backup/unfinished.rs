//! Marks a data directory into which a backup is being restored: between the rows and the denials that they lack, a process
//! that was killed would leave an instance in which revoked keys are valid again.

use super::error::BackupError;
use crate::instance::StartError;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The file.
const FILE: &str = "restore-unfinished";

/// The mark, set until the restore is complete or has changed nothing.
#[derive(Debug)]
pub(super) struct UnfinishedMark(PathBuf);

impl UnfinishedMark {
    /// Sets the mark; it is durable when this returns.
    pub(super) fn set(data: &Path) -> Result<Self, BackupError> {
        let path = data.join(FILE);
        let text = "A backup is being restored into this directory, or that was interrupted.\n";
        let written = fs::write(&path, text).and_then(|()| sync(data));
        written.map_err(|error| failed("cannot be written", &path, error))?;
        Ok(Self(path))
    }

    /// Removes the mark.
    pub(super) fn remove(self) -> Result<(), BackupError> {
        let removed = fs::remove_file(&self.0).and_then(|()| self.0.parent().map_or(Ok(()), sync));
        removed.map_err(|error| {
            failed(
                "cannot be removed; the server does not start until it is",
                &self.0,
                error,
            )
        })
    }
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn failed(what: &str, path: &Path, error: io::Error) -> BackupError {
    BackupError::File {
        what: format!("{} {what}", path.display()),
        error,
    }
}

/// Refuses a directory in which a restore was interrupted.
pub(crate) fn refuse_unfinished(data: &Path) -> Result<(), StartError> {
    if !data.join(FILE).exists() {
        return Ok(());
    }
    Err(StartError::History(format!(
        "{data}: a restore of a backup into it was interrupted, and nothing is served: keys that were revoked since the \
         backup would work again. Move the database away (keyreeve.db and the files beside it; with --database, empty the \
         Postgres database), keep the file `denials`, and restore the backup again",
        data = data.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_refused_until_the_restore_is_complete() {
        let directory = tempfile::tempdir().unwrap();
        refuse_unfinished(directory.path()).unwrap();
        let mark = UnfinishedMark::set(directory.path()).unwrap();
        assert!(matches!(
            refuse_unfinished(directory.path()),
            Err(StartError::History(_))
        ));
        mark.remove().unwrap();
        refuse_unfinished(directory.path()).unwrap();
    }
}
