//! The check policies of tenants, kept in memory.

use keyreeve_core::CheckPolicy;
use keyreeve_core::text::{CheckPolicyName, Slug};
use keyreeve_store::model::CheckPolicyRecord;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Check policies in memory, by tenant. A tenant that does not exist is not remembered.
#[derive(Debug, Default)]
pub(crate) struct Checks(RwLock<KnownPolicies>);

#[derive(Debug, Default)]
struct KnownPolicies {
    by_tenant: HashMap<Slug, Arc<TenantChecks>>,
    /// Commits so far that touched one: a reading that a commit has overtaken is not stored here (rule R5).
    changes: u64,
}

/// The check policies of one tenant, including the built-in one.
#[derive(Debug)]
pub(crate) struct TenantChecks(BTreeMap<CheckPolicyName, Arc<CheckPolicy>>);

impl Checks {
    fn known(&self) -> RwLockReadGuard<'_, KnownPolicies> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, KnownPolicies> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of commits that touched a policy. Read it before policies are read from the store.
    pub(crate) fn changes(&self) -> u64 {
        self.known().changes
    }

    /// Forgets the policies of tenants. They are read again when needed.
    pub(crate) fn forget(&self, tenants: &[Slug]) {
        if tenants.is_empty() {
            return;
        }
        let mut known = self.known_mut();
        known.changes += 1;
        for tenant in tenants {
            known.by_tenant.remove(tenant);
        }
    }

    /// Forgets everything.
    pub(crate) fn forget_all(&self) {
        let mut known = self.known_mut();
        known.changes += 1;
        known.by_tenant.clear();
    }

    /// Returns the policies of a tenant, if they are remembered.
    pub(crate) fn of(&self, tenant: &Slug) -> Option<Arc<TenantChecks>> {
        self.known().by_tenant.get(tenant).map(Arc::clone)
    }

    /// Remembers what was read after `changes`; false if a commit overtook the reading.
    pub(crate) fn remember(&self, tenant: &Slug, checks: &Arc<TenantChecks>, changes: u64) -> bool {
        let mut known = self.known_mut();
        let is_true = known.changes == changes;
        if is_true {
            known.by_tenant.insert(tenant.clone(), Arc::clone(checks));
        }
        is_true
    }
}

impl TenantChecks {
    /// Returns the policies of a tenant. A stored one replaces the built-in one of the same name.
    pub(crate) fn of(built_in: CheckPolicy, records: Vec<CheckPolicyRecord>) -> Self {
        let mut by_name = BTreeMap::from([(built_in.name.clone(), Arc::new(built_in))]);
        for record in records {
            by_name.insert(record.policy.name.clone(), Arc::new(record.policy));
        }
        Self(by_name)
    }

    /// Returns the policy of a name.
    pub(crate) fn named(&self, name: &CheckPolicyName) -> Option<Arc<CheckPolicy>> {
        self.0.get(name).map(Arc::clone)
    }
}
