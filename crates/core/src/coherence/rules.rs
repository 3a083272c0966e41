//! The rules by name, so that the simulator can break each on purpose and must notice.
//!
//! Without the feature `break-rules`, which no product build has, every rule is always kept and nothing of this is
//! left in the code.

/// A rule of docs/concepts/immediate.md, or a part of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Rule {
    /// R1: begin with an empty memory after registering.
    EmptyAtRegistration = 1,
    /// R2: a refused session stops, and registers anew.
    RefusalEndsTheLease,
    /// R3: the lease counts from the sending of the poll.
    LeaseFromSending,
    /// R3: apply first, extend the lease afterwards.
    ApplyBeforeExtending,
    /// R2, R3: acknowledge only what was applied.
    AckAfterApplying,
    /// R4: load the deadline before looking up.
    DeadlineBeforeLookUp,
    /// R5: a fill that a change has overtaken is thrown away.
    OvertakenFillsVoid,
    /// R6: without a lease nothing is answered.
    NoLeaseNoAnswer,
    /// R7: the sessions are read after the commit.
    SessionsAfterCommit,
    /// R7: without acknowledgements, wait W.
    WaitLongEnough,
    /// R8: repeating a revocation waits again.
    NoShortcutOnRepeat,
    /// R9: a session is buried only when it has not moved for W.
    BuryLate,
    /// Section 2.5: a change waits for the children that may remember what it touched.
    ChildrenAreWaitedFor,
    /// Section 2.5: a child's lease ends with its parent's.
    LeasesNest,
    /// Section 2.5: who will be told of a secret is noted before the secret is looked up.
    HoldBeforeLookUp,
    /// Section 2.5: a change waits for the children that were told of this change, and for no other.
    ASetAndNoMark,
    /// Section 2.5: a change of what a child was told to forget, and has not said that it forgot, waits for that word too.
    LaterChangesJoin,
    /// Section 2.5: what a node acknowledges to others is without what its children have not.
    HoldingBesideAcks,
    /// R12: children are told nothing of tenants that they do not reach.
    OnlyOfTheirReach,
    /// R13: an order that is not acknowledged in time ends grants and the connection.
    OverdueEndsGrants,
    /// R13: what is waited for is the lease that a child had when it was told.
    LeaseGivenBefore,
    /// R14: a child is judged by its root key at every message.
    JudgedAtEveryMessage,
    /// R14: what a child knew that was sent away waits until its lease is over.
    SentAwayIsWaitedFor,
    /// R16: an answer's history is judged before its session.
    HistoryFirst,
    /// R17: whoever loses its lease again and again is not waited for.
    Probation,
    /// R18: a lease grows only by a renewal that a crash of the database cannot take back.
    DurableRenewals,
    /// R7: where registrations may be lost, only the full wait counts.
    OnlyTheWaitAfterALoss,
    /// R19: the floor of fills belongs to a session, and may be lower than the one before.
    FloorOfTheSession,
}

impl Rule {
    /// All of them.
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

    /// Its number in docs/concepts/immediate.md, with what part of it.
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
            Self::BuryLate => "R9 bury-late",
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

/// Breaks one rule in the whole process, or none.
#[cfg(feature = "break-rules")]
pub fn break_rule(rule: Option<Rule>) {
    BROKEN.store(rule.map_or(0, |rule| rule as u8), std::sync::atomic::Ordering::Relaxed);
}
