//! The rules by name, so that the simulator can break each on purpose, which a run must detect.
//!
//! Without the feature `break-rules`, which no product build has, every rule is always kept and none of this is in the
//! code.

/// A rule of docs/design/protocol.md, or a part of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Rule {
    /// R1: begin with an empty memory after registering.
    EmptyAtRegistration = 1,
    /// R2: a refused session ends its lease, and the node registers again.
    RefusalEndsTheLease,
    /// R3: the lease counts from the sending of the poll.
    LeaseFromSending,
    /// R3: apply first, extend the lease afterwards.
    ApplyBeforeExtending,
    /// R2, R3: acknowledge only what was applied.
    AckAfterApplying,
    /// R4: load the deadline before looking up.
    DeadlineBeforeLookUp,
    /// R5: the result of a fill that a change has overtaken is dropped.
    OvertakenFillsVoid,
    /// R6: without a lease nothing is answered.
    NoLeaseNoAnswer,
    /// R7: the sessions are read after the commit.
    SessionsAfterCommit,
    /// R7: without acknowledgements, wait W.
    WaitLongEnough,
    /// R8: repeating a revocation waits again.
    NoShortcutOnRepeat,
    /// R9: a session is marked dead only when it has not moved for W.
    BuryLate,
    /// docs/design/protocol.md, 2.5: a change waits for the downstream verifiers that may remember what it touched.
    ChildrenAreWaitedFor,
    /// docs/design/protocol.md, 2.5: the lease of a downstream verifier ends no later than its node's.
    LeasesNest,
    /// docs/design/protocol.md, 2.5: a hold is noted before the secret is looked up for a verifier.
    HoldBeforeLookUp,
    /// docs/design/protocol.md, 2.5: a change waits for its own orders, and for no others.
    ASetAndNoMark,
    /// docs/design/protocol.md, 2.5: a later change of the same key waits for an unacknowledged order of an earlier
    /// one.
    LaterChangesJoin,
    /// docs/design/protocol.md, 2.5: a node reports what its verifiers have not acknowledged beside its own
    /// acknowledgement.
    HoldingBesideAcks,
    /// R12: verifiers receive nothing about tenants that they do not reach.
    OnlyOfTheirReach,
    /// R13: an order that is not acknowledged in time ends grants and the connection.
    OverdueEndsGrants,
    /// R13: a change waits for the lease that a verifier had when the order was sent.
    LeaseGivenBefore,
    /// R14: the root key of a verifier is checked at every message.
    JudgedAtEveryMessage,
    /// R14: what a verifier knew that was sent away is waited for until its lease is over.
    SentAwayIsWaitedFor,
    /// R16: an answer's history is judged before its session.
    HistoryFirst,
    /// R17: a node that loses its lease too often is not waited for.
    Probation,
    /// R18: a lease grows only by a renewal that a crash of the database cannot take back.
    DurableRenewals,
    /// R7: where registrations may be lost, only the full wait counts.
    OnlyTheWaitAfterALoss,
    /// R19: the floor of fills belongs to a session, and may be lower than the one before.
    FloorOfTheSession,
}

impl Rule {
    /// All rules.
    pub const ALL: [Self; 28] = [
        Self::EmptyAtRegistration,
        Self::RefusalEndsTheLease,
        Self::LeaseFromSending,
        Self::ApplyBeforeExtending,
        Self::AckAfterApplying,
        Self::DeadlineBeforeLookUp,
        Self::OvertakenFillsVoid,
        Self::NoLeaseNoAnswer,
        Self::SessionsAfterCommit,
        Self::WaitLongEnough,
        Self::NoShortcutOnRepeat,
        Self::BuryLate,
        Self::ChildrenAreWaitedFor,
        Self::LeasesNest,
        Self::HoldBeforeLookUp,
        Self::ASetAndNoMark,
        Self::LaterChangesJoin,
        Self::HoldingBesideAcks,
        Self::OnlyOfTheirReach,
        Self::OverdueEndsGrants,
        Self::LeaseGivenBefore,
        Self::JudgedAtEveryMessage,
        Self::SentAwayIsWaitedFor,
        Self::HistoryFirst,
        Self::Probation,
        Self::DurableRenewals,
        Self::OnlyTheWaitAfterALoss,
        Self::FloorOfTheSession,
    ];

    /// Its number in docs/design/protocol.md, and which part of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::EmptyAtRegistration => "R1 empty-at-registration",
            Self::RefusalEndsTheLease => "R2 refusal-ends-the-lease",
            Self::LeaseFromSending => "R3 lease-from-sending",
            Self::ApplyBeforeExtending => "R3 apply-before-extending",
            Self::AckAfterApplying => "R2 ack-after-applying",
            Self::DeadlineBeforeLookUp => "R4 deadline-before-look-up",
            Self::OvertakenFillsVoid => "R5 overtaken-fills-void",
            Self::NoLeaseNoAnswer => "R6 no-lease-no-answer",
            Self::SessionsAfterCommit => "R7 sessions-after-commit",
            Self::WaitLongEnough => "R7 wait-long-enough",
            Self::NoShortcutOnRepeat => "R8 no-shortcut-on-repeat",
            Self::BuryLate => "R9 remove_dead_session-late",
            Self::ChildrenAreWaitedFor => "2.5 children-are-waited-for",
            Self::LeasesNest => "2.5 leases-nest",
            Self::HoldBeforeLookUp => "2.5 hold-before-look-up",
            Self::ASetAndNoMark => "2.5 a-set-and-no-mark",
            Self::LaterChangesJoin => "2.5 later-changes-join",
            Self::HoldingBesideAcks => "2.5 holding-beside-acks",
            Self::OnlyOfTheirReach => "R12 only-of-their-reach",
            Self::OverdueEndsGrants => "R13 overdue-ends-grants",
            Self::LeaseGivenBefore => "R13 lease-given-before",
            Self::JudgedAtEveryMessage => "R14 judged-at-every-message",
            Self::SentAwayIsWaitedFor => "R14 sent-away-is-waited-for",
            Self::HistoryFirst => "R16 history-first",
            Self::Probation => "R17 probation",
            Self::DurableRenewals => "R18 durable-renewals",
            Self::OnlyTheWaitAfterALoss => "R7 only-the-wait-after-a-loss",
            Self::FloorOfTheSession => "R19 floor-of-the-session",
        }
    }
}

/// Whether a rule is kept.
#[cfg(not(feature = "break-rules"))]
#[inline]
pub const fn keeps(_rule: Rule) -> bool {
    true
}

#[cfg(feature = "break-rules")]
static BROKEN: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

/// Whether a rule is kept.
#[cfg(feature = "break-rules")]
pub fn keeps(rule: Rule) -> bool {
    BROKEN.load(std::sync::atomic::Ordering::Relaxed) != rule as u8
}

/// Breaks one rule in this process, or none.
#[cfg(feature = "break-rules")]
pub fn break_rule(rule: Option<Rule>) {
    BROKEN.store(rule.map_or(0, |rule| rule as u8), std::sync::atomic::Ordering::Relaxed);
}
