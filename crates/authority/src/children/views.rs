//! Children as they come, and as their operator sees them.

use crate::verifier::RootPass;
use keyreeve_core::RootKeyId;
use keyreeve_core::Timestamp;
use keyreeve_core::access::Reach;
use keyreeve_core::coherence::nursery::ChildId;

/// Who would like to hang on this process.
#[derive(Clone, Debug)]
pub struct Newcomer {
    /// How many secrets it says that it can remember.
    pub capacity: usize,
    /// The lease that it asks for, in milliseconds, if it wants less than it may have.
    pub lease_ms: Option<u64>,
    /// The tenants whose keys it may ask for.
    pub reach: Reach,
    /// Its root key; `None` for one on the machine itself.
    pub pass: Option<RootPass>,
    /// Where it is, in words.
    pub peer: Box<str>,
}

/// A child as its operator sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectedChild {
    /// Names its connection; never used again in this process.
    pub id: ChildId,
    /// The tenants whose keys it may ask for.
    pub reach: Reach,
    /// Its root key; `None` for one on the machine itself.
    pub root_key: Option<RootKeyId>,
    /// Where it is, in words.
    pub peer: Box<str>,
    /// Since when it is connected.
    pub since: Timestamp,
    /// How long it is still waited for if it says nothing, in milliseconds: its lease with the margin for its clock.
    /// 0 is none.
    pub lease_left_ms: u64,
    /// Secrets that it may remember.
    pub keys: usize,
    /// The order that it has not acknowledged for the longest time.
    pub oldest_order: Option<OldestOrder>,
}

/// An order that a child has not acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OldestOrder {
    /// How long ago it was sent, in milliseconds.
    pub age_ms: u64,
    /// The oldest change that waits for it; 0 if none does.
    pub revision: u64,
}

/// Counts of children.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChildCounts {
    /// Connected now.
    pub connected: usize,
    /// Orders that are not acknowledged now, of all of them.
    pub orders_outstanding: usize,
    /// Closed since the start because they did not acknowledge in time.
    pub overdue: u64,
    /// Refused since the start: too many, or of a root key whose verifiers were overdue too often.
    pub refused: u64,
}
