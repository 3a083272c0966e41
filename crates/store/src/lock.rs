//! One process per data directory.

use crate::error::StoreError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Held as long as the store is open. The operating system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct DirectoryLock(#[expect(dead_code, reason = "the open file is the lock")] File);

impl DirectoryLock {
    /// Makes the directory if need be, and locks it.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process has it.
    pub fn take(directory: &Path) -> Result<Self, StoreError> {
        let away = |error: std::io::Error| {
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
        let path = directory.join("lock");
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(away)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(directory, &mut file)),
            Err(TryLockError::Error(error)) => return Err(away(error)),
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(away)?;
        write!(file, "{}", std::process::id()).map_err(away)?;
        Ok(Self(file))
    }
}

fn in_use(directory: &Path, file: &mut File) -> StoreError {
    let mut pid = String::new();
    let holder = match file.read_to_string(&mut pid) {
        Ok(_) if !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()) => format!(" (pid {pid})"),
        Ok(_) | Err(_) => String::new(),
    };
    StoreError::InUse {
        path: directory.display().to_string(),
        holder,
    }
}
