//! The state of tenants that their keys' verdicts use, and how commits are applied to it.

use keyreeve_core::coherence::Gate;
use keyreeve_core::text::{Slug, Subject};
use keyreeve_store::Commit;
use keyreeve_store::model::Tenant;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The gates of the tenants that are remembered.
#[derive(Debug, Default)]
pub(crate) struct Gates(RwLock<KnownGates>);

/// `changes` counts the commits that touched a tenant, so that a reading that a commit has overtaken is not stored here
/// (rule R5 for gates).
#[derive(Debug, Default)]
struct KnownGates {
    by_slug: HashMap<Slug, Arc<Gate>>,
    changes: u64,
}

impl Gates {
    fn known(&self) -> RwLockReadGuard<'_, KnownGates> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, KnownGates> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the gate of a tenant, if it is remembered.
    pub(crate) fn gate(&self, slug: &Slug) -> Option<Arc<Gate>> {
        self.known().by_slug.get(slug).map(Arc::clone)
    }

    /// Returns the number of commits that touched tenants or owners. Read it before a tenant is read from the store.
    pub(crate) fn changes(&self) -> u64 {
        self.known().changes
    }

    /// Remembers a tenant that was read after `changes` and as of `revision`; `None` if a commit overtook the reading,
    /// which must then be repeated.
    pub(crate) fn remember(
        &self,
        tenant: &Tenant,
        blocked: &[Subject],
        changes: u64,
        revision: u64,
    ) -> Option<Arc<Gate>> {
        let mut known = self.known_mut();
        if known.changes != changes {
            return None;
        }
        let gate = known.by_slug.entry(tenant.slug.clone()).or_insert_with(|| {
            let gate = Gate::new(tenant.slug.clone(), tenant.status, tenant.policy.reveal);
            for owner in blocked {
                gate.block(owner, true);
            }
            gate.note_revision(revision);
            Arc::new(gate)
        });
        Some(Arc::clone(gate))
    }

    /// Applies the tenants and owners of a commit, as of a revision. A tenant that is not remembered is read when
    /// needed. One with a newer revision is dropped and read again, because its state in between is not known.
    pub(super) fn apply(&self, commit: &Commit, as_of: u64) {
        if commit.tenants.is_empty() && commit.owners.is_empty() {
            return;
        }
        let mut known = self.known_mut();
        known.changes += 1;
        for tenant in &commit.tenants {
            if let Some(gate) = known.open(&tenant.slug, as_of) {
                gate.set(tenant.status, tenant.policy.reveal);
            }
        }
        for owner in &commit.owners {
            if let Some(gate) = known.open(&owner.tenant, as_of) {
                gate.block(&owner.subject, owner.is_blocked);
            }
        }
    }

    /// Forgets the tenants in a commit of unknown outcome, so that they and their keys are read again.
    pub(super) fn forget(&self, commit: &Commit) {
        if commit.tenants.is_empty() && commit.owners.is_empty() {
            return;
        }
        let mut known = self.known_mut();
        known.changes += 1;
        let tenants = commit.tenants.iter().map(|tenant| &tenant.slug);
        for slug in tenants.chain(commit.owners.iter().map(|owner| &owner.tenant)) {
            if let Some(gate) = known.by_slug.remove(slug) {
                gate.make_void();
            }
        }
    }

    /// Forgets every tenant.
    pub(super) fn forget_all(&self) {
        let mut known = self.known_mut();
        known.changes += 1;
        known.by_slug.drain().for_each(|(_, gate)| gate.make_void());
    }
}

impl KnownGates {
    /// Returns the gate to update as of a revision. A newer gate is dropped.
    fn open(&mut self, slug: &Slug, as_of: u64) -> Option<&Gate> {
        if self.by_slug.get(slug)?.revision() > as_of {
            let newer = self.by_slug.remove(slug)?;
            newer.make_void();
            return None;
        }
        let gate = self.by_slug.get(slug)?;
        gate.note_revision(as_of);
        Some(gate)
    }
}
