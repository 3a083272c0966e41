//! A file in the data directory that records that verifiers are connected to this process, and the length of their
//! leases in milliseconds.
//!
//! Verifiers of a killed process keep answering until their leases end. The next process reads the file and until then
//! treats no change as effective. With several nodes, the database has this record instead.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

const NAME: &str = "verifiers";

/// The longest lease that can be configured: assumed if the file cannot be read.
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

    /// Returns the lease length granted by an earlier process, if not all of its verifiers left in time.
    pub(crate) fn former_lease_ms(&self) -> Option<u64> {
        if !self.is_set.load(Ordering::Acquire) {
            return None;
        }
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        Some(text.trim().parse().unwrap_or(LEASE_MS_UNKNOWN))
    }

    /// Writes the file durably (it survives a power failure). Call before the first lease is granted.
    pub(crate) fn set(&self, lease_ms: u64) -> io::Result<()> {
        if self.is_set.load(Ordering::Acquire) && self.former_lease_ms() >= Some(lease_ms) {
            return Ok(());
        }
        // Write and sync under another name first: after a crash, an empty file would make the next process wait for
        // the longest lease, an hour.
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

    /// Removes the file, once no verifier holds a lease. A failure is harmless: the next process only waits longer.
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
