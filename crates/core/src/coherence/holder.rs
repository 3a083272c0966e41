//! The holder of a lease: what the answer of each poll means (rules R1 to R3, R10).

use super::invariants::{Invariant, InvariantResult};
use super::lease::{Lease, Moment};
use super::rules::{Rule, keeps};
use crate::audit::ChainHash;

/// The id of one start of one node. Random; never used again.
pub type SessionId = [u8; 16];

/// With more revisions to catch up, a node forgets everything and registers again.
pub const LAG_MAX: u64 = 10_000;

/// The content of a poll.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Poll {
    /// The node's session.
    pub session: SessionId,
    /// Everything up to here was applied; the poll acknowledges it.
    pub applied: u64,
    /// The newest revision that the database was known to have when the poll was sent: `applied`, or a later commit of
    /// this node.
    pub known: u64,
    /// When it was sent. The lease counts from here.
    pub sent: Moment,
    /// Whether it renews the lease, durably, or only acknowledges (rule R18).
    pub is_renewal: bool,
}

/// The parts of a poll's answer that decisions depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PollAnswer {
    /// Whether the session was renewed: it exists and is not marked dead.
    pub is_renewed: bool,
    /// Whether a replica answered.
    pub is_replica: bool,
    /// The newest revision.
    pub head: u64,
    /// The chain at `applied`; `None` if the log has no such entry.
    pub chain: Option<ChainHash>,
    /// The newest revision among the changes in the answer, with its chain; `None` without changes.
    pub last: Option<(u64, ChainHash)>,
}

/// What to do with an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Apply the changes, then call [`Holder::applied`].
    Apply,
    /// The session is over, or so far behind that registering again is faster: forget everything, give up the lease and
    /// register.
    Register,
    /// The server that answered is a replica. Connect to another one; the lease is not touched.
    NotPrimary,
    /// The history is another one, so acknowledged changes may be lost: forget everything, give up the lease, write the
    /// known denials again, and register (rule R10).
    Forked,
}

/// The state of one session.
#[derive(Clone, Debug)]
pub struct Holder {
    session: SessionId,
    applied: u64,
    chain: ChainHash,
    lease_ms: u64,
    /// When the newest poll was sent that extended the lease, by each clock.
    renewed: Option<Moment>,
}

/// A lease is renewed at most once in this part of its length, and in this time, in milliseconds. Polls are more
/// frequent, and a renewal waits for the database's disk.
const RENEWAL_PART: u64 = 10;
const RENEWAL_MS_MAX: u64 = 500;

impl Holder {
    /// Returns a session that was just registered, with an empty memory, at the end of the log at that time.
    pub fn registered(session: SessionId, head: u64, chain: ChainHash, lease_ms: u64) -> Self {
        Self {
            session,
            applied: head,
            chain,
            lease_ms,
            renewed: None,
        }
    }

    /// Returns its session.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Returns the revision up to which every change was applied.
    pub fn applied_revision(&self) -> u64 {
        self.applied
    }

    /// Returns the chain at the newest applied revision.
    pub fn chain(&self) -> ChainHash {
        self.chain
    }

    /// Returns the next poll. `known` is the newest revision that this node has committed or read.
    pub fn poll(&self, now: Moment, known: u64) -> Poll {
        Poll {
            session: self.session,
            applied: self.applied,
            known: known.max(self.applied),
            sent: now,
            // By the clock that shows more: a renewal may come early, never late.
            is_renewal: self
                .renewed
                .is_none_or(|renewed| now.ms_since(renewed) >= self.renewal_ms()),
        }
    }

    fn renewal_ms(&self) -> u64 {
        (self.lease_ms / RENEWAL_PART).min(RENEWAL_MS_MAX)
    }

    /// Decides what an answer means: the history first (rule R16). A database that was replaced by an older copy does
    /// not have the session either, and a node that registered at once would not write the lost denials again.
    pub fn judge(&self, poll: &Poll, answer: &PollAnswer) -> Next {
        // First: a replica may be behind, and then its log looks like one that has lost changes.
        if answer.is_replica {
            return Next::NotPrimary;
        }
        let is_refused = !answer.is_renewed && keeps(Rule::RefusalEndsTheLease);
        if is_refused && !keeps(Rule::HistoryFirst) {
            return Next::Register;
        }
        // `known` includes commits of this node that no poll has returned yet: a lower head has lost one of them.
        if answer.head < poll.known || answer.chain.is_some_and(|chain| chain != self.chain) {
            return Next::Forked;
        }
        if is_refused {
            return Next::Register;
        }
        // The entry that was applied last is missing from a log that is as long: nothing can be compared, so begin
        // again.
        let is_gone = answer.chain.is_none() && poll.applied > 0;
        if is_gone || answer.head.saturating_sub(poll.applied) > LAG_MAX {
            return Next::Register;
        }
        Next::Apply
    }

    /// The end of rule R3: everything in the answer was applied, and only now the lease is extended, if the poll was a
    /// renewal. True if there is more to fetch at once; then the lease is not extended yet.
    pub fn applied(&mut self, poll: &Poll, answer: &PollAnswer, lease: &Lease, now: Moment) -> bool {
        let has_more = self.follow(answer);
        if !has_more && poll.is_renewal {
            // The later reading of each clock, as in the lease: a clock that is stepped back shortens neither.
            self.renewed = Some(self.renewed.map_or(poll.sent, |before| before.latest(poll.sent)));
            let from = if keeps(Rule::LeaseFromSending) { poll.sent } else { now };
            lease.extend(from, self.lease_ms);
        }
        debug_assert_eq!(self.check(lease), Ok(()));
        has_more
    }

    /// Checks [`Invariant::LeaseEnd`]. Call on the thread that polls.
    pub fn check(&self, lease: &Lease) -> InvariantResult {
        lease.check(self.renewed, self.lease_ms)
    }

    /// Checks [`Invariant::CoveredChanges`] between two polls: `covered` is the revision that verdicts name.
    pub fn check_covered(&self, covered: u64) -> InvariantResult {
        Invariant::CoveredChanges.require(covered == self.applied, covered, self.applied)
    }

    /// Notes that everything in an answer was applied, without a lease. True if there is more to fetch at once.
    pub fn follow(&mut self, answer: &PollAnswer) -> bool {
        if let Some((revision, chain)) = answer.last {
            self.applied = revision;
            self.chain = chain;
        }
        self.applied < answer.head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = [1; 16];
    const LEASE_MS: u64 = 1_000;

    fn holder() -> Holder {
        Holder::registered(SESSION, 5, [5; 32], LEASE_MS)
    }

    fn answer() -> PollAnswer {
        PollAnswer {
            is_renewed: true,
            is_replica: false,
            head: 5,
            chain: Some([5; 32]),
            last: None,
        }
    }

    #[test]
    fn every_answer_has_its_consequence() {
        let poll = holder().poll(Moment::default(), 0);
        let table = [
            (answer(), Next::Apply),
            (
                PollAnswer {
                    is_renewed: false,
                    ..answer()
                },
                Next::Register,
            ),
            (
                PollAnswer {
                    is_replica: true,
                    ..answer()
                },
                Next::NotPrimary,
            ),
            (
                PollAnswer {
                    head: 4,
                    chain: None,
                    ..answer()
                },
                Next::Forked,
            ),
            (
                PollAnswer {
                    chain: Some([6; 32]),
                    ..answer()
                },
                Next::Forked,
            ),
            (
                PollAnswer {
                    is_renewed: false,
                    head: 4,
                    chain: None,
                    ..answer()
                },
                Next::Forked,
            ),
            (
                PollAnswer {
                    is_renewed: false,
                    chain: Some([6; 32]),
                    ..answer()
                },
                Next::Forked,
            ),
            (
                PollAnswer {
                    chain: None,
                    ..answer()
                },
                Next::Register,
            ),
            (
                PollAnswer {
                    head: 5 + LAG_MAX + 1,
                    ..answer()
                },
                Next::Register,
            ),
        ];
        for (answer, next) in table {
            assert_eq!(holder().judge(&poll, &answer), next, "{answer:?}");
        }
    }

    /// A commit of this node that no poll has returned yet is part of the known history.
    #[test]
    fn a_database_that_lost_a_commit_of_this_node_is_one_with_another_history() {
        let poll = holder().poll(Moment::default(), 6);
        assert_eq!(holder().judge(&poll, &answer()), Next::Forked);
        let has_it = PollAnswer { head: 6, ..answer() };
        assert_eq!(holder().judge(&poll, &has_it), Next::Apply);
    }

    /// Rule R18: acknowledgements need not be on the database's disk, so no lease may depend on one.
    #[test]
    fn a_lease_grows_by_renewals_only_which_come_now_and_then() {
        let (mut holder, lease) = (holder(), Lease::none());
        let first = holder.poll(Moment::default(), 0);
        assert!(first.is_renewal);
        holder.applied(&first, &answer(), &lease, first.sent);
        let soon = holder.poll(Moment::default().plus_ms(99), 0);
        assert!(!soon.is_renewal);
        holder.applied(&soon, &answer(), &lease, soon.sent);
        assert!(!lease.deadline().covers(Moment::default().plus_ms(LEASE_MS)));
        let later = holder.poll(Moment::default().plus_ms(100), 0);
        assert!(later.is_renewal);
        holder.applied(&later, &answer(), &lease, later.sent);
        assert!(lease.deadline().covers(Moment::default().plus_ms(LEASE_MS + 99)));
    }

    #[test]
    fn a_lease_that_no_renewal_explains_and_other_changes_than_the_applied_are_reported() {
        let (mut holder, lease) = (holder(), Lease::none());
        let poll = holder.poll(Moment::default().plus_ms(10), 0);
        holder.applied(&poll, &answer(), &lease, poll.sent);
        assert_eq!((holder.check(&lease), holder.check_covered(5)), (Ok(()), Ok(())));
        lease.extend(poll.sent.plus_ms(1), LEASE_MS);
        let violation = holder.check(&lease).unwrap_err();
        assert_eq!(violation.invariant, Invariant::LeaseEnd);
        for covered in [4, 6] {
            let violation = holder.check_covered(covered).unwrap_err();
            assert_eq!(
                (violation.invariant, violation.found),
                (Invariant::CoveredChanges, covered)
            );
        }
    }

    /// Clocks never go back. If one does nevertheless, the lease keeps its end, and that is no violation.
    #[test]
    fn a_clock_that_goes_back_breaks_no_invariant_of_the_lease() {
        let (mut holder, lease) = (holder(), Lease::none());
        for ms in [5_000, 1_000, 20_000, 0] {
            let poll = Poll {
                is_renewal: true,
                ..holder.poll(Moment::default().plus_ms(ms), 0)
            };
            holder.applied(&poll, &answer(), &lease, poll.sent);
        }
        assert_eq!(holder.check(&lease), Ok(()));
    }

    #[test]
    fn the_lease_grows_when_all_is_applied_and_counts_from_the_sending() {
        let mut holder = holder();
        let lease = Lease::none();
        let sent = Moment::default().plus_ms(10);
        let poll = holder.poll(sent, 0);
        let part = PollAnswer {
            head: 9,
            last: Some((7, [7; 32])),
            ..answer()
        };
        assert!(holder.applied(&poll, &part, &lease, sent.plus_ms(50)));
        assert!(
            !lease.deadline().covers(sent.plus_ms(51)),
            "two changes are still missing"
        );
        let poll = holder.poll(sent, 0);
        assert_eq!(poll.applied, 7);
        let rest = PollAnswer {
            head: 9,
            chain: Some([7; 32]),
            last: Some((9, [9; 32])),
            ..answer()
        };
        assert_eq!(holder.judge(&poll, &rest), Next::Apply);
        assert!(!holder.applied(&poll, &rest, &lease, sent.plus_ms(50)));
        assert!(lease.deadline().covers(sent.plus_ms(LEASE_MS - 1)));
        assert!(!lease.deadline().covers(sent.plus_ms(LEASE_MS)));
    }
}
