//! Reads of records. Each is one statement, so each sees one snapshot.

use super::rows::{
    audit_record, chain, credential, key_place, key_record, number, revision, root_key, select_keys, tenant,
};
use super::{Columns as _, Engine, Statement, query, same_digest};
use crate::error::StoreError;
use crate::model::{AuditRecord, Credential, Head, KeyRecord, RootKey, Stamped, Tenant};
use keyreeve_core::text::Slug;
use keyreeve_core::{Digest, KeyId, Timestamp};

const HEAD: &str = "SELECT revision, chain FROM head WHERE id = 1";
const TENANT: &str = "SELECT slug, name AS tenant_name, is_suspended, is_removed, policy, created_at AS tenant_created_at \
     FROM tenants WHERE slug = ?1";
const TENANTS: &str = "SELECT slug, name AS tenant_name, is_suspended, is_removed, policy, created_at AS tenant_created_at \
     FROM tenants \
     WHERE slug > ?1 AND NOT is_removed ORDER BY slug LIMIT ?2";
const ROOT_KEYS: &str = "SELECT id, name, tenant, permissions, digest, last_four, created_at, revoked_at \
     FROM root_keys WHERE ?1 IS NULL OR tenant = ?1 ORDER BY id DESC LIMIT ?2";
const FIND_ROOT_KEY: &str = "SELECT h.revision AS head_revision, r.* \
     FROM head h LEFT JOIN root_keys r ON r.digest = ?1 WHERE h.id = 1";
pub(crate) const FIND_CREDENTIAL: &str = concat!(
    "SELECT h.revision AS head_revision, c.standing, c.until, c.key_id, c.tenant, ",
    "c.last_used_at IS NOT NULL AS is_presented, k.subject, k.name, k.scopes, k.claims, k.limits, k.state, ",
    "k.finalize_at, k.expires_at FROM head h LEFT JOIN credentials c ON ",
    same_digest!("c.digest", "?1"),
    " LEFT JOIN keys k ON k.id = c.key_id WHERE h.id = 1"
);
pub(crate) const KEY: &str = concat!(select_keys!(), "WHERE tenant = ?1 AND id = ?2");
pub(crate) const LAPSED: &str =
    "SELECT tenant, id FROM keys WHERE finalize_at <= ?1 AND state = 'disabled' ORDER BY finalize_at LIMIT ?2";
const AUDIT_AFTER: &str = "SELECT * FROM log WHERE revision > ?1 ORDER BY revision LIMIT ?2";

pub(super) async fn all<E: Engine, T>(
    engine: &mut E,
    statement: Statement<'_>,
    read: impl Fn(&E::Row) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    engine.rows(statement).await?.iter().map(read).collect()
}

pub(crate) async fn head(engine: &mut impl Engine) -> Result<Head, StoreError> {
    let row = engine.the_row(query(HEAD)).await?;
    Ok(Head {
        revision: revision(&row, "revision")?,
        chain: chain(&row)?,
    })
}

pub(crate) async fn tenant_of(engine: &mut impl Engine, slug: &Slug) -> Result<Option<Tenant>, StoreError> {
    let row = engine.row(query(TENANT).bind(slug.as_str())).await?;
    row.as_ref().map(tenant).transpose()
}

pub(crate) async fn tenants(
    engine: &mut impl Engine,
    after: Option<&Slug>,
    limit: u32,
) -> Result<Vec<Tenant>, StoreError> {
    let after = after.map_or("", Slug::as_str);
    all(engine, query(TENANTS).bind(after).bind(limit), tenant).await
}

pub(crate) async fn root_keys(
    engine: &mut impl Engine,
    tenant: Option<&Slug>,
    limit: u32,
) -> Result<Vec<RootKey>, StoreError> {
    all(
        engine,
        query(ROOT_KEYS).bind(tenant.map(Slug::as_str)).bind(limit),
        root_key,
    )
    .await
}

pub(crate) async fn find_root_key(
    engine: &mut impl Engine,
    digest: &Digest,
) -> Result<Stamped<Option<RootKey>>, StoreError> {
    let statement = query(FIND_ROOT_KEY).bind(digest.bytes().as_slice());
    let row = engine.the_row(statement).await?;
    let is_found = row.blob("id")?.is_some();
    let value = if is_found { Some(root_key(&row)?) } else { None };
    Ok(Stamped {
        value,
        revision: revision(&row, "head_revision")?,
    })
}

pub(crate) async fn find_credential(
    engine: &mut impl Engine,
    digest: &Digest,
) -> Result<Stamped<Option<Credential>>, StoreError> {
    let statement = query(FIND_CREDENTIAL).bind(digest.bytes().as_slice());
    let row = engine.the_row(statement).await?;
    Ok(Stamped {
        value: credential(&row)?,
        revision: revision(&row, "head_revision")?,
    })
}

pub(crate) async fn key(
    engine: &mut impl Engine,
    tenant: &Slug,
    id: KeyId,
    now: Timestamp,
) -> Result<Option<KeyRecord>, StoreError> {
    let statement = query(KEY).bind(tenant.as_str()).bind(id.bytes());
    let row = engine.row(statement).await?;
    row.map(|row| key_record(&row).map(|record| settled(record, now)))
        .transpose()
}

pub(super) fn settled(record: KeyRecord, now: Timestamp) -> KeyRecord {
    KeyRecord {
        key: record.key.settled(now),
        ..record
    }
}

pub(crate) async fn lapsed(
    engine: &mut impl Engine,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<(Slug, KeyId)>, StoreError> {
    let statement = query(LAPSED).bind(now.millis()).bind(limit);
    all(engine, statement, key_place).await
}

pub(crate) async fn audit_after(
    engine: &mut impl Engine,
    after: u64,
    limit: u32,
) -> Result<Vec<AuditRecord>, StoreError> {
    all(engine, query(AUDIT_AFTER).bind(number(after)).bind(limit), audit_record).await
}
