//! How far a backup is, for a progress bar.

use std::sync::atomic::{AtomicU64, Ordering};

/// Rows that were copied, and rows in all. Counted by the copy, read by a progress bar.
#[derive(Debug, Default)]
pub struct RowProgress {
    total: AtomicU64,
    done: AtomicU64,
}

impl RowProgress {
    /// Returns the rows in all; 0 until that is known.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Returns the rows that were copied.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    pub(super) fn expect(&self, rows: u64) {
        self.total.store(rows, Ordering::Relaxed);
    }

    pub(super) fn add(&self, rows: u64) {
        self.done.fetch_add(rows, Ordering::Relaxed);
    }
}
