//! Marks a data directory into which a backup is being restored: between the rows and the denials that they lack, a process
//! that was killed would leave an instance in which revoked keys are valid again.

use super::error::BackupError;
use crate::instance::StartError;
use keyreeve_store::PostgresStore;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The file.
const FILE: &str = "restore-unfinished";

/// The mark, set until the restore is complete or has changed nothing.
#[derive(Debug)]
pub(super) struct UnfinishedMark {
    path: PathBuf,
    is_new: bool,
}

impl UnfinishedMark {
    /// Sets the mark; it is durable when this returns.
    pub(super) fn set(data: &Path) -> Result<Self, BackupError> {
        let path = data.join(FILE);
        let is_new = !path.exists();
        let text = "A backup is being restored into this directory, or that was interrupted.\n";
        let written = fs::write(&path, text).and_then(|()| sync(data));
        written.map_err(|error| failed("cannot be written", &path, error))?;
        Ok(Self { path, is_new })
    }

    /// Returns whether there was none before. An earlier one is of a restore that may have committed rows.
    pub(super) const fn is_new(&self) -> bool {
        self.is_new
    }

    /// Removes the mark.
    pub(super) fn remove(self) -> Result<(), BackupError> {
        let removed = fs::remove_file(&self.path).and_then(|()| self.path.parent().map_or(Ok(()), sync));
        removed.map_err(|error| {
            failed(
                "cannot be removed; the server does not start until it is",
                &self.path,
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

/// Refuses a database in which a restore was interrupted, or is not complete yet. Every data directory of its nodes sees
/// that, and not only the one with the mark.
pub(crate) async fn refuse_restoring(store: &PostgresStore) -> Result<(), StartError> {
    if !store.is_restoring().await? {
        return Ok(());
    }
    Err(StartError::History(
        "the Postgres database: a backup is being restored into it, or that was interrupted, and nothing is served: keys \
         that were revoked since the backup would work again. Wait until `keyreeve backup restore` has ended. If it was \
         interrupted, empty the database, keep the files `denials`, and restore the backup again"
            .to_owned(),
    ))
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
