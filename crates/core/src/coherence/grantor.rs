//! The commit waiter: when a change is effective everywhere (rules R7 to R9).

use super::holder::SessionId;
use super::holding::{Awaited, Holding};
use super::invariants::{Invariant, InvariantResult, number};
use super::lease::{Moment, check_wait, wait_ms};
use super::rules::{Rule, keeps};
use std::collections::HashMap;

/// A node as its row in the database has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeenNode {
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
    pub sessions: Vec<SeenNode>,
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
    lease_ms: u64,
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
        let grantor = Self {
            lease_ms,
            wait_ms: wait_ms(lease_ms),
            sights: HashMap::new(),
            era: None,
            unsettled: None,
        };
        debug_assert_eq!(grantor.check(), Ok(()));
        grantor
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
        let reached = self.judge(pending, own, reading, now);
        debug_assert_eq!(self.check_reached(reached, pending, reading, now), Ok(()));
        reached
    }

    fn judge(&self, pending: &Pending, own: Option<&Own>, reading: &Reading, now: Moment) -> Option<Reached> {
        let newest = pending.change.newest();
        let has = |seen: &&SeenNode| match own.filter(|own| own.session == seen.session) {
            // A row acknowledges only what was applied, so the higher number is true.
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
        // By the clock that shows less: a wait may be too long, never too short.
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
            // Counts of another database may be lower: compared with them, a living session would look still.
            self.sights.clear();
        }
        // A failover to a standby that had every commit loses nothing. An older copy always may have.
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
    pub fn to_bury(&mut self, reading: &Reading) -> Vec<SeenNode> {
        let wait = if keeps(Rule::BuryLate) { self.wait_ms } else { 0 };
        self.may_have_lost(reading.era, reading.began, reading.answered);
        let sessions = &reading.sessions;
        // Bounded by the rows that there are: a session id is never used again.
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
            // From the end of the first reading to the begin of this one: each content was true at some time between
            // its begin and its end, so equal counts did not move for this long at least.
            if (sight.renewals, sight.leases) != (seen.renewals, seen.leases) {
                *sight = first;
            } else if reading.began.is_surely_at_or_after(sight.since)
                && reading.began.surely_ms_since(sight.since) >= wait
            {
                dead.push(seen.clone());
            }
        }
        debug_assert_eq!(self.check_dead(&dead, reading), Ok(()));
        dead
    }

    /// Checks [`Invariant::WaitLength`].
    pub fn check(&self) -> InvariantResult {
        check_wait(self.wait_ms, self.lease_ms)
    }

    /// Checks [`Invariant::EffectiveChange`] for what [`Grantor::reached`] has returned.
    pub fn check_reached(
        &self,
        reached: Option<Reached>,
        pending: &Pending,
        reading: &Reading,
        now: Moment,
    ) -> InvariantResult {
        let Moment { boot, .. } = pending.committed;
        match reached {
            None => Ok(()),
            Some(Reached::Acknowledged { .. }) => {
                let is_after = reading.began.is_surely_at_or_after(pending.committed);
                Invariant::EffectiveChange.require(is_after, reading.began.boot, boot)
            }
            Some(Reached::Outwaited { .. }) => {
                let waited = now.surely_ms_since(pending.committed);
                Invariant::EffectiveChange.require(waited >= self.wait_ms, waited, self.wait_ms)
            }
        }
    }

    /// Checks [`Invariant::DeadSession`] for what [`Grantor::to_bury`] has returned for a reading.
    pub fn check_dead(&self, dead: &[SeenNode], reading: &Reading) -> InvariantResult {
        let is_still = |seen: &&SeenNode| {
            let sight = self.sights.get(&seen.session);
            sight.is_some_and(|sight| {
                (sight.renewals, sight.leases) == (seen.renewals, seen.leases)
                    && reading.began.surely_ms_since(sight.since) >= self.wait_ms
            })
        };
        let still = dead.iter().filter(is_still).count();
        Invariant::DeadSession.require(still == dead.len(), number(dead.len()), number(still))
    }
}

#[cfg(test)]
mod tests;
