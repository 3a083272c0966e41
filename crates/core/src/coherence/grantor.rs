//! The commit waiter: when a change is effective everywhere (rules R7 to R9).

use super::holder::SessionId;
use super::holding::{Awaited, Holding};
use super::lease::{Moment, wait_ms};
use super::rules::{Rule, keeps};
use std::collections::HashMap;

/// A node as its row in the database has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Its session.
    pub session: SessionId,
    /// It has applied every change up to here.
    pub acked: u64,
    /// How often it has polled. A crash of the database may lose the newest polls.
    pub renewals: u64,
    /// The changes up to `acked` that its downstream verifiers may not have.
    pub holding: Holding,
    /// How often it has renewed its lease, durably.
    pub leases: u64,
}

/// The state of the database at a reading, so that readings of different databases are not compared (rule R18).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Era {
    /// The timeline and the tables: different after a failover, or after a copy was put in their place.
    pub line: u64,
    /// The start of the database server.
    pub start: u64,
    /// How far its log was written to disk. A crash never loses what was written, so a lower position is an older copy.
    pub written: u64,
    /// Whether a standby had every commit too, so that a failover loses no registration.
    pub is_replicated: bool,
}

/// One reading of all live sessions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reading {
    /// When it was begun. Rule R7 uses only readings that began after the commit.
    pub began: Moment,
    /// When its answer was received. The content was true at some time between the two.
    pub answered: Moment,
    /// The live sessions.
    pub sessions: Vec<Seen>,
    /// The database that was read.
    pub era: Era,
}

/// A change that is committed and not yet known to be effective everywhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pending {
    /// What was changed.
    pub change: Awaited,
    /// When the commit was answered, by the waiter's clock.
    pub committed: Moment,
}

/// The waiter's own session, in its present state and not as its last poll reported it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Own {
    /// Its session.
    pub session: SessionId,
    /// The revision up to which it has applied everything.
    pub applied: u64,
    /// Whether one of its downstream verifiers may not have the change.
    pub is_held: bool,
}

/// How a change became effective.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reached {
    /// Every live session has acknowledged it.
    Acknowledged {
        /// How many.
        verifiers: u32,
    },
    /// Some did not acknowledge, and the lease of each of them is over.
    Outwaited {
        /// How many have acknowledged.
        verifiers: u32,
    },
}

impl Reached {
    /// Returns the number of sessions that acknowledged the change.
    pub fn verifiers(self) -> u32 {
        match self {
            Self::Acknowledged { verifiers } | Self::Outwaited { verifiers } => verifiers,
        }
    }
}

/// The commit waiter's state: what it has seen of all sessions.
#[derive(Debug)]
pub struct Grantor {
    wait_ms: u64,
    sights: HashMap<SessionId, Sight>,
    /// The database of the newest reading, and when that was answered.
    era: Option<(Era, Moment)>,
    /// Since when registrations may be missing: such sessions have leases, and no reading shows them.
    unsettled: Option<Moment>,
}

#[derive(Clone, Copy, Debug)]
struct Sight {
    renewals: u64,
    leases: u64,
    /// The counts were seen at this time at the latest, and have not moved since.
    since: Moment,
}

impl Grantor {
    /// Creates a waiter for leases of this length.
    pub fn new(lease_ms: u64) -> Self {
        Self {
            wait_ms: wait_ms(lease_ms),
            sights: HashMap::new(),
            era: None,
            unsettled: None,
        }
    }

    /// From now on sessions may be missing in readings, until every lease that exists now is over.
    pub fn unsettle(&mut self, now: Moment) {
        self.unsettled = Some(now);
    }

    /// Returns the longest wait, in milliseconds.
    pub fn wait_ms(&self) -> u64 {
        self.wait_ms
    }

    /// Rule R7: returns how a change is effective, or `None`. `own` is the waiter's session in its present state. That
    /// its memory has applied this one change is not enough: an earlier change of another node may be missing.
    pub fn reached(&self, pending: &Pending, own: Option<&Own>, reading: &Reading, now: Moment) -> Option<Reached> {
        let newest = pending.change.newest();
        let has = |seen: &&Seen| match own.filter(|own| own.session == seen.session) {
            Some(own) => own.applied.max(seen.acked) >= newest && !own.is_held,
            None => seen.acked >= newest && !seen.holding.covers(&pending.change),
        };
        let acked = reading.sessions.iter().filter(has).count();
        let verifiers = u32::try_from(acked).unwrap_or(u32::MAX);
        let is_after = reading.began.is_surely_at_or_after(pending.committed) || !keeps(Rule::SessionsAfterCommit);
        let is_complete = match self.unsettled {
            Some(since) => now.surely_ms_since(since) >= self.wait_ms || !keeps(Rule::OnlyTheWaitAfterALoss),
            None => true,
        };
        if is_after && is_complete && acked == reading.sessions.len() {
            return Some(Reached::Acknowledged { verifiers });
        }
        self.is_outwaited(pending, now)
            .then_some(Reached::Outwaited { verifiers })
    }

    /// Rule R7 (b): whether every lease that existed at the commit is over.
    pub fn is_outwaited(&self, pending: &Pending, now: Moment) -> bool {
        now.surely_ms_since(pending.committed) >= self.wait_ms
    }

    /// Rule R18: observations of another database are dropped. After a failover or in an older copy, registrations may
    /// be missing too.
    ///
    /// Returns whether it is such a one: commits may be lost, and nodes that have them need time to write them again.
    pub fn may_have_lost(&mut self, era: Era, began: Moment, answered: Moment) -> bool {
        let Some((before, last)) = self.era.replace((era, answered)) else {
            return false;
        };
        // Readings overlap: if one began before the last was answered, their order is unknown.
        if !began.is_surely_at_or_after(last) && era.line == before.line {
            self.era = Some((before, last));
            return false;
        }
        let is_other_line = era.line != before.line;
        let is_other = is_other_line || era.written < before.written;
        if is_other || era.start != before.start {
            self.sights.clear();
        }
        let may_have_lost = is_other && !(before.is_replicated && is_other_line);
        if may_have_lost {
            self.unsettled = Some(answered);
        }
        may_have_lost
    }

    /// Rule R9: returns the sessions of a reading that have not moved for W, with the counts at which they stopped.
    ///
    /// A session moves when either count does. A crash cannot take back the count of leases, so a session that has not
    /// moved has not renewed. The count of polls also moves for nodes of a version that does not count leases.
    pub fn to_bury(&mut self, reading: &Reading) -> Vec<Seen> {
        let wait = if keeps(Rule::BuryLate) { self.wait_ms } else { 0 };
        self.may_have_lost(reading.era, reading.began, reading.answered);
        let sessions = &reading.sessions;
        self.sights
            .retain(|id, _| sessions.iter().any(|seen| seen.session == *id));
        let mut dead = Vec::new();
        for seen in sessions {
            let first = Sight {
                renewals: seen.renewals,
                leases: seen.leases,
                since: reading.answered,
            };
            let sight = self.sights.entry(seen.session).or_insert(first);
            if (sight.renewals, sight.leases) != (seen.renewals, seen.leases) {
                *sight = first;
            } else if reading.began.is_surely_at_or_after(sight.since)
                && reading.began.surely_ms_since(sight.since) >= wait
            {
                dead.push(seen.clone());
            }
        }
        dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coherence::holding::{Scope, Span};
    use crate::text::Slug;

    const OWN: SessionId = [0; 16];

    fn at(ms: u64) -> Moment {
        Moment::default().plus_ms(1_000 + ms)
    }

    fn seen(number: u8, acked: u64, renewals: u64) -> Seen {
        Seen {
            session: [number; 16],
            acked,
            renewals,
            holding: Holding::default(),
            leases: 0,
        }
    }

    fn reading(ms: u64, sessions: Vec<Seen>) -> Reading {
        Reading {
            began: at(ms),
            answered: at(ms),
            sessions,
            era: Era::default(),
        }
    }

    fn pending() -> Pending {
        Pending {
            change: Awaited::one(&Slug::parse("acme").unwrap(), 7),
            committed: at(0),
        }
    }

    fn own(applied: u64) -> Own {
        Own {
            session: OWN,
            applied,
            is_held: false,
        }
    }

    fn buried(dead: Vec<Seen>) -> Vec<([u8; 16], u64)> {
        dead.into_iter().map(|seen| (seen.session, seen.renewals)).collect()
    }

    #[test]
    fn a_change_is_effective_when_all_have_it_by_a_reading_after_the_commit() {
        let grantor = Grantor::new(2_000);
        let all = vec![seen(0, 3, 1), seen(1, 7, 1), seen(2, 9, 1)];
        let reached = |reading: &Reading, now| grantor.reached(&pending(), Some(&own(7)), reading, now);
        assert_eq!(
            reached(&reading(1, all.clone()), at(1)),
            Some(Reached::Acknowledged { verifiers: 3 })
        );
        let before = Reading {
            began: Moment::default().plus_ms(999),
            answered: at(1),
            sessions: Vec::new(),
            era: Era::default(),
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

    /// Found by the simulator: a node disabled a key before it had applied that the key was rotated on another node,
    /// and kept accepting the old secret.
    #[test]
    fn whoever_asks_must_have_applied_everything_before_it_too() {
        let grantor = Grantor::new(2_000);
        let all = reading(1, vec![seen(0, 3, 1), seen(1, 7, 1)]);
        assert_eq!(grantor.reached(&pending(), Some(&own(6)), &all, at(1)), None);
        assert_eq!(grantor.reached(&pending(), None, &all, at(1)), None);
        assert!(grantor.reached(&pending(), Some(&own(7)), &all, at(1)).is_some());
    }

    #[test]
    fn a_change_waits_for_a_child_that_was_told_of_it_and_for_no_other() {
        let grantor = Grantor::new(2_000);
        let holds = |tenant: &str, revision| {
            let mut holding = Holding::default();
            holding.add(Some(&Scope::Tenant(Slug::parse(tenant).unwrap())), Span::one(revision));
            let there = Seen {
                holding,
                ..seen(1, 9, 1)
            };
            let all = reading(1, vec![seen(0, 9, 1), there]);
            grantor.reached(&pending(), Some(&own(9)), &all, at(1)).is_none()
        };
        assert!(holds("acme", 7));
        assert!(!holds("acme", 6) && !holds("acme", 8), "an earlier or later change");
        assert!(!holds("other", 7), "another tenant");
        let held = Own {
            is_held: true,
            ..own(9)
        };
        let all = reading(1, vec![seen(0, 9, 1)]);
        assert_eq!(
            grantor.reached(&pending(), Some(&held), &all, at(1)),
            None,
            "a child here"
        );
    }

    #[test]
    fn the_wait_counts_by_the_slower_clock() {
        let grantor = Grantor::new(2_000);
        let now = Moment {
            boot: at(9_000).boot,
            raw: at(10).raw,
        };
        assert!(!grantor.is_outwaited(&pending(), now));
    }

    #[test]
    fn a_session_is_buried_when_it_has_not_moved_for_the_whole_wait() {
        let mut grantor = Grantor::new(2_000);
        assert_eq!(buried(grantor.to_bury(&reading(0, vec![seen(1, 0, 4)]))), []);
        assert_eq!(buried(grantor.to_bury(&reading(2_999, vec![seen(1, 0, 4)]))), []);
        assert_eq!(
            buried(grantor.to_bury(&reading(3_000, vec![seen(1, 0, 4)]))),
            [([1; 16], 4)]
        );
        assert_eq!(buried(grantor.to_bury(&reading(3_001, vec![seen(1, 0, 5)]))), []);
        assert_eq!(buried(grantor.to_bury(&reading(6_000, vec![seen(1, 0, 5)]))), []);
        assert_eq!(
            buried(grantor.to_bury(&reading(6_001, vec![seen(1, 0, 5)]))),
            [([1; 16], 5)]
        );
    }

    /// Found by the simulator: a process that pauses between reading the clock and sending takes a new count for an old
    /// one.
    #[test]
    fn a_reading_that_was_held_up_does_not_make_a_living_session_look_dead() {
        let mut grantor = Grantor::new(2_000);
        let held_up = Reading {
            began: at(0),
            answered: at(5_000),
            sessions: vec![seen(1, 0, 9)],
            era: Era::default(),
        };
        assert_eq!(buried(grantor.to_bury(&held_up)), []);
        assert_eq!(buried(grantor.to_bury(&reading(5_100, vec![seen(1, 0, 9)]))), []);
        assert_eq!(
            buried(grantor.to_bury(&reading(8_000, vec![seen(1, 0, 9)]))),
            [([1; 16], 9)]
        );
    }

    fn reading_of(era: Era, ms: u64, sessions: Vec<Seen>) -> Reading {
        Reading {
            era,
            ..reading(ms, sessions)
        }
    }

    const ERA: Era = Era {
        line: 1,
        start: 1,
        written: 500,
        is_replicated: false,
    };

    /// A crash takes the count of polls back to an earlier one; the count of leases stays.
    #[test]
    fn a_session_whose_count_came_back_after_a_crash_is_not_buried() {
        let mut grantor = Grantor::new(2_000);
        let living = |leases| Seen {
            leases,
            ..seen(1, 0, 7)
        };
        assert_eq!(grantor.to_bury(&reading_of(ERA, 0, vec![living(3)])), []);
        assert_eq!(grantor.to_bury(&reading_of(ERA, 3_000, vec![living(4)])), []);
    }

    #[test]
    fn nothing_is_timed_across_a_restart_a_failover_or_an_older_copy_of_the_database() {
        let others = [
            Era { start: 2, ..ERA },
            Era { line: 2, ..ERA },
            Era { written: 499, ..ERA },
        ];
        for other in others {
            let mut grantor = Grantor::new(2_000);
            assert_eq!(grantor.to_bury(&reading_of(ERA, 0, vec![seen(1, 0, 7)])), []);
            assert_eq!(grantor.to_bury(&reading_of(other, 2_900, vec![seen(1, 0, 7)])), []);
            assert_eq!(grantor.to_bury(&reading_of(other, 5_899, vec![seen(1, 0, 7)])), []);
            let dead = grantor.to_bury(&reading_of(other, 5_900, vec![seen(1, 0, 7)]));
            assert_eq!(buried(dead), [([1; 16], 7)], "{other:?}");
        }
    }

    /// A node whose registration was lost answers until its lease ends, and no reading shows it.
    #[test]
    fn where_registrations_may_be_lost_only_the_full_wait_counts() {
        let all = vec![seen(0, 7, 1)];
        let cases = [
            (Era { line: 2, ..ERA }, false, false),
            (Era { line: 2, ..ERA }, true, true),
            (Era { written: 499, ..ERA }, true, false),
            (Era { start: 2, ..ERA }, false, true),
        ];
        for (after, is_replicated, is_enough) in cases {
            let mut grantor = Grantor::new(2_000);
            let before = Era { is_replicated, ..ERA };
            assert_eq!(grantor.to_bury(&reading_of(before, 0, all.clone())), []);
            let reading = reading_of(after, 1, all.clone());
            assert_eq!(grantor.to_bury(&reading), []);
            let acknowledged = grantor.reached(&pending(), Some(&own(7)), &reading, at(2));
            assert_eq!(acknowledged.is_some(), is_enough, "{after:?} {is_replicated}");
            let reading = reading_of(after, 3_001, all.clone());
            let later = Pending {
                committed: at(3_001),
                ..pending()
            };
            assert!(grantor.reached(&later, Some(&own(7)), &reading, at(3_001)).is_some());
        }
    }

    /// Readings overlap, and an earlier request may be answered later.
    #[test]
    fn a_reading_that_comes_late_is_no_older_copy() {
        let mut grantor = Grantor::new(2_000);
        let late = Reading {
            answered: at(9),
            ..reading_of(Era { written: 400, ..ERA }, 1, vec![seen(0, 7, 1)])
        };
        assert_eq!(grantor.to_bury(&reading_of(ERA, 5, vec![seen(0, 7, 1)])), []);
        assert_eq!(grantor.to_bury(&late), []);
        let reached = grantor.reached(&pending(), Some(&own(7)), &late, at(9));
        assert!(reached.is_some());
    }
}
