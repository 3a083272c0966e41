//! How long to wait before the next attempt to connect.

use super::address::Failed;
use super::clock::moment;
use crate::ClientError;
use std::time::Duration;

/// The first pause.
const FIRST: Duration = Duration::from_millis(50);
/// The longest one while the node cannot be reached: it may be back at any time.
const UNREACHABLE_MAX: Duration = Duration::from_secs(1);
/// The longest one if the node refuses this verifier.
const UNWANTED_MAX: Duration = Duration::from_secs(30);
/// The longest `Retry-After` that is followed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// After a connection of this length the pause starts again with the first.
const STEADY: Duration = Duration::from_secs(10);

/// The pause, which doubles with each failed attempt.
pub(super) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Pause {
    /// The pause after a connection that ended: short after a long connection, growing if the node ends each one at
    /// once.
    pub(super) fn after_connection(&mut self, lasted: Duration) -> Duration {
        if lasted >= STEADY {
            self.0 = FIRST;
        }
        self.next(UNWANTED_MAX)
    }

    /// The pause after an attempt that led to no connection.
    pub(super) fn after_failure(&mut self, failed: &Failed) -> Duration {
        let most = match failed.error {
            ClientError::Refused(_) => UNWANTED_MAX,
            _ => UNREACHABLE_MAX,
        };
        let wished = failed.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        self.next(most).max(wished)
    }

    fn next(&mut self, most: Duration) -> Duration {
        let pause = self.0.min(most);
        self.0 = (self.0 * 2).min(UNWANTED_MAX);
        spread(pause)
    }
}

/// Adds up to a half, so that many applications do not reconnect at the same moment.
fn spread(pause: Duration) -> Duration {
    let parts = u32::try_from(moment().boot / 1_000 % 512).unwrap_or(0);
    pause + pause * parts / 1_024
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(error: ClientError, retry_after: Option<u64>) -> Failed {
        Failed {
            error,
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    #[test]
    fn pauses_grow_up_to_their_bound_and_begin_anew_after_a_good_connection() {
        let mut pause = Pause::default();
        let pauses: Vec<_> = (0..20).map(|_| pause.after_connection(Duration::ZERO)).collect();
        for (pause, least) in pauses.iter().zip([50, 100, 200, 400, 800]) {
            assert!(*pause >= Duration::from_millis(least) && *pause <= Duration::from_millis(least * 3 / 2));
        }
        assert!(pauses.iter().all(|pause| *pause <= UNWANTED_MAX * 3 / 2));
        assert!(pause.after_connection(STEADY) < FIRST * 2);
    }

    #[test]
    fn a_node_that_is_away_is_looked_for_often_and_one_that_refuses_is_not() {
        let mut pause = Pause::default();
        let away = failed(ClientError::Unreachable(String::new()), None);
        let longest = (0..20).map(|_| pause.after_failure(&away)).max();
        assert!(longest <= Some(UNREACHABLE_MAX * 3 / 2));
        let foreign = failed(ClientError::Foreign { status: 502 }, Some(100));
        assert!(pause.after_failure(&foreign) >= Duration::from_secs(100));
        let absurd = failed(ClientError::Foreign { status: 502 }, Some(u64::MAX));
        assert!(pause.after_failure(&absurd) <= RETRY_AFTER_MAX);
    }
}
