//! Check policies.

use super::tables::Tables;
use super::tx::MemoryTx;
use crate::model::CheckPolicyRecord;
use crate::tx::{CheckTx, Result};
use async_trait::async_trait;
use keyreeve_core::text::{CheckPolicyName, Slug};

impl Tables {
    /// Returns those of a tenant, by name.
    pub(super) fn check_policies_of(&self, tenant: &Slug) -> impl Iterator<Item = &CheckPolicyRecord> {
        let rows = self.check_policies.rows().values();
        rows.filter(move |record| record.tenant == *tenant)
    }
}

#[async_trait]
impl CheckTx for MemoryTx<'_> {
    async fn check_policy(&mut self, tenant: &Slug, name: &CheckPolicyName) -> Result<Option<CheckPolicyRecord>> {
        let place = (tenant.clone(), name.clone());
        Ok(self.tables.check_policies.get(&place).cloned())
    }

    async fn count_check_policies(&mut self, tenant: &Slug) -> Result<u32> {
        let count = self.tables.check_policies_of(tenant).count();
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    async fn put_check_policy(&mut self, record: &CheckPolicyRecord) -> Result<()> {
        let place = (record.tenant.clone(), record.policy.name.clone());
        self.tables.check_policies.put(place, record.clone());
        Ok(())
    }

    async fn delete_check_policy(&mut self, tenant: &Slug, name: &CheckPolicyName) -> Result<()> {
        self.tables.check_policies.remove(&(tenant.clone(), name.clone()));
        Ok(())
    }
}
