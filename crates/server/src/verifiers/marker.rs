//! A file that says: verifiers hang on this process.
//!
//! If the process is killed, they go on answering until their leases are over. The next process sees the file, and until
//! then lets no change pass for effective. Among several nodes the database knows it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

const NAME: &str = "verifiers";

/// The file.
#[derive(Debug)]
pub(crate) struct Marker {
    path: PathBuf,
    is_set: AtomicBool,
}

impl Marker {
    pub(crate) fn in_directory(data: &Path) -> Self {
        let path = data.join(NAME);
        let is_set = path.exists();
        Self {
            path,
            is_set: AtomicBool::new(is_set),
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    /// Sets it, so that it survives a power cut. Call before the first lease is granted.
    pub(crate) fn set(&self) -> io::Result<()> {
        if self.is_set() {
            return Ok(());
        }
        File::create(&self.path)?.sync_all()?;
        if let Some(directory) = self.path.parent() {
            File::open(directory)?.sync_all()?;
        }
        self.is_set.store(true, Ordering::Release);
        Ok(())
    }

    /// Nobody can answer any more. One that stays only makes the next process wait.
    pub(crate) fn remove(&self) {
        if self.is_set.swap(false, Ordering::AcqRel) {
            drop(std::fs::remove_file(&self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_process_sees_it_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let marker = Marker::in_directory(directory.path());
        assert!(!marker.is_set());
        marker.set().unwrap();
        marker.set().unwrap();
        assert!(Marker::in_directory(directory.path()).is_set());
        marker.remove();
        assert!(!Marker::in_directory(directory.path()).is_set());
    }
}
