//! Invariants that a process can judge from its own state, each written once.
//!
//! Each check has three users. A debug build asserts it at the end of the transition that could break it, the simulator
//! after every step, and a server from time to time, where a violation is counted ([`InvariantCounts`]) and logged:
//! it must not stop a server that still answers. So a check is about what this code guarantees, whatever arrives from
//! outside and however clocks are stepped. docs/design/protocol.md, section 6, has the table.

use std::fmt;
use std::sync::{Mutex, PoisonError};

/// An invariant. The checks are methods named `check` or `check_…` of the types that they are about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Invariant {
    /// R3: see [`Invariant::sentence`], as for all others.
    LeaseEnd,
    /// R3, R19.
    CoveredChanges,
    /// R5.
    FillFloor,
    /// A11.
    MemoryBound,
    /// R7.
    WaitLength,
    /// R7.
    EffectiveChange,
    /// R9.
    DeadSession,
    /// docs/design/protocol.md, 2.5.
    WaitingOrders,
    /// docs/design/protocol.md, 2.5.
    ChangeSet,
    /// docs/design/protocol.md, 2.5.
    LeasesNest,
    /// R12.
    TenantReach,
    /// R13.
    OrderLease,
    /// R15.
    HoldCounts,
    /// R17.
    ProbationLease,
    /// R20.
    TimeForward,
    /// R21.
    EarlierTime,
    /// SECURITY.md: no period allows more uses than its quota.
    LimitTokens,
}

impl Invariant {
    /// All invariants, in the order of their declaration.
    pub const ALL: [Self; 17] = [
        Self::LeaseEnd,
        Self::CoveredChanges,
        Self::FillFloor,
        Self::MemoryBound,
        Self::WaitLength,
        Self::EffectiveChange,
        Self::DeadSession,
        Self::WaitingOrders,
        Self::ChangeSet,
        Self::LeasesNest,
        Self::TenantReach,
        Self::OrderLease,
        Self::HoldCounts,
        Self::ProbationLease,
        Self::TimeForward,
        Self::EarlierTime,
        Self::LimitTokens,
    ];

    /// Returns its rule and name, as in metrics and in the output of the simulator.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LeaseEnd => "R3 lease-end",
            Self::CoveredChanges => "R3 covered-changes",
            Self::FillFloor => "R5 fill-floor",
            Self::MemoryBound => "A11 memory-bound",
            Self::WaitLength => "R7 wait-length",
            Self::EffectiveChange => "R7 effective-change",
            Self::DeadSession => "R9 dead-session",
            Self::WaitingOrders => "2.5 waiting-orders",
            Self::ChangeSet => "2.5 change-set",
            Self::LeasesNest => "2.5 leases-nest",
            Self::TenantReach => "R12 tenant-reach",
            Self::OrderLease => "R13 order-lease",
            Self::HoldCounts => "R15 hold-counts",
            Self::ProbationLease => "R17 probation-lease",
            Self::TimeForward => "R20 time-forward",
            Self::EarlierTime => "R21 earlier-time",
            Self::LimitTokens => "limit-tokens",
        }
    }

    /// Returns what always holds.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::LeaseEnd => "a lease ends no later than its length after the newest renewal was sent",
            Self::CoveredChanges => "verdicts cover exactly the changes that the session has applied",
            Self::FillFloor => "no fill may be older than the changes that verdicts cover",
            Self::MemoryBound => "a memory has at most its capacity of entries and its bound of open fills",
            Self::WaitLength => "the wait outlasts a lease on a clock that is 10 % slow",
            Self::EffectiveChange => {
                "a change is effective only by a reading that was begun after its commit, or after the wait"
            }
            Self::DeadSession => "a session is marked dead only when its counts have not moved for the wait",
            Self::WaitingOrders => {
                "changes wait for each verifier that has an unacknowledged order, and only for those"
            }
            Self::ChangeSet => "a set of revisions is a bounded number of runs that neither touch nor overlap",
            Self::LeasesNest => "a verifier's lease ends no later than its node's",
            Self::TenantReach => "no verifier has an order about a tenant that it does not reach",
            Self::OrderLease => "the lease that an order waits for is not later than the verifier's newest",
            Self::HoldCounts => "what verifiers hold and look up is counted where bounds are compared",
            Self::ProbationLease => "a node on probation has neither a session nor a lease",
            Self::TimeForward => "the time that expiry is decided by goes back only where the reference is followed",
            Self::EarlierTime => "while a later time is in doubt, the earlier one is stored and counted by",
            Self::LimitTokens => "a use of a hard limit is taken from a slice that the store has counted",
        }
    }
}

/// A violation: what was found, and the bound that it must not exceed, or the value that it must have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvariantViolation {
    /// The invariant.
    pub invariant: Invariant,
    /// A number of the state, in the unit of the invariant: ns, ms, revisions or a count. Never a secret.
    pub found: u64,
    /// What it is compared with.
    pub allowed: u64,
}

impl fmt::Display for InvariantViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            invariant,
            found,
            allowed,
        } = self;
        let (name, sentence) = (invariant.name(), invariant.sentence());
        write!(f, "{name}: {sentence} (found {found}, allowed {allowed})")
    }
}

/// The result of a check.
pub type InvariantResult = Result<(), InvariantViolation>;

impl Invariant {
    /// Returns a violation unless `is_kept`.
    pub(crate) fn require(self, is_kept: bool, found: u64, allowed: u64) -> InvariantResult {
        let violation = InvariantViolation {
            invariant: self,
            found,
            allowed,
        };
        is_kept.then_some(()).ok_or(violation)
    }

    /// Returns a violation if `found` exceeds `most`.
    pub(crate) fn at_most(self, found: u64, most: u64) -> InvariantResult {
        self.require(found <= most, found, most)
    }

    /// Returns a violation if two counts differ.
    pub(crate) fn same_count(self, found: usize, counted: usize) -> InvariantResult {
        self.require(found == counted, number(found), number(counted))
    }
}

/// Converts a count.
pub(crate) fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Violations of one process since its start. A check that holds takes no lock.
#[derive(Debug, Default)]
pub struct InvariantCounts(Mutex<[(u64, Option<InvariantViolation>); Invariant::ALL.len()]>);

impl InvariantCounts {
    /// Counts the result of a check.
    pub fn note(&self, result: InvariantResult) {
        let Err(violation) = result else { return };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = Invariant::ALL.iter().position(|one| *one == violation.invariant);
        if let Some((count, newest)) = place.and_then(|place| counts.get_mut(place)) {
            *count = count.saturating_add(1);
            *newest = Some(violation);
        }
    }

    /// Returns the number of violations of each invariant, and the newest of them.
    pub fn read(&self) -> impl Iterator<Item = (Invariant, u64, Option<InvariantViolation>)> {
        let counts = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = Invariant::ALL.into_iter().zip(counts);
        all.map(|(invariant, (count, newest))| (invariant, count, newest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_invariant_has_a_name_of_its_own_and_its_own_count() {
        let names: BTreeSet<_> = Invariant::ALL.iter().map(|one| one.name()).collect();
        assert_eq!(names.len(), Invariant::ALL.len());
        for (place, invariant) in Invariant::ALL.into_iter().enumerate() {
            let counts = InvariantCounts::default();
            counts.note(Ok(()));
            counts.note(invariant.at_most(3, 3));
            counts.note(invariant.at_most(4, 3));
            counts.note(invariant.at_most(5, 3));
            for (other, (one, count, newest)) in counts.read().enumerate() {
                assert_eq!(
                    (one, count),
                    (Invariant::ALL[other], if other == place { 2 } else { 0 })
                );
                assert_eq!(newest.map(|violation| violation.found), (other == place).then_some(5));
            }
        }
    }
}
