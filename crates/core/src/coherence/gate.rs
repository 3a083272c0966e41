//! What every key of a tenant has in common, kept once and read on every verdict.

use crate::policy::Reveal;
use crate::text::Slug;
use std::sync::atomic::{AtomicBool, Ordering};

/// A tenant as its keys' verdicts see it. Cached entries share it, so one change here changes all their verdicts.
#[derive(Debug)]
pub struct Gate {
    slug: Slug,
    suspended: AtomicBool,
    reveals: AtomicBool,
}

impl Gate {
    /// The gate of a tenant.
    pub fn new(slug: Slug, suspended: bool, reveal: Reveal) -> Self {
        let gate = Self {
            slug,
            suspended: AtomicBool::new(suspended),
            reveals: AtomicBool::new(false),
        };
        gate.set(suspended, reveal);
        gate
    }

    /// Takes over a change of the tenant.
    pub fn set(&self, suspended: bool, reveal: Reveal) {
        self.suspended.store(suspended, Ordering::Release);
        self.reveals.store(reveal == Reveal::OwnerSafe, Ordering::Release);
    }

    /// The tenant.
    pub fn slug(&self) -> &Slug {
        &self.slug
    }

    /// Whether all keys of the tenant are blocked.
    pub fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::Acquire)
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
