//! The file of a backup, which has its name only when it is complete and on the disk.

use super::error::BackupError;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// How the names of unfinished files begin and end.
const PARTIAL: (&str, &str) = (".keyreeve-", ".partial");

/// A backup that is being written beside its final name. Dropped before [`BackupFile::finish`], it is removed.
pub struct BackupFile {
    partial: NamedTempFile,
    path: PathBuf,
    replaces: bool,
}

/// A file that was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredBackup {
    /// Its name.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
}

impl BackupFile {
    /// Begins a file, readable by its owner only. A file of that name is replaced only if `replaces` is set.
    ///
    /// # Errors
    /// If the file exists, or its directory cannot be written to.
    pub fn begin(path: &Path, replaces: bool) -> Result<Self, BackupError> {
        if !replaces && path.symlink_metadata().is_ok() {
            return Err(BackupError::Exists(path.to_owned()));
        }
        let mut partial = tempfile::Builder::new();
        partial.prefix(PARTIAL.0).suffix(PARTIAL.1);
        let unwritable = |error| BackupError::File {
            what: format!("cannot write to {}", directory(path).display()),
            error,
        };
        let partial = partial.tempfile_in(directory(path)).map_err(unwritable)?;
        // Held while it is written: a file that is not locked was left behind by a process that was killed.
        drop(partial.as_file().try_lock());
        Ok(Self {
            partial,
            path: path.to_owned(),
            replaces,
        })
    }

    /// Syncs the file, and gives it its name.
    ///
    /// # Errors
    /// If the disk is full, or a file of that name was made in the meantime.
    pub fn finish(self) -> Result<StoredBackup, BackupError> {
        let path = self.path;
        let unwritten = |error| BackupError::File {
            what: format!("cannot write {}", path.display()),
            error,
        };
        let file = self.partial.as_file();
        file.sync_all().map_err(unwritten)?;
        let bytes = file.metadata().map_err(unwritten)?.len();
        let named = match self.replaces {
            true => self.partial.persist(&path),
            false => self.partial.persist_noclobber(&path),
        };
        match named {
            Ok(_) => {}
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(BackupError::Exists(path));
            }
            Err(error) => return Err(unwritten(error.error)),
        }
        sync(directory(&path)).map_err(unwritten)?;
        Ok(StoredBackup { path, bytes })
    }

    /// The same under another name in the same directory.
    pub(super) fn finish_as(mut self, path: PathBuf) -> Result<StoredBackup, BackupError> {
        self.path = path;
        self.finish()
    }

    /// Returns where the unfinished file is.
    pub fn partial_path(&self) -> &Path {
        self.partial.path()
    }
}

impl Write for BackupFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.partial.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.partial.flush()
    }
}

/// Returns the directory of a file.
fn directory(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

pub(super) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Removes files that killed processes left unfinished.
pub(super) fn sweep(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(PARTIAL.0)
            && name.ends_with(PARTIAL.1)
            && let Ok(file) = File::open(&path)
            && file.try_lock().is_ok()
        {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

impl fmt::Debug for BackupFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
