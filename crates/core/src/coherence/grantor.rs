//! The one who waits: when a change is effective everywhere (rules R7 to R9).

use super::holder::SessionId;
use super::lease::{Moment, wait_ms};
use super::rules::{Rule, keeps};
use std::collections::HashMap;

/// A verifier as the database knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Its session.
    pub session: SessionId,
    /// It has applied everything up to here.
    pub acked: u64,
    /// How often it has polled.
    pub renewals: u64,
}

/// One reading of all live sessions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reading {
    /// When it was begun: rule R7 takes only readings that began after the commit.
    pub began: Moment,
    /// When its answer was there: what it says was so at some time between.
    pub answered: Moment,
    /// The live sessions.
    pub sessions: Vec<Seen>,
}

/// A change that is committed and not yet known to be effective everywhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pending {
    /// Its revision.
    pub revision: u64,
    /// When the commit was answered, by the clock of whoever waits.
    pub committed: Moment,
}

/// How a change came to be effective.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reached {
    /// Every live verifier has said that it applied it.
    Acknowledged {
        /// How many.
        verifiers: u32,
    },
    /// Some did not answer; the lease of every one of them is over.
    Outwaited {
        /// How many have said so.
        verifiers: u32,
    },
}

impl Reached {
    /// Verifiers that said that they applied it.
    pub fn verifiers(self) -> u32 {
        match self {
            Self::Acknowledged { verifiers } | Self::Outwaited { verifiers } => verifiers,
        }
    }
}

/// Watches sessions for one process.
#[derive(Debug)]
pub struct Grantor {
    wait_ms: u64,
    sights: HashMap<SessionId, Sight>,
}

#[derive(Clone, Copy, Debug)]
struct Sight {
    renewals: u64,
    /// The count was seen at this time at the latest, and has not moved since.
    since: Moment,
}

impl Grantor {
    /// A watcher for leases of a length.
    pub fn new(lease_ms: u64) -> Self {
        Self {
            wait_ms: wait_ms(lease_ms),
            sights: HashMap::new(),
        }
    }

    /// How long it waits at most, in milliseconds.
    pub fn wait_ms(&self) -> u64 {
        self.wait_ms
    }

    /// Rule R7: whether a change is effective. `own` is the session of whoever asks, with the revision up to which it has
    /// applied everything: that its memory has heard of this one change is not enough, because a change of another node
    /// that came before may not be in it yet.
    pub fn reached(
        &self,
        pending: &Pending,
        own: Option<(SessionId, u64)>,
        reading: &Reading,
        now: Moment,
    ) -> Option<Reached> {
        let applied = |seen: &Seen| match own {
            Some((session, applied)) if session == seen.session => applied.max(seen.acked),
            Some(_) | None => seen.acked,
        };
        let has = |seen: &&Seen| applied(seen) >= pending.revision;
        let acked = reading.sessions.iter().filter(has).count();
        let verifiers = u32::try_from(acked).unwrap_or(u32::MAX);
        let is_after = reading.began.is_surely_at_or_after(pending.committed) || !keeps(Rule::SessionsAfterCommit);
        if is_after && acked == reading.sessions.len() {
            return Some(Reached::Acknowledged { verifiers });
        }
        self.is_outwaited(pending, now)
            .then_some(Reached::Outwaited { verifiers })
    }

    /// Rule R7 (b): whether every lease that was held at the commit is over.
    pub fn is_outwaited(&self, pending: &Pending, now: Moment) -> bool {
        now.surely_ms_since(pending.committed) >= self.wait_ms
    }

    /// Rule R9: the sessions of a reading that have not moved for W, with the count they stopped at.
    pub fn to_bury(&mut self, reading: &Reading) -> Vec<(SessionId, u64)> {
        let wait = if keeps(Rule::BuryLate) { self.wait_ms } else { 0 };
        let sessions = &reading.sessions;
        self.sights
            .retain(|id, _| sessions.iter().any(|seen| seen.session == *id));
        let mut dead = Vec::new();
        for seen in sessions {
            let first = Sight {
                renewals: seen.renewals,
                since: reading.answered,
            };
            let sight = self.sights.entry(seen.session).or_insert(first);
            if sight.renewals != seen.renewals {
                *sight = first;
            } else if reading.began.is_surely_at_or_after(sight.since)
                && reading.began.surely_ms_since(sight.since) >= wait
            {
                dead.push((seen.session, seen.renewals));
            }
        }
        dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: SessionId = [0; 16];

    fn at(ms: u64) -> Moment {
        Moment::default().plus_ms(1_000 + ms)
    }

    fn seen(number: u8, acked: u64, renewals: u64) -> Seen {
        Seen {
            session: [number; 16],
            acked,
            renewals,
        }
    }

    fn reading(ms: u64, sessions: Vec<Seen>) -> Reading {
        Reading {
            began: at(ms),
            answered: at(ms),
            sessions,
        }
    }

    const PENDING: Pending = Pending {
        revision: 7,
        committed: Moment {
            boot: 1_000_000_000,
            raw: 1_000_000_000,
        },
    };

    #[test]
    fn a_change_is_effective_when_all_have_it_by_a_reading_after_the_commit() {
        let grantor = Grantor::new(2_000);
        let all = vec![seen(0, 3, 1), seen(1, 7, 1), seen(2, 9, 1)];
        let reached = |reading: &Reading, now| grantor.reached(&PENDING, Some((OWN, 7)), reading, now);
        assert_eq!(
            reached(&reading(1, all.clone()), at(1)),
            Some(Reached::Acknowledged { verifiers: 3 })
        );
        let before = Reading {
            began: Moment::default().plus_ms(999),
            answered: at(1),
            sessions: Vec::new(),
        };
        assert_eq!(reached(&before, at(1)), None, "a session may have come since");
        let mut one_missing = all;
        one_missing.push(seen(3, 6, 1));
        assert_eq!(reached(&reading(1, one_missing.clone()), at(2_999)), None);
        assert_eq!(
            reached(&reading(1, one_missing), at(3_000)),
            Some(Reached::Outwaited { verifiers: 3 })
        );
    }

    /// Found by the simulator: a key was disabled by a node that had not heard yet that its secret was rotated elsewhere,
    /// and which therefore went on accepting the old one.
    #[test]
    fn whoever_asks_must_have_applied_everything_before_it_too() {
        let grantor = Grantor::new(2_000);
        let all = reading(1, vec![seen(0, 3, 1), seen(1, 7, 1)]);
        assert_eq!(grantor.reached(&PENDING, Some((OWN, 6)), &all, at(1)), None);
        assert_eq!(grantor.reached(&PENDING, None, &all, at(1)), None);
        assert!(grantor.reached(&PENDING, Some((OWN, 7)), &all, at(1)).is_some());
    }

    #[test]
    fn the_wait_counts_by_the_slower_clock() {
        let grantor = Grantor::new(2_000);
        let now = Moment {
            boot: at(9_000).boot,
            raw: at(10).raw,
        };
        assert!(!grantor.is_outwaited(&PENDING, now));
    }

    #[test]
    fn a_session_is_buried_when_it_has_not_moved_for_the_whole_wait() {
        let mut grantor = Grantor::new(2_000);
        assert_eq!(grantor.to_bury(&reading(0, vec![seen(1, 0, 4)])), []);
        assert_eq!(grantor.to_bury(&reading(2_999, vec![seen(1, 0, 4)])), []);
        assert_eq!(grantor.to_bury(&reading(3_000, vec![seen(1, 0, 4)])), [([1; 16], 4)]);
        assert_eq!(grantor.to_bury(&reading(3_001, vec![seen(1, 0, 5)])), []);
        assert_eq!(grantor.to_bury(&reading(6_000, vec![seen(1, 0, 5)])), []);
        assert_eq!(grantor.to_bury(&reading(6_001, vec![seen(1, 0, 5)])), [([1; 16], 5)]);
    }

    /// Found by the simulator: whoever stops between looking at the clock and asking takes a fresh count for an old one.
    #[test]
    fn a_reading_that_was_held_up_does_not_make_a_living_session_look_dead() {
        let mut grantor = Grantor::new(2_000);
        let held_up = Reading {
            began: at(0),
            answered: at(5_000),
            sessions: vec![seen(1, 0, 9)],
        };
        assert_eq!(grantor.to_bury(&held_up), []);
        assert_eq!(grantor.to_bury(&reading(5_100, vec![seen(1, 0, 9)])), []);
        assert_eq!(grantor.to_bury(&reading(8_000, vec![seen(1, 0, 9)])), [([1; 16], 9)]);
    }
}
