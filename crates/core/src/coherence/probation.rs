//! Rule R17: a node that loses its lease repeatedly answers nothing for a while, and no change waits for it.
//!
//! A change waits for every session with a lease, and for a silent one until its lease is over by both clocks. A node
//! that stops and runs in turns would make one change after another wait. On probation it has no session: it polls,
//! answers 503, and registers again when it has polled in time for long enough.

use super::holder::SessionId;
use super::invariants::{Invariant, InvariantResult};
use super::lease::{Lease, Moment};
use super::rules::{Rule, keeps};
use std::collections::VecDeque;

/// This many leases lost within [`WINDOW_MS`] lead to probation.
const LOSSES: usize = 3;
/// How long a loss counts, and the longest probation, in milliseconds: ten minutes.
pub const WINDOW_MS: u64 = 600_000;
/// The first probation lasts this many leases. Each further loss within the window doubles it.
const LEASES: u64 = 2;
/// Most doublings: more than from the shortest lease to the longest probation.
const DOUBLINGS_MAX: usize = 16;

/// The leases lost within the window, and what the node must do before it may register again.
#[derive(Debug)]
pub struct Probation {
    lease_ms: u64,
    losses: VecDeque<Moment>,
    proof: Option<Proof>,
    /// Whether it began because earlier processes of the node were killed.
    is_for_kills: bool,
}

#[derive(Clone, Copy, Debug)]
struct Proof {
    needed_ms: u64,
    /// When the first poll in time was sent, and the last one.
    polls: Option<(Moment, Moment)>,
}

impl Probation {
    /// Creates the state for leases of a length in milliseconds.
    pub fn new(lease_ms: u64) -> Self {
        Self {
            lease_ms,
            losses: VecDeque::new(),
            proof: None,
            is_for_kills: false,
        }
    }

    /// Notes a lease that ended before it was renewed while a change may have waited for it. Returns whether the node
    /// is on probation now.
    pub fn lost(&mut self, now: Moment) -> bool {
        if !keeps(Rule::Probation) {
            return false;
        }
        self.losses.push_back(now);
        self.losses.retain(|loss| now.ms_since(*loss) < WINDOW_MS);
        let Some(further) = self.losses.len().checked_sub(LOSSES) else {
            return false;
        };
        // The bound keeps the shift in range, however many losses there are.
        let leases = LEASES << further.min(DOUBLINGS_MAX);
        self.proof = Some(Proof {
            needed_ms: self.lease_ms.saturating_mul(leases).min(WINDOW_MS),
            polls: None,
        });
        true
    }

    /// Whether a node that was killed this often within [`WINDOW_MS`] begins on probation.
    pub fn is_too_often(times: usize) -> bool {
        times >= LOSSES
    }

    /// Notes earlier processes of this node that ended within [`WINDOW_MS`] without leaving: changes waited for each until
    /// its lease was over. Call before the first session. Returns whether the node is on probation now.
    pub fn was_killed(&mut self, times: usize, now: Moment) -> bool {
        self.is_for_kills = Self::is_too_often(times) && (0..times).fold(false, |_, _| self.lost(now));
        self.is_for_kills
    }

    /// Whether it is on because earlier processes of the node were killed, and not because this one has lost leases: then
    /// it may end as soon as no other node is running, because no change waits.
    pub fn is_for_kills(&self) -> bool {
        self.is_on() && self.is_for_kills
    }

    /// Ends the probation.
    pub fn end(&mut self) {
        self.proof = None;
        self.is_for_kills = false;
    }

    /// Whether the node must not hold a lease now.
    pub fn is_on(&self) -> bool {
        self.proof.is_some()
    }

    /// Checks [`Invariant::ProbationLease`] between two polls.
    pub fn check(&self, session: Option<SessionId>, lease: &Lease) -> InvariantResult {
        let is_free = session.is_none() && lease.deadline().is_none();
        let (found, allowed) = (u64::from(session.is_some()), 0);
        Invariant::ProbationLease.require(!self.is_on() || is_free, found, allowed)
    }

    /// Notes an answered poll on probation. It is in time if it would have kept a lease; one that is not restarts the
    /// probation. Returns whether the probation is over.
    pub fn polled(&mut self, sent: Moment, answered: Moment) -> bool {
        let Some(proof) = &mut self.proof else {
            return true;
        };
        let first = match proof.polls {
            // By the clock that shows more, as a lease ends: with one, it would have been lost.
            Some((first, last)) if answered.ms_since(last) < self.lease_ms => first,
            Some(_) | None => sent,
        };
        proof.polls = Some((first, sent));
        // By the clock that shows less: a probation is never too short.
        let is_over = sent.surely_ms_since(first) >= proof.needed_ms;
        if is_over {
            self.proof = None;
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE_MS: u64 = 2_000;

    fn at(ms: u64) -> Moment {
        Moment::default().plus_ms(ms)
    }

    /// Polls every half second from a time on; returns when the probation is over.
    fn over(probation: &mut Probation, from: u64) -> u64 {
        let polls = (0..).map(|number| from + number * 500);
        let mut over = polls.skip_while(|&ms| !probation.polled(at(ms), at(ms + 10)));
        over.next().unwrap()
    }

    #[test]
    fn a_node_that_lost_three_leases_in_ten_minutes_is_on_probation_for_two_leases() {
        let mut probation = Probation::new(LEASE_MS);
        assert!(!probation.lost(at(0)));
        assert!(!probation.lost(at(599_000)));
        assert!(!probation.lost(at(601_000)), "the first is forgotten");
        assert!(probation.lost(at(602_000)));
        assert!(probation.is_on());
        assert_eq!(over(&mut probation, 602_000), 606_000);
        assert!(!probation.is_on());
    }

    #[test]
    fn a_session_or_a_lease_on_probation_is_reported() {
        let mut probation = Probation::new(LEASE_MS);
        let lease = Lease::none();
        lease.extend(at(0), LEASE_MS);
        assert_eq!(probation.check(Some([1; 16]), &lease), Ok(()), "it is not on probation");
        assert!((0..3).any(|ms| probation.lost(at(ms))));
        assert!(probation.check(None, &lease).is_err());
        lease.drop_now();
        assert_eq!(probation.check(None, &lease), Ok(()));
        let violation = probation.check(Some([1; 16]), &lease).unwrap_err();
        assert_eq!(violation.invariant, Invariant::ProbationLease);
    }

    #[test]
    fn a_poll_that_comes_too_late_makes_the_probation_begin_anew() {
        let mut probation = Probation::new(LEASE_MS);
        assert!((0..3).any(|ms| probation.lost(at(ms))));
        assert!(!probation.polled(at(1_000), at(1_010)));
        assert!(!probation.polled(at(2_900), at(2_950)));
        assert!(
            !probation.polled(at(5_100), at(5_110)),
            "more than a lease after the last"
        );
        assert_eq!(over(&mut probation, 5_600), 9_100);
    }

    #[test]
    fn a_node_that_was_killed_three_times_begins_on_probation() {
        for (times, needed) in [(0, 0), (2, 0), (3, 4_000), (4, 8_000)] {
            let mut probation = Probation::new(LEASE_MS);
            assert_eq!(probation.was_killed(times, at(0)), needed > 0, "{times}");
            assert_eq!(over(&mut probation, 0), needed, "{times}");
        }
    }

    #[test]
    fn each_further_loss_doubles_it_up_to_ten_minutes() {
        let mut probation = Probation::new(LEASE_MS);
        let mut lasted = Vec::new();
        for number in 0..14 {
            let from = 2 * number;
            if probation.lost(at(from)) {
                lasted.push(over(&mut probation, from) - from);
            }
        }
        assert_eq!(lasted.get(..4), Some([4_000, 8_000, 16_000, 32_000].as_slice()));
        assert_eq!(lasted.last(), Some(&600_000));
    }
}
