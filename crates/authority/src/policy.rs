//! A tenant's policy: read it, replace it, and find the keys that it would not allow today.

use crate::{Authority, Call, Failure};
use keyreeve_core::access::Permission;
use keyreeve_core::coherence::holding::ChangeScope;
use keyreeve_core::policy::Misfit;
use keyreeve_core::text::Slug;
use keyreeve_core::{Key, KeyId, Policy, Timestamp};
use keyreeve_store::model::{KeyQuery, PageStart, TenantEdit};
use keyreeve_store::version::RecordKind;
use std::collections::HashMap;

/// Keys read at a time when a policy is compared with existing keys.
const PAGE: u32 = 1_000;
/// Most keys that an answer names. There may be more: the count covers all.
const NAMED_MAX: usize = 100;

/// Existing keys that a policy would not allow today. They keep working.
#[derive(Clone, Debug, Default)]
pub struct NonCompliantKeys {
    /// How many there are.
    pub count: u64,
    /// The newest of them, each with what does not fit.
    pub named: Vec<(KeyId, Misfit)>,
}

/// The use cases of a tenant's policy.
#[derive(Clone, Copy, Debug)]
pub struct PolicyUseCases<'a>(pub(crate) &'a Authority);

impl Authority {
    /// Returns the use cases of a tenant's policy.
    pub fn policy(&self) -> PolicyUseCases<'_> {
        PolicyUseCases(self)
    }
}

impl PolicyUseCases<'_> {
    /// Returns the policy of the caller's tenant.
    pub async fn get(self, call: &Call) -> Result<Policy, Failure> {
        call.require(Permission::PolicyRead)?;
        let tenant = self.0.store.tenant(&call.tenant).await?.ok_or(Failure::NotFound)?;
        Ok(tenant.policy)
    }

    /// Returns the policy of the caller's tenant, for a caller who may replace it.
    pub async fn get_to_replace(self, call: &Call) -> Result<Policy, Failure> {
        call.require(Permission::PolicyWrite)?;
        let tenant = self.0.store.tenant(&call.tenant).await?.ok_or(Failure::NotFound)?;
        Ok(tenant.policy)
    }

    /// Replaces the policy of the caller's tenant. It applies to later operations.
    pub async fn set(self, call: &Call, policy: Policy) -> Result<(Policy, NonCompliantKeys), Failure> {
        call.require(Permission::PolicyWrite)?;
        policy.check()?;
        let edit = TenantEdit {
            policy: Some(policy),
            ..TenantEdit::default()
        };
        let began = self.0.clock.moment();
        let now = self.0.earliest();
        let changed = self.0.store.change_tenant(call.context(now), call.tenant.clone(), edit);
        let (tenant, revision) = match changed.await {
            Ok(changed) => changed,
            Err(error) => {
                let about = (RecordKind::Policy, call.tenant.as_str());
                return Err(self.0.explained(call, Some(&call.tenant), about, error).await);
            }
        };
        // What denials reveal depends on the policy, on every node.
        let change = self
            .0
            .written_about(ChangeScope::Tenant(tenant.slug.clone()), tenant.slug.as_str(), revision)
            .await;
        self.0.effect(change, began, true).await?;
        let misfits = self.misfits(&call.tenant, &tenant.policy, now).await;
        let misfits = misfits.map_err(|failure| failure.after(1, "the policy was replaced"))?;
        Ok((tenant.policy, misfits))
    }

    /// Returns the existing keys that a policy would not allow, without setting it.
    pub async fn compare(self, call: &Call, policy: &Policy) -> Result<NonCompliantKeys, Failure> {
        call.require(Permission::PolicyRead)?;
        policy.check()?;
        self.misfits(&call.tenant, policy, self.0.now()).await
    }

    async fn misfits(self, tenant: &Slug, policy: &Policy, now: Timestamp) -> Result<NonCompliantKeys, Failure> {
        let mut misfits = NonCompliantKeys::default();
        let mut newer: HashMap<String, Vec<Key>> = HashMap::new();
        let mut start = PageStart::Offset(0);
        loop {
            let page = self.0.store.list(usable_keys(tenant, start, now)).await?;
            for record in page.keys {
                let owners = newer.entry(record.key.subject.to_string()).or_default();
                let others: Vec<&Key> = owners.iter().collect();
                if let Some(misfit) = policy.misfit(&record.key, &others, now) {
                    misfits.count += 1;
                    if misfits.named.len() < NAMED_MAX {
                        misfits.named.push((record.key.id, misfit));
                    }
                }
                owners.push(record.key);
            }
            match page.next {
                Some(next) => start = PageStart::After(next),
                None => return Ok(misfits),
            }
        }
    }
}

fn usable_keys(tenant: &Slug, start: PageStart, now: Timestamp) -> KeyQuery {
    KeyQuery {
        hide_revoked: true,
        hide_expired: true,
        ..KeyQuery::all(tenant.clone(), start, PAGE, now)
    }
}
