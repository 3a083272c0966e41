//! Counts of verdicts, and of the audit entries written here.

use crate::question::Via;
use keyreeve_core::audit::Action;
use keyreeve_core::verdict::Denial;
use std::sync::atomic::{AtomicU64, Ordering};

/// The verdicts of one interface, by outcome.
#[derive(Debug, Default)]
struct Outcomes {
    valid: AtomicU64,
    denied: [AtomicU64; Denial::ALL.len()],
}

/// Counts of verdicts by interface and outcome, and by source. Monotonic since the start.
#[derive(Debug)]
pub struct Tallies {
    by_way: [Outcomes; Via::ALL.len()],
    from_memory: AtomicU64,
    from_store: AtomicU64,
    events: [AtomicU64; Action::ALL.len()],
}

impl Default for Tallies {
    fn default() -> Self {
        Self {
            by_way: Default::default(),
            from_memory: AtomicU64::new(0),
            from_store: AtomicU64::new(0),
            events: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Tallies {
    pub(crate) fn count(&self, via: Via, outcome: Result<(), Denial>) {
        let counts = self.by_way.get(via.place());
        if let Some(counter) = counts.and_then(|counts| counts.counter(outcome)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn count_events(&self, actions: &[Action]) {
        for action in actions {
            let mut known = Action::ALL.iter().zip(&self.events);
            if let Some((_, counter)) = known.find(|(known, _)| *known == action) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Returns every action with the number of audit entries that this process has written.
    pub fn events(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let known = Action::ALL.iter().zip(&self.events);
        known.map(|(action, counter)| (action.as_str(), counter.load(Ordering::Relaxed)))
    }

    pub(crate) fn count_memory(&self) {
        self.from_memory.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_store(&self) {
        self.from_store.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns each interface with each outcome and its count: `valid`, then each denial.
    pub fn outcomes(&self) -> impl Iterator<Item = (Via, &'static str, u64)> {
        let ways = Via::ALL.iter().zip(&self.by_way);
        ways.flat_map(|(via, counts)| counts.all().map(|(outcome, count)| (*via, outcome, count)))
    }

    /// Returns the look-ups answered from memory, and those that read the store.
    pub fn look_ups(&self) -> (u64, u64) {
        (
            self.from_memory.load(Ordering::Relaxed),
            self.from_store.load(Ordering::Relaxed),
        )
    }
}

impl Outcomes {
    fn counter(&self, outcome: Result<(), Denial>) -> Option<&AtomicU64> {
        let Err(denial) = outcome else {
            return Some(&self.valid);
        };
        let mut denied = Denial::ALL.iter().zip(&self.denied);
        denied.find(|(known, _)| **known == denial).map(|(_, counter)| counter)
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let valid = ("valid", self.valid.load(Ordering::Relaxed));
        let denied = Denial::ALL.iter().zip(&self.denied);
        std::iter::once(valid).chain(denied.map(|(denial, n)| (denial.as_str(), n.load(Ordering::Relaxed))))
    }
}
