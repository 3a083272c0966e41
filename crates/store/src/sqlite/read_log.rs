//! What readers ask about people, counts and the log.

use super::rows::{audit_record, away, number, subject, usage_count, user};
use crate::error::StoreError;
use crate::model::{AuditQuery, AuditRecord, UsageCount};
use keyreeve_core::text::{Slug, Subject};
use keyreeve_core::{KeyId, Timestamp, User, UserId};
use sqlx::SqlitePool;

const BLOCKED_OWNERS: &str = "SELECT * FROM users WHERE tenant = ?1 AND status <> 'active'";
const USER: &str = "SELECT * FROM users WHERE tenant = ?1 AND id = ?2 AND status <> 'removed'";
const USERS: &str = "SELECT * FROM users WHERE tenant = ?1 AND id > ?2 AND status <> 'removed' ORDER BY id LIMIT ?3";
const USAGE: &str = "SELECT key_id, hour, outcome, count FROM usage \
     WHERE key_id = ?1 AND hour >= ?2 AND hour < ?3 ORDER BY hour, outcome";

macro_rules! audit {
    ($order:literal) => {
        concat!(
            "SELECT * FROM log WHERE (?1 IS NULL OR tenant = ?1 OR (?11 AND tenant = '')) ",
            "AND (?2 IS NULL OR target_id = ?2) AND (?3 IS NULL OR actor_id = ?3) ",
            "AND (?4 IS NULL OR action = ?4 OR action GLOB ?5) AND (?6 IS NULL OR at >= ?6) ",
            "AND (?7 IS NULL OR at < ?7) AND revision < ?8 AND revision > ?9 ",
            "ORDER BY revision ",
            $order,
            " LIMIT ?10"
        )
    };
}

const AUDIT_NEWEST_FIRST: &str = audit!("DESC");
const AUDIT_OLDEST_FIRST: &str = audit!("ASC");

pub(super) async fn blocked_owners(pool: &SqlitePool, slug: &Slug) -> Result<Vec<Subject>, StoreError> {
    let statement = sqlx::query(BLOCKED_OWNERS).bind(slug.as_str());
    let rows = statement.fetch_all(pool).await.map_err(away)?;
    let subjects = rows.iter().map(subject).collect::<Result<Vec<_>, _>>()?;
    Ok(subjects.into_iter().flatten().collect())
}

pub(super) async fn user_of(pool: &SqlitePool, tenant: &Slug, id: UserId) -> Result<Option<User>, StoreError> {
    let statement = sqlx::query(USER).bind(tenant.as_str()).bind(id.bytes().to_vec());
    let row = statement.fetch_optional(pool).await.map_err(away)?;
    row.as_ref().map(user).transpose()
}

pub(super) async fn users(
    pool: &SqlitePool,
    tenant: &Slug,
    after: Option<UserId>,
    limit: u32,
) -> Result<Vec<User>, StoreError> {
    let after = after.map_or_else(Vec::new, |id| id.bytes().to_vec());
    let statement = sqlx::query(USERS).bind(tenant.as_str()).bind(after).bind(limit);
    let rows = statement.fetch_all(pool).await.map_err(away)?;
    rows.iter().map(user).collect()
}

pub(super) async fn usage(
    pool: &SqlitePool,
    key: KeyId,
    since: Timestamp,
    until: Timestamp,
) -> Result<Vec<UsageCount>, StoreError> {
    let statement = sqlx::query(USAGE)
        .bind(key.bytes().to_vec())
        .bind(since.millis())
        .bind(until.millis());
    let rows = statement.fetch_all(pool).await.map_err(away)?;
    rows.iter().map(usage_count).collect()
}

pub(super) async fn audit(pool: &SqlitePool, query: &AuditQuery) -> Result<Vec<AuditRecord>, StoreError> {
    // A kind of action is asked for with its dot: `key.` is every action on keys.
    let kind = query.action.as_ref().filter(|action| action.ends_with('.'));
    let sql = if query.oldest_first {
        AUDIT_OLDEST_FIRST
    } else {
        AUDIT_NEWEST_FIRST
    };
    let statement = sqlx::query(sql)
        .bind(query.tenant.as_ref().map(Slug::as_str))
        .bind(query.target_id.as_deref())
        .bind(query.actor_id.as_deref())
        .bind(query.action.as_deref())
        .bind(kind.map(|kind| format!("{kind}*")))
        .bind(query.since.map(Timestamp::millis))
        .bind(query.until.map(Timestamp::millis))
        .bind(number(query.before.unwrap_or(u64::MAX)))
        .bind(number(query.after.unwrap_or(0)))
        .bind(query.limit)
        .bind(query.with_instance);
    let rows = statement.fetch_all(pool).await.map_err(away)?;
    rows.iter().map(audit_record).collect()
}
