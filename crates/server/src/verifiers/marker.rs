//! A file that says: verifiers hang on this process, and how long their leases are, in milliseconds.
//!
//! If the process is killed, they go on answering until their leases are over. The next process sees the file, and until
//! then lets no change pass for effective. Among several nodes the database knows it.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

const NAME: &str = "verifiers";

/// The longest lease that there can be, for a file whose text cannot be read.
const LEASE_MS_UNKNOWN: u64 = crate::settings::LEASE_MS_MAX;

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

    /// How long leases were that a former process granted, if it did not see the last of its verifiers go.
    pub(crate) fn former_lease_ms(&self) -> Option<u64> {
        if !self.is_set.load(Ordering::Acquire) {
            return None;
        }
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        Some(text.trim().parse().unwrap_or(LEASE_MS_UNKNOWN))
    }

    /// Sets it, so that it survives a power cut. Call before the first lease is granted.
    pub(crate) fn set(&self, lease_ms: u64) -> io::Result<()> {
        if self.is_set.load(Ordering::Acquire) && self.former_lease_ms() >= Some(lease_ms) {
            return Ok(());
        }
        // Under another name first: a file without its text would make the next process wait for an hour.
        let fresh = self.path.with_extension("new");
        let mut file = File::create(&fresh)?;
        writeln!(file, "{lease_ms}")?;
        file.sync_all()?;
        std::fs::rename(&fresh, &self.path)?;
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
        let next = || Marker::in_directory(directory.path()).former_lease_ms();
        assert_eq!(next(), None);
        marker.set(2_000).unwrap();
        assert_eq!(next(), Some(2_000));
        marker.set(15_000).unwrap();
        marker.set(2_000).unwrap();
        assert_eq!(next(), Some(15_000), "the longest lease counts");
        marker.remove();
        assert_eq!(next(), None);
    }

    #[test]
    fn one_that_cannot_be_read_stands_for_the_longest_lease() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(NAME), "?").unwrap();
        let marker = Marker::in_directory(directory.path());
        assert_eq!(marker.former_lease_ms(), Some(LEASE_MS_UNKNOWN));
    }
}
