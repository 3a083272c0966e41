//! Whether writing succeeds: recorded by the writer, read for the operator.

use crate::store::WriteHealth;
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// What the writer has recorded.
#[derive(Debug, Default)]
pub(super) struct WriterHealth(Mutex<NotedHealth>);

#[derive(Debug, Default)]
struct NotedHealth {
    last_success: Option<Instant>,
    failures: u64,
    in_a_row: u64,
    last_failure: Option<String>,
}

impl WriterHealth {
    /// Records a commit.
    pub(super) fn succeeded(&self) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.last_success = Some(Instant::now());
        noted.in_a_row = 0;
        noted.last_failure = None;
    }

    /// Records that the database did not accept a change, or did not confirm it.
    pub(super) fn failed(&self, why: &str) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.failures += 1;
        noted.in_a_row += 1;
        noted.last_failure = Some(why.to_owned());
    }

    pub(super) fn read(&self) -> WriteHealth {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        WriteHealth {
            last_success_ago: noted.last_success.map(|at| at.elapsed()),
            failures: noted.failures,
            failures_in_a_row: noted.in_a_row,
            last_failure: noted.last_failure.clone(),
        }
    }
}
