//! Checks the invariants of this process and logs violations: a line for each invariant, at most once a minute.

use keyreeve_authority::Authority;
use keyreeve_core::coherence::invariants::Invariant;
use std::time::Duration;
use tokio::time::Instant;

/// Shortest time between two lines about one invariant.
const LINE_INTERVAL: Duration = Duration::from_secs(60);

/// What was logged of one invariant.
#[derive(Clone, Copy, Debug, Default)]
struct Logged {
    count: u64,
    at: Option<Instant>,
}

/// What was logged of each.
#[derive(Debug, Default)]
pub(crate) struct InvariantLog([Logged; Invariant::ALL.len()]);

impl InvariantLog {
    /// Checks what is checked once a second, and logs what has been counted since the last line.
    pub(crate) fn look(&mut self, authority: &Authority) {
        authority.check_invariants();
        authority.check_memory();
        let rows = authority.verifier().invariants().read();
        for (logged, (_, count, newest)) in self.0.iter_mut().zip(rows) {
            let Some(violation) = newest.filter(|_| logged.is_due(count, Instant::now())) else {
                continue;
            };
            tracing::error!(
                invariant = violation.invariant.name(),
                found = violation.found,
                allowed = violation.allowed,
                violations = count,
                "an invariant is violated: {}. This is a bug of Keyreeve: report it with this line",
                violation.invariant.sentence()
            );
        }
    }
}

impl Logged {
    /// Whether violations were counted since the last line, and that is long enough ago. Notes the new line.
    fn is_due(&mut self, count: u64, now: Instant) -> bool {
        let is_due = count > self.count && self.at.is_none_or(|at| now.duration_since(at) >= LINE_INTERVAL);
        if is_due {
            *self = Self { count, at: Some(now) };
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invariant_is_logged_once_a_minute_and_only_if_it_was_violated_again() {
        let (mut logged, start) = (Logged::default(), Instant::now());
        let mut is_due = |count, seconds| logged.is_due(count, start + Duration::from_secs(seconds));
        assert!(!is_due(0, 0));
        assert!(is_due(1, 1) && !is_due(2, 60) && is_due(2, 61));
        assert!(!is_due(2, 600) && is_due(3, 601));
    }
}
