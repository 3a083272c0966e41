//! One process per data directory.

use crate::error::StoreError;
use rustix::fs::{Access, access};
use rustix::io::Errno;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

/// The obstacle of a directory that is mounted read-only, or whose lock cannot be written.
const READ_ONLY: &str = "the data directory is read-only";

/// Held while the store is open. The operating system releases it when the process ends, however it ends.
///
/// Both the file `lock` and the directory itself are locked: the file may be missing if the directory is read-only or
/// the disk is full.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: Option<File>,
    _directory: File,
    obstacle: Option<&'static str>,
}

impl DirectoryLock {
    /// Creates the directory if needed, and locks it. It may be read-only, or the disk full.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process has it.
    pub fn take(directory: &Path) -> Result<Self, StoreError> {
        let away = |error: io::Error| {
            StoreError::Unavailable(format!(
                "cannot use the data directory {}: {error}",
                directory.display()
            ))
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(away)?;
        let (mut file, is_file_read_only) = lock_file(&directory.join("lock")).map_err(away)?;
        if let Some(file) = &mut file {
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(in_use(directory, Some(file))),
                Err(TryLockError::Error(error)) => return Err(away(error)),
            }
            // Only for the error message of another process: on a full disk it is not written.
            drop(write_pid(file));
        }
        let opened = File::open(directory).map_err(away)?;
        match opened.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(in_use(directory, file.as_mut())),
            // A network file system may have no locks on directories; then the lock on the file counts.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        Ok(Self {
            _file: file,
            _directory: opened,
            obstacle: obstacle(directory, is_file_read_only),
        })
    }

    /// Returns why no file can be created in the directory, if that is so.
    pub const fn obstacle(&self) -> Option<&'static str> {
        self.obstacle
    }
}

/// Returns why no file can be created in a directory. Existing files may be writable, which is not enough: SQLite and the
/// server create others beside them.
fn obstacle(directory: &Path, is_file_read_only: bool) -> Option<&'static str> {
    match access(directory, Access::WRITE_OK | Access::EXEC_OK) {
        Err(Errno::ACCESS | Errno::PERM) => {
            Some("the data directory is read-only for the user that the server runs as")
        }
        Err(Errno::ROFS) => Some(READ_ONLY),
        Ok(()) | Err(_) => is_file_read_only.then_some(READ_ONLY),
    }
}

/// Returns the file to lock, if it exists or can be created, and whether the directory is read-only.
fn lock_file(path: &Path) -> io::Result<(Option<File>, bool)> {
    let made = OpenOptions::new()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    match made {
        Ok(file) => Ok((Some(file), false)),
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok((None, false)),
        Err(error) if is_read_only(&error) => match File::open(path) {
            Ok(file) => Ok((Some(file), true)),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok((None, true)),
            Err(_) => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Whether a file could not be opened because it is read-only.
pub(crate) fn is_read_only(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
    )
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", std::process::id())
}

fn in_use(directory: &Path, file: Option<&mut File>) -> StoreError {
    let mut pid = String::new();
    let read = file.map(|file| file.read_to_string(&mut pid));
    let holder = match read {
        Some(Ok(_)) if !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()) => format!(" (pid {pid})"),
        Some(Ok(_) | Err(_)) | None => String::new(),
    };
    StoreError::InUse {
        path: directory.display().to_string(),
        holder,
    }
}
