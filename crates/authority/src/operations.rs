//! Counts the operations on keys (`memory/operations.rs`).

use crate::memory::{KeyOperation, Operations};
use crate::{Authority, Failure};

impl Authority {
    /// Runs an operation and counts its result.
    pub(crate) async fn counted<T>(
        &self,
        operation: Option<KeyOperation>,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let done = work.await;
        let result = match &done {
            Ok(_) | Err(Failure::AlreadyCompleted(_)) => "done",
            Err(Failure::Unavailable(_) | Failure::ReadOnly(_) | Failure::OutcomeUnknown(_) | Failure::Internal(_)) => {
                "failed"
            }
            Err(_) => "refused",
        };
        if let Some(operation) = operation {
            self.operations.count(operation, result);
        }
        done
    }

    /// Returns the counts of operations on keys in this process.
    pub fn operations(&self) -> &Operations {
        &self.operations
    }
}
