//! Counts of operations on keys and of their results, for the metrics.

use keyreeve_core::audit::Action;
use std::sync::atomic::{AtomicU64, Ordering};

/// Operations on keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum KeyOperation {
    Issue,
    Update,
    Rotate,
    FinishRotation,
    Disable,
    Reactivate,
    Revoke,
    Delete,
}

impl KeyOperation {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Issue, "issue"),
        (Self::Update, "update"),
        (Self::Rotate, "rotate"),
        (Self::FinishRotation, "finish_rotation"),
        (Self::Disable, "disable"),
        (Self::Reactivate, "reactivate"),
        (Self::Revoke, "revoke"),
        (Self::Delete, "delete"),
    ];

    /// Returns the operation of an audit entry, if it is about a key.
    pub(crate) fn of(action: Action) -> Option<Self> {
        match action {
            Action::KeyCreated => Some(Self::Issue),
            Action::KeyUpdated => Some(Self::Update),
            Action::KeyRotated => Some(Self::Rotate),
            Action::KeyRotationFinished => Some(Self::FinishRotation),
            Action::KeyDisabled => Some(Self::Disable),
            Action::KeyReactivated => Some(Self::Reactivate),
            Action::KeyRevoked => Some(Self::Revoke),
            Action::KeyErased => Some(Self::Delete),
            _ => None,
        }
    }
}

/// The result of an operation: carried out, not allowed, or not possible.
const RESULTS: [&str; 3] = ["done", "refused", "failed"];

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Operations([[AtomicU64; RESULTS.len()]; KeyOperation::ALL.len()]);

impl Operations {
    /// Returns each operation and result with its count.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        KeyOperation::ALL
            .iter()
            .zip(&self.0)
            .flat_map(|((_, operation), counts)| {
                let row = RESULTS.iter().zip(counts);
                row.map(|(result, count)| (*operation, *result, count.load(Ordering::Relaxed)))
            })
    }

    /// Counts an operation.
    pub(crate) fn count(&self, operation: KeyOperation, result: &str) {
        let rows = KeyOperation::ALL.iter().zip(&self.0);
        let row = rows.into_iter().find(|((known, _), _)| *known == operation);
        let counter = row.and_then(|(_, counts)| RESULTS.iter().zip(counts).find(|(known, _)| **known == result));
        if let Some((_, counter)) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}
