//! Messages between a node and its verifiers, and how a change is described.

use super::ChildId;
use crate::access::Reach;
use crate::coherence::holding::{ChangeScope, Span};
use crate::id::{KeyId, RootKeyId};
use crate::key::Digest;
use crate::text::Slug;
use std::collections::HashSet;

/// An order to forget. The verifier carries it out, then acknowledges its number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// Its number, counted for each verifier.
    pub number: u64,
    /// The verifier discards answers older than this revision.
    pub revision: u64,
    /// What to forget.
    pub what: Forget,
}

/// What to forget.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Forget {
    /// These secrets.
    Secrets(Vec<Digest>),
    /// Every secret of a tenant, and the open fills.
    Tenant(Slug),
    /// Everything.
    Everything,
}

/// An order for one verifier.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invalidation {
    /// The verifier.
    pub child: ChildId,
    /// The order.
    pub order: Order,
    /// Of the keys that it knows, those whose requests are refused from now on.
    pub ended: Vec<KeyId>,
}

/// A verifier that registers.
#[derive(Clone, Debug)]
pub struct Joining {
    /// How many secrets it remembers at most, by its own report.
    pub capacity: usize,
    /// The tenants whose secrets it may look up.
    pub reach: Reach,
    /// Its root key; `None` for one on the same machine.
    pub root_key: Option<RootKeyId>,
}

/// What a change touched.
#[derive(Clone, Copy, Debug)]
pub struct Touch<'t> {
    /// What it is about.
    pub scope: &'t ChangeScope,
    /// Its revisions.
    pub span: Span,
    /// The keys that it is about, if any: a later change of the same key waits for the orders of this one.
    pub keys: &'t HashSet<KeyId>,
    /// The revision that its orders carry: not newer than what the node may answer from.
    pub sent_as: u64,
}
