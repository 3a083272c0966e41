//! What goes between a parent and its children, and what a parent is told of changes.

use super::ChildId;
use crate::access::Reach;
use crate::coherence::holding::{Scope, Span};
use crate::id::{KeyId, RootKeyId};
use crate::key::Digest;
use crate::text::Slug;
use std::collections::HashSet;

/// What a child is told. It carries it out, then acknowledges its number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// Its number, counted for each child.
    pub number: u64,
    /// An answer that is older than this revision is of no use to the child any more.
    pub revision: u64,
    /// What to forget.
    pub what: Forget,
}

/// What to forget.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Forget {
    /// These secrets.
    Secrets(Vec<Digest>),
    /// Every secret of a tenant, and what was being asked for meanwhile.
    Tenant(Slug),
    /// Everything.
    Everything,
}

/// An order for one child.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// The child.
    pub child: ChildId,
    /// What it is told.
    pub order: Order,
    /// Of the keys that it knows, those whose requests are refused from now on.
    pub ended: Vec<KeyId>,
}

/// Who would like to be a child.
#[derive(Clone, Debug)]
pub struct Joining {
    /// How many secrets it says that it remembers at most.
    pub capacity: usize,
    /// The tenants whose secrets it may be told of.
    pub reach: Reach,
    /// Its root key; `None` for one on the machine itself.
    pub root_key: Option<RootKeyId>,
}

/// What a change touched.
#[derive(Clone, Copy, Debug)]
pub struct Touch<'t> {
    /// What it is about.
    pub scope: &'t Scope,
    /// Its revisions.
    pub span: Span,
    /// The keys that it is about, if it is about keys: a change of the same key that comes later waits for the orders of
    /// this one.
    pub keys: &'t HashSet<KeyId>,
    /// What is told to children as its revision: not newer than what their parent may answer from.
    pub told_as: u64,
}
