//! The state that all keys of a tenant share, stored once and read on every verdict.

use crate::policy::Reveal;
use crate::text::{Slug, Subject};
use crate::user::Status;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

/// A tenant as its keys' verdicts see it. Cached entries share it, so one change here changes all their verdicts.
#[derive(Debug)]
pub struct Gate {
    slug: Slug,
    /// The revision that the state is as of.
    revision: AtomicU64,
    /// Whether the state may be old: entries that share this gate are then read again.
    is_void: AtomicBool,
    is_closed: AtomicBool,
    is_removed: AtomicBool,
    reveals: AtomicBool,
    /// The size of `blocked`: nearly always 0, and then the lock is not taken.
    blocked_count: AtomicUsize,
    /// Owners whose keys are all blocked.
    blocked: RwLock<HashSet<Box<str>>>,
}

impl Gate {
    /// Creates the gate of a tenant.
    pub fn new(slug: Slug, status: Status, reveal: Reveal) -> Self {
        let gate = Self {
            slug,
            revision: AtomicU64::new(0),
            is_void: AtomicBool::new(false),
            is_closed: AtomicBool::new(true),
            is_removed: AtomicBool::new(false),
            reveals: AtomicBool::new(false),
            blocked_count: AtomicUsize::new(0),
            blocked: RwLock::default(),
        };
        gate.set(status, reveal);
        gate
    }

    /// Applies a change of the tenant.
    pub fn set(&self, status: Status, reveal: Reveal) {
        // In no particular order: until the change is answered, a verdict may still be by the state before it.
        self.is_closed.store(status != Status::Active, Ordering::Release);
        self.is_removed.store(status == Status::Removed, Ordering::Release);
        self.reveals.store(reveal == Reveal::OwnerSafe, Ordering::Release);
    }

    /// Blocks or unblocks all keys of an owner.
    pub fn block(&self, owner: &Subject, is_blocked: bool) {
        let mut blocked = self.blocked.write().unwrap_or_else(PoisonError::into_inner);
        if is_blocked {
            blocked.insert(owner.as_str().into());
        } else {
            blocked.remove(owner.as_str());
        }
        // Under the lock, so that the counts of two changes are not stored in the wrong order.
        self.blocked_count.store(blocked.len(), Ordering::Release);
    }

    /// Returns the revision that the state is as of.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Raises the revision; never lowers it.
    pub fn note_revision(&self, revision: u64) {
        self.revision.fetch_max(revision, Ordering::AcqRel);
    }

    /// Voids the gate: entries that share it must be read again.
    pub fn make_void(&self) {
        self.is_void.store(true, Ordering::Release);
    }

    /// Whether the state may be old.
    pub fn is_void(&self) -> bool {
        self.is_void.load(Ordering::Acquire)
    }

    /// Returns the tenant.
    pub fn slug(&self) -> &Slug {
        &self.slug
    }

    /// Whether the tenant is removed.
    pub fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::Acquire)
    }

    /// Whether the tenant is neither suspended nor removed.
    pub fn is_open(&self) -> bool {
        !self.is_closed.load(Ordering::Acquire)
    }

    /// Whether an owner's keys are blocked: that owner's, or all of the tenant.
    pub fn blocks<'o>(&self, owner: impl FnOnce() -> &'o str) -> bool {
        let is_owner_blocked = || {
            let blocked = self.blocked.read().unwrap_or_else(PoisonError::into_inner);
            blocked.contains(owner())
        };
        self.is_closed.load(Ordering::Acquire) || (self.blocked_count.load(Ordering::Acquire) > 0 && is_owner_blocked())
    }

    /// Returns what denials of the tenant's keys reveal.
    pub fn reveal(&self) -> Reveal {
        if self.reveals.load(Ordering::Acquire) {
            Reveal::OwnerSafe
        } else {
            Reveal::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_blocked_alone_and_a_tenant_with_all_its_owners() {
        let gate = Gate::new(Slug::parse("acme").unwrap(), Status::Active, Reveal::None);
        let owner = Subject::parse("user_1").unwrap();
        assert!(!gate.blocks(|| "user_1"));
        gate.block(&owner, true);
        gate.block(&owner, true);
        assert!(gate.blocks(|| "user_1") && !gate.blocks(|| "user_2"));
        gate.block(&owner, false);
        assert!(!gate.blocks(|| "user_1"));
        gate.set(Status::Suspended, Reveal::None);
        assert!(gate.blocks(|| "user_1") && gate.blocks(|| "user_2"));
    }
}
