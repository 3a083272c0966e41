//! The one who holds a lease: what to do with the answer of each poll (rules R1 to R3, R10).

use super::lease::{Lease, Moment};
use super::rules::{Rule, keeps};
use crate::audit::ChainHash;

/// Names one start of one verifier. Random; never used again.
pub type SessionId = [u8; 16];

/// Farther behind than this, a verifier forgets everything instead of catching up change by change.
pub const LAG_MAX: u64 = 10_000;

/// What a poll asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Poll {
    /// In whose name.
    pub session: SessionId,
    /// Everything up to here was applied, which is thereby acknowledged.
    pub applied: u64,
    /// The newest revision that the database was known to have when the poll was sent: `applied`, or a later commit of
    /// this node's own.
    pub known: u64,
    /// When it was sent: from here the lease counts.
    pub sent: Moment,
    /// Whether it renews the lease, durably, and does not only acknowledge (rule R18).
    pub is_renewal: bool,
}

/// What the database said to a poll, as far as it decides anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Whether the session was renewed: it was there, and not marked dead.
    pub is_renewed: bool,
    /// Whether a replica answered.
    pub is_replica: bool,
    /// The newest revision.
    pub head: u64,
    /// The chain at the revision that was asked for; `None` if that entry is not there.
    pub chain: Option<ChainHash>,
    /// The newest revision among the changes that came along, with its chain; `None` if none came.
    pub last: Option<(u64, ChainHash)>,
}

/// What must be done now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Apply what came along, then [`Holder::applied`].
    Apply,
    /// This session is over, or so far behind that catching up takes longer than beginning again: forget everything, give up the lease and register anew.
    Register,
    /// Whoever answered may not: try again elsewhere. The lease runs on as it is.
    NotPrimary,
    /// The history is another one than before, so acknowledged changes may be lost: forget everything, give up the lease,
    /// tell the database again what was denied, and register anew (rule R10).
    Forked,
}

/// The state of one session.
#[derive(Clone, Debug)]
pub struct Holder {
    session: SessionId,
    applied: u64,
    chain: ChainHash,
    lease_ms: u64,
    /// When the poll was sent that the lease was last extended by.
    renewed: Option<Moment>,
}

/// A lease is renewed at most once in this part of its length, and in this time, in milliseconds: polls come more often,
/// after every change, and a renewal waits for the database's disk.
const RENEWAL_PART: u64 = 10;
const RENEWAL_MS_MAX: u64 = 500;

impl Holder {
    /// A session that was just registered, with an empty memory, at the end of the log as it was then.
    pub fn registered(session: SessionId, head: u64, chain: ChainHash, lease_ms: u64) -> Self {
        Self {
            session,
            applied: head,
            chain,
            lease_ms,
            renewed: None,
        }
    }

    /// Its session.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Every change up to here was applied.
    pub fn applied_revision(&self) -> u64 {
        self.applied
    }

    /// The chain at what was applied last.
    pub fn chain(&self) -> ChainHash {
        self.chain
    }

    /// The next poll. `known` is the newest revision that this node has committed or heard of.
    pub fn poll(&self, now: Moment, known: u64) -> Poll {
        Poll {
            session: self.session,
            applied: self.applied,
            known: known.max(self.applied),
            sent: now,
            is_renewal: self
                .renewed
                .is_none_or(|renewed| now.ms_since(renewed) >= self.renewal_ms()),
        }
    }

    fn renewal_ms(&self) -> u64 {
        (self.lease_ms / RENEWAL_PART).min(RENEWAL_MS_MAX)
    }

    /// Judges an answer: the history first (rule R16). A database that was put back to an older state does not know
    /// the session either, and whoever looked at that first would register there without telling it what it has lost.
    pub fn judge(&self, poll: &Poll, answer: &Answer) -> Next {
        if answer.is_replica {
            return Next::NotPrimary;
        }
        let is_refused = !answer.is_renewed && keeps(Rule::RefusalEndsTheLease);
        if is_refused && !keeps(Rule::HistoryFirst) {
            return Next::Register;
        }
        if answer.head < poll.known || answer.chain.is_some_and(|chain| chain != self.chain) {
            return Next::Forked;
        }
        if is_refused {
            return Next::Register;
        }
        let is_gone = answer.chain.is_none() && poll.applied > 0;
        if is_gone || answer.head.saturating_sub(poll.applied) > LAG_MAX {
            return Next::Register;
        }
        Next::Apply
    }

    /// Rule R3, the end of it: everything that the poll brought was applied, and only now the lease grows, if the poll
    /// was a renewal. True if there is more to fetch at once, and then it does not grow yet.
    pub fn applied(&mut self, poll: &Poll, answer: &Answer, lease: &Lease, now: Moment) -> bool {
        let has_more = self.follow(answer);
        if !has_more && poll.is_renewal {
            self.renewed = Some(poll.sent);
            let from = if keeps(Rule::LeaseFromSending) { poll.sent } else { now };
            lease.extend(from, self.lease_ms);
        }
        has_more
    }

    /// Everything that a poll brought was applied, without a lease for it. True if there is more to fetch at once.
    pub fn follow(&mut self, answer: &Answer) -> bool {
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

    fn answer() -> Answer {
        Answer {
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
                Answer {
                    is_renewed: false,
                    ..answer()
                },
                Next::Register,
            ),
            (
                Answer {
                    is_replica: true,
                    ..answer()
                },
                Next::NotPrimary,
            ),
            (
                Answer {
                    head: 4,
                    chain: None,
                    ..answer()
                },
                Next::Forked,
            ),
            (
                Answer {
                    chain: Some([6; 32]),
                    ..answer()
                },
                Next::Forked,
            ),
            (
                Answer {
                    is_renewed: false,
                    head: 4,
                    chain: None,
                    ..answer()
                },
                Next::Forked,
            ),
            (
                Answer {
                    is_renewed: false,
                    chain: Some([6; 32]),
                    ..answer()
                },
                Next::Forked,
            ),
            (
                Answer {
                    chain: None,
                    ..answer()
                },
                Next::Register,
            ),
            (
                Answer {
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

    /// A commit of this node's own that no poll has brought yet is as much a part of the history as what was applied.
    #[test]
    fn a_database_that_lost_a_commit_of_this_node_is_one_with_another_history() {
        let poll = holder().poll(Moment::default(), 6);
        assert_eq!(holder().judge(&poll, &answer()), Next::Forked);
        let has_it = Answer { head: 6, ..answer() };
        assert_eq!(holder().judge(&poll, &has_it), Next::Apply);
    }

    /// Rule R18: acknowledgements need not reach the database's disk, so no lease may rest on one.
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
    fn the_lease_grows_when_all_is_applied_and_counts_from_the_sending() {
        let mut holder = holder();
        let lease = Lease::none();
        let sent = Moment::default().plus_ms(10);
        let poll = holder.poll(sent, 0);
        let part = Answer {
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
        let rest = Answer {
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
