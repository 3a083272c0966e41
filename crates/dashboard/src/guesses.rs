//! Rate limit on wrong guesses (GCRA): a burst, then one per interval. A guess is taken before the password is checked,
//! so that concurrent guesses stay within the limit, and is given back if the password was right.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// Most entries in memory. Beyond it, new ones share one entry until expired entries are removed.
const REMEMBERED_MAX: usize = 50_000;
/// The shared entry.
const OTHERS: GuessTarget = (0, 0);

/// What is limited, as two keyed hashes: of fixed size, and a client cannot choose two names that collide.
type GuessTarget = (u64, u64);

/// A burst of guesses, and one more every `every_ms`.
#[derive(Clone, Copy, Debug)]
pub(super) struct GuessPace {
    pub(super) at_once: u32,
    pub(super) every_ms: u64,
}

/// The recent guesses.
#[derive(Debug)]
pub(super) struct Guesses {
    pace: GuessPace,
    keys: (RandomState, RandomState),
    start: Instant,
    /// When all guesses of an entry have expired, in milliseconds since `start`.
    forgotten_at: Mutex<HashMap<GuessTarget, u64>>,
}

impl Guesses {
    pub(super) fn new(pace: GuessPace) -> Self {
        Self {
            pace,
            keys: Default::default(),
            start: Instant::now(),
            forgotten_at: Mutex::default(),
        }
    }

    /// Takes a guess. Returns false if the limit is reached.
    pub(super) fn take(&self, of: &impl Hash) -> bool {
        self.take_at(self.place(of), self.now())
    }

    /// Gives back a guess that was right.
    pub(super) fn give_back(&self, of: &impl Hash) {
        let mut places = self.forgotten_at.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = places.get_mut(&self.place(of)) {
            *at = at.saturating_sub(self.pace.every_ms);
        }
    }

    fn place(&self, of: &impl Hash) -> GuessTarget {
        (self.keys.0.hash_one(of), self.keys.1.hash_one(of))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn take_at(&self, place: GuessTarget, now: u64) -> bool {
        let mut places = self.forgotten_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = places.len() >= REMEMBERED_MAX && !places.contains_key(&place);
        if is_full {
            // Visits every entry under the lock, at each new entry while the map is full.
            places.retain(|_, at| *at > now);
        }
        let is_full = is_full && places.len() >= REMEMBERED_MAX;
        let at = places.entry(if is_full { OTHERS } else { place }).or_default();
        let next = now.max(*at).saturating_add(self.pace.every_ms);
        let may = next.saturating_sub(now) <= self.pace.every_ms.saturating_mul(u64::from(self.pace.at_once));
        if may {
            *at = next;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: GuessPace = GuessPace {
        at_once: 3,
        every_ms: 10,
    };

    #[test]
    fn so_many_at_once_and_then_one_in_a_time() {
        let guesses = Guesses::new(PACE);
        let taken = |now| (0..9).filter(|_| guesses.take_at((1, 1), now)).count();
        assert_eq!(
            [taken(0), taken(9), taken(10), taken(25), taken(1_000)],
            [3, 0, 1, 1, 3]
        );
        assert!(guesses.take_at((1, 2), 1_000), "another place has its own");
    }

    #[test]
    fn a_guess_that_was_right_is_none() {
        let guesses = Guesses::new(GuessPace {
            at_once: 3,
            every_ms: 3_600_000,
        });
        for _ in 0..10 {
            assert!(guesses.take(&"ada"));
            guesses.give_back(&"ada");
        }
        let wrong = (0..9).filter(|_| guesses.take(&"ada")).count();
        assert_eq!(wrong, 3);
    }

    #[test]
    fn many_places_do_not_fill_the_memory() {
        let guesses = Guesses::new(PACE);
        let count = u64::try_from(REMEMBERED_MAX).unwrap() + 1_000;
        let taken = (1..=count).filter(|&number| guesses.take_at((number, 0), 0)).count();
        assert_eq!(taken, REMEMBERED_MAX + 3);
        assert!(guesses.forgotten_at.lock().unwrap().len() <= REMEMBERED_MAX + 1);
        assert!(guesses.take_at((7, 7), 10), "what is forgotten makes room");
    }
}
