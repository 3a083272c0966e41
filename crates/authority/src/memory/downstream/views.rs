//! Downstream verifiers as they connect, and as the operator sees them.

use crate::memory::root_pass::RootPass;
use keyreeve_core::RootKeyId;
use keyreeve_core::Timestamp;
use keyreeve_core::access::Reach;
use keyreeve_core::coherence::downstream::{ChildId, Presence};

/// A verifier that connects to this process.
#[derive(Clone, Debug)]
pub struct Newcomer {
    /// How many secrets it can remember, by its own report.
    pub capacity: usize,
    /// The lease that it requests, in milliseconds, if shorter than the default.
    pub lease_ms: Option<u64>,
    /// The tenants whose keys it may look up.
    pub reach: Reach,
    /// Its root key; `None` for one on the same machine.
    pub pass: Option<RootPass>,
    /// Its address, as text.
    pub peer: Box<str>,
}

/// A verifier as the operator sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectedChild {
    /// The id of its connection; never used again in this process.
    pub id: ChildId,
    /// The tenants whose keys it may look up.
    pub reach: Reach,
    /// Its root key; `None` for one on the same machine.
    pub root_key: Option<RootKeyId>,
    /// Its address, as text.
    pub peer: Box<str>,
    /// When it connected.
    pub since: Timestamp,
    /// Whether it is connected.
    pub presence: Presence,
    /// How long changes still wait for it if it sends nothing, in milliseconds: its lease with the margin for its
    /// clock. 0 is no lease.
    pub lease_left_ms: u64,
    /// Secrets that it may remember now.
    pub keys: usize,
    /// Its oldest order that is not acknowledged.
    pub oldest_order: Option<OldestOrder>,
}

/// An order that a verifier has not acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OldestOrder {
    /// How long ago it was sent, in milliseconds.
    pub age_ms: u64,
    /// The oldest change that waits for it; 0 if none does.
    pub revision: u64,
}

/// Counts of verifiers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChildCounts {
    /// Connected now.
    pub connected: usize,
    /// Orders that are not acknowledged now, with those of disconnected verifiers that changes wait for.
    pub orders_outstanding: usize,
    /// Verifiers since the start that did not acknowledge an order in time, or whose connection ended while a change
    /// waited for them.
    pub overdue: u64,
    /// Connections refused since the start: too many, or the root key's verifiers were overdue too often.
    pub refused: u64,
}
