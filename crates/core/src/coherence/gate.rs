//! What every key of a tenant has in common, kept once and read on every verdict.

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
    /// What is known of the tenant is as new as this revision.
    revision: AtomicU64,
    /// Whether what is known may be old: entries that share this gate are then read anew.
    is_void: AtomicBool,
    is_closed: AtomicBool,
    is_removed: AtomicBool,
    reveals: AtomicBool,
    /// As many as are in `blocked`: nearly always none, and then nobody looks there.
    blocked_count: AtomicUsize,
    /// Owners whose keys are all blocked.
    blocked: RwLock<HashSet<Box<str>>>,
}

impl Gate {
    /// The gate of a tenant.
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

    /// Takes over a change of the tenant.
    pub fn set(&self, status: Status, reveal: Reveal) {
        self.is_closed.store(status != Status::Active, Ordering::Release);
        self.is_removed.store(status == Status::Removed, Ordering::Release);
        self.reveals.store(reveal == Reveal::OwnerSafe, Ordering::Release);
    }

    /// Blocks all keys of an owner, or lets them be judged again.
    pub fn block(&self, owner: &Subject, is_blocked: bool) {
        let mut blocked = self.blocked.write().unwrap_or_else(PoisonError::into_inner);
        if is_blocked {
            blocked.insert(owner.as_str().into());
        } else {
            blocked.remove(owner.as_str());
        }
        self.blocked_count.store(blocked.len(), Ordering::Release);
    }

    /// What is known of the tenant is as new as this revision.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Notes how new it is; never older than before.
    pub fn note_revision(&self, revision: u64) {
        self.revision.fetch_max(revision, Ordering::AcqRel);
    }

    /// Makes every entry that shares this gate one that must be read anew.
    pub fn make_void(&self) {
        self.is_void.store(true, Ordering::Release);
    }

    /// Whether what is known here may be old.
    pub fn is_void(&self) -> bool {
        self.is_void.load(Ordering::Acquire)
    }

    /// The tenant.
    pub fn slug(&self) -> &Slug {
        &self.slug
    }

    /// Whether the tenant is gone for those who manage.
    pub fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::Acquire)
    }

    /// Whether the tenant is neither suspended nor removed.
    pub fn is_open(&self) -> bool {
        !self.is_closed.load(Ordering::Acquire)
    }

    /// Whether the keys of an owner are blocked: the owner's, or all of the tenant.
    pub fn blocks<'o>(&self, owner: impl FnOnce() -> &'o str) -> bool {
        let is_owner_blocked = || {
            let blocked = self.blocked.read().unwrap_or_else(PoisonError::into_inner);
            blocked.contains(owner())
        };
        self.is_closed.load(Ordering::Acquire) || (self.blocked_count.load(Ordering::Acquire) > 0 && is_owner_blocked())
    }

    /// What denials of the tenant's keys tell.
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
