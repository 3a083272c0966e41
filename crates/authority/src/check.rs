//! Check policies: the rules for the requests of gateways. Managed here, and kept in memory.
//!
//! A check is answered from memory like a verification (rules R4 and R5): a tenant's policies are read once, forgotten
//! when one of them changes, and used only under a lease that was loaded before they were looked up. A change of a
//! policy is answered when every node has forgotten the old one.

use crate::memory::TenantChecks;
use crate::{Authority, Call, Effect, Failure};
use keyreeve_core::access::Permission;
use keyreeve_core::check::{CheckPolicyEdit, DEFAULT_CHECK_POLICY};
use keyreeve_core::coherence::holding::Awaited;
use keyreeve_core::text::{CheckPolicyName, Slug};
use keyreeve_core::{CheckPolicy, Timestamp};
use keyreeve_store::model::{ChangedCheckPolicy, CheckPolicyChange, CheckPolicyRecord};
use keyreeve_store::version::RecordKind;
use std::sync::Arc;

/// How often a reading that a change has overtaken is repeated.
const FILL_TRIES: usize = 8;
const SECOND_MS: u64 = 1_000;

/// Returns the check policy that every tenant has without storing it.
fn built_in() -> Result<CheckPolicy, Failure> {
    let name = CheckPolicyName::parse(DEFAULT_CHECK_POLICY);
    let name = name.map_err(|error| Failure::Internal(error.to_string()))?;
    Ok(CheckPolicy::any(name))
}

/// A check policy as the management API shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManagedCheckPolicy {
    /// The policy.
    pub policy: CheckPolicy,
    /// When it was created and last changed; `None` for the built-in one that was never changed.
    pub times: Option<(Timestamp, Timestamp)>,
}

impl ManagedCheckPolicy {
    fn built_in() -> Result<Self, Failure> {
        Ok(Self {
            policy: built_in()?,
            times: None,
        })
    }
}

impl From<CheckPolicyRecord> for ManagedCheckPolicy {
    fn from(record: CheckPolicyRecord) -> Self {
        Self {
            policy: record.policy,
            times: Some((record.created_at, record.updated_at)),
        }
    }
}

impl Authority {
    /// Returns the policy that a gateway has named, mostly from memory. [`Failure::NotFound`] if there is none of that
    /// name, or no such tenant.
    pub async fn check_policy_named(&self, tenant: &Slug, name: &CheckPolicyName) -> Result<Arc<CheckPolicy>, Failure> {
        let checks = self.checks_of(tenant).await?;
        checks.named(name).ok_or(Failure::NotFound)
    }

    async fn checks_of(&self, tenant: &Slug) -> Result<Arc<TenantChecks>, Failure> {
        for _ in 0..FILL_TRIES {
            let deadline = self.verifier.lease().deadline();
            let known = self.verifier.checks.of(tenant);
            if !self.holds(deadline) {
                return Err(Failure::no_lease(self.verifier.halted()));
            }
            if let Some(known) = known {
                return Ok(known);
            }
            let changes = self.verifier.checks.changes();
            let applied = self.verifier.applied();
            if self.gate_of(tenant).await?.is_removed() {
                return Err(Failure::NotFound);
            }
            let found = self.store.check_policies(tenant).await?;
            let checks = Arc::new(TenantChecks::of(built_in()?, found.value));
            let is_new_enough = found.revision >= applied;
            if is_new_enough && self.verifier.checks.remember(tenant, &checks, changes) && self.holds(deadline) {
                return Ok(checks);
            }
        }
        Err(Failure::Unavailable(
            "the check policies change faster than they can be read".to_owned(),
        ))
    }

    /// Returns how long a gateway may keep an answer, in seconds: no longer than a lease, so that the one setting for
    /// the longest delay of a revocation bounds gateways too (G-14).
    pub fn cache_seconds_max(&self) -> u64 {
        let lease_ms = match self.node() {
            Some(node) => node.lease_ms(),
            None => self.verifier.children().lease_ms(),
        };
        lease_ms / SECOND_MS
    }
}

/// The use cases of check policies.
#[derive(Clone, Copy, Debug)]
pub struct CheckPolicyUseCases<'a>(pub(crate) &'a Authority);

impl Authority {
    /// Returns the use cases of check policies.
    pub fn check_policies(&self) -> CheckPolicyUseCases<'_> {
        CheckPolicyUseCases(self)
    }
}

impl CheckPolicyUseCases<'_> {
    /// Returns the check policies of the caller's tenant by name, including the built-in one.
    pub async fn list(self, call: &Call) -> Result<Vec<ManagedCheckPolicy>, Failure> {
        call.require(Permission::PolicyRead)?;
        let stored = self.0.store.check_policies(&call.tenant).await?;
        let mut all: Vec<ManagedCheckPolicy> = stored.value.into_iter().map(Into::into).collect();
        if !all.iter().any(|one| one.policy.name.as_str() == DEFAULT_CHECK_POLICY) {
            all.push(ManagedCheckPolicy::built_in()?);
        }
        all.sort_by(|one, other| one.policy.name.cmp(&other.policy.name));
        Ok(all)
    }

    /// Returns one of them.
    pub async fn get(self, call: &Call, name: &CheckPolicyName) -> Result<ManagedCheckPolicy, Failure> {
        let all = self.list(call).await?;
        let found = all.into_iter().find(|one| one.policy.name == *name);
        found.ok_or(Failure::NotFound)
    }

    /// Creates a check policy. Every node knows it when this returns.
    pub async fn create(self, call: &Call, policy: CheckPolicy) -> Result<(ManagedCheckPolicy, Effect), Failure> {
        self.change_checks(call, CheckPolicyChange::Create(policy)).await
    }

    /// Changes a check policy. Every node uses the new one when this returns.
    pub async fn change(
        self,
        call: &Call,
        name: CheckPolicyName,
        edit: CheckPolicyEdit,
    ) -> Result<(ManagedCheckPolicy, Effect), Failure> {
        self.change_checks(call, CheckPolicyChange::Update(name, edit)).await
    }

    /// Removes a check policy: gateways that still name it refuse every request when this returns. The built-in one
    /// gets its original values.
    pub async fn remove(self, call: &Call, name: CheckPolicyName) -> Result<(ManagedCheckPolicy, Effect), Failure> {
        self.change_checks(call, CheckPolicyChange::Remove(name)).await
    }

    async fn change_checks(
        self,
        call: &Call,
        change: CheckPolicyChange,
    ) -> Result<(ManagedCheckPolicy, Effect), Failure> {
        call.require(Permission::PolicyWrite)?;
        let began = self.0.clock.moment();
        let name = change.name().to_string();
        let changed = self
            .0
            .store
            .change_check_policy(call.context(self.0.earliest()), call.tenant.clone(), change);
        let ChangedCheckPolicy { record, revision } = match changed.await {
            Ok(changed) => changed,
            Err(error) => {
                let about = (RecordKind::CheckPolicy, &*name);
                return Err(self.0.explained(call, Some(&call.tenant), about, error).await);
            }
        };
        let effect = self
            .0
            .effect(Awaited::one(&call.tenant, revision), began, call.is_awaited)
            .await?;
        let managed = match record {
            Some(record) => record.into(),
            None => ManagedCheckPolicy::built_in()?,
        };
        Ok((managed, effect))
    }
}
