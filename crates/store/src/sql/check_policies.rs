//! Check policies: the rows, in a transaction and for reads.

use super::rows::{parsed, revision, text, time};
use super::tx::SqlTx;
use super::writer::WriteEngine;
use super::{Columns, Engine, query};
use crate::codec;
use crate::error::StoreError;
use crate::model::{CheckPolicyRecord, Stamped};
use crate::tx::{CheckTx, Result};
use async_trait::async_trait;
use keyreeve_core::text::{CheckPolicyName, Slug};

const CHECK_POLICY: &str = "SELECT tenant, name, document, created_at, updated_at FROM check_policies \
     WHERE tenant = ?1 AND name = ?2";
const COUNT: &str = "SELECT count(*) AS total FROM check_policies WHERE tenant = ?1";
const PUT: &str = "INSERT INTO check_policies (tenant, name, document, created_at, updated_at) \
     VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (tenant, name) DO UPDATE SET document = excluded.document, \
     updated_at = excluded.updated_at";
const DELETE: &str = "DELETE FROM check_policies WHERE tenant = ?1 AND name = ?2";
/// One row without a name if the tenant has none, so that the revision comes from the same snapshot.
const OF_TENANT: &str = "SELECT h.revision AS head_revision, p.tenant, p.name, p.document, p.created_at, p.updated_at \
     FROM head h LEFT JOIN check_policies p ON p.tenant = ?1 WHERE h.id = 1 ORDER BY p.name";

fn check_policy(row: &impl Columns) -> Result<CheckPolicyRecord> {
    let name = parsed(row, "name", |text| CheckPolicyName::parse(text).ok())?;
    Ok(CheckPolicyRecord {
        tenant: parsed(row, "tenant", |text| Slug::parse(text).ok())?,
        policy: codec::check_policy::from_json(name, text(row, "document")?)?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}

/// Returns every check policy of a tenant, by name.
pub(crate) async fn of_tenant(
    engine: &mut impl Engine,
    tenant: &Slug,
) -> std::result::Result<Stamped<Vec<CheckPolicyRecord>>, StoreError> {
    let rows = engine.rows(query(OF_TENANT).bind(tenant.as_str())).await?;
    let first = rows.first().ok_or_else(|| super::rows::corrupt("head"))?;
    let revision = revision(first, "head_revision")?;
    let mut value = Vec::new();
    for row in &rows {
        if row.text("name")?.is_some() {
            value.push(check_policy(row)?);
        }
    }
    Ok(Stamped { value, revision })
}

#[async_trait]
impl<E: WriteEngine> CheckTx for SqlTx<'_, E> {
    async fn check_policy(&mut self, tenant: &Slug, name: &CheckPolicyName) -> Result<Option<CheckPolicyRecord>> {
        let statement = query(CHECK_POLICY).bind(tenant.as_str()).bind(name.as_str());
        self.row(statement).await?.as_ref().map(check_policy).transpose()
    }

    async fn count_check_policies(&mut self, tenant: &Slug) -> Result<u32> {
        self.total(query(COUNT).bind(tenant.as_str())).await
    }

    async fn put_check_policy(&mut self, record: &CheckPolicyRecord) -> Result<()> {
        let statement = query(PUT)
            .bind(record.tenant.as_str())
            .bind(record.policy.name.as_str())
            .bind(codec::check_policy::to_json(&record.policy).to_string())
            .bind(record.created_at.millis())
            .bind(record.updated_at.millis());
        self.run(statement).await.map(drop)
    }

    async fn delete_check_policy(&mut self, tenant: &Slug, name: &CheckPolicyName) -> Result<()> {
        let statement = query(DELETE).bind(tenant.as_str()).bind(name.as_str());
        self.run(statement).await.map(drop)
    }
}
