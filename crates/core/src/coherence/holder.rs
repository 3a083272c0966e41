//! The one who holds a lease: what to do with the answer of each poll (rules R1 to R3, R10).

use super::lease::{Lease, Moment};
use super::rules::{Rule, keeps};
use crate::audit::ChainHash;

/// Names one start of one verifier. Random; never used again (coherence.md, finding 3).
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
    /// When it was sent: from here the lease counts.
    pub sent: Moment,
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
}

impl Holder {
    /// A session that was just registered, with an empty memory, at the end of the log as it was then.
    pub fn registered(session: SessionId, head: u64, chain: ChainHash, lease_ms: u64) -> Self {
        Self {
            session,
            applied: head,
            chain,
            lease_ms,
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

    /// The next poll.
    pub fn poll(&self, now: Moment) -> Poll {
        Poll {
            session: self.session,
            applied: self.applied,
            sent: now,
        }
    }

    /// Judges an answer.
    pub fn judge(&self, poll: &Poll, answer: &Answer) -> Next {
        if answer.is_replica {
            return Next::NotPrimary;
        }
        if !answer.is_renewed && keeps(Rule::RefusalEndsTheLease) {
            return Next::Register;
        }
        if answer.head < poll.applied || answer.chain.is_some_and(|chain| chain != self.chain) {
            return Next::Forked;
        }
        let is_gone = answer.chain.is_none() && poll.applied > 0;
        if is_gone || answer.head.saturating_sub(poll.applied) > LAG_MAX {
            return Next::Register;
        }
        Next::Apply
    }

    /// Rule R3, the end of it: everything that the poll brought was applied, and only now the lease grows. True if
    /// there is more to fetch at once, and then it does not grow yet.
    pub fn applied(&mut self, poll: &Poll, answer: &Answer, lease: &Lease, now: Moment) -> bool {
        if let Some((revision, chain)) = answer.last {
            self.applied = revision;
            self.chain = chain;
        }
        let has_more = self.applied < answer.head;
        if !has_more {
            let from = if keeps(Rule::LeaseFromSending) { poll.sent } else { now };
            lease.extend(from, self.lease_ms);
        }
        has_more
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
        let poll = holder().poll(Moment::default());
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

    #[test]
    fn the_lease_grows_when_all_is_applied_and_counts_from_the_sending() {
        let mut holder = holder();
        let lease = Lease::none();
        let sent = Moment::default().plus_ms(10);
        let poll = holder.poll(sent);
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
        let poll = holder.poll(sent);
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
