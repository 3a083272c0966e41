//! Reads of users, counts and the audit log.

use super::rows::{audit_record, login, number, subject, trace, usage_count, user};
use super::{Engine, query};
use crate::error::StoreError;
use crate::model::{AuditQuery, AuditRecord, Login, Refusals, Trace, UsageCount};
use keyreeve_core::text::{Slug, Subject};
use keyreeve_core::user::Email;
use keyreeve_core::{Digest, KeyId, Timestamp, User, UserId, hex};
use serde_json::json;

const BLOCKED_OWNERS: &str = "SELECT * FROM users WHERE tenant = ?1 AND status <> 'active'";
const USER: &str = "SELECT * FROM users WHERE tenant = ?1 AND id = ?2 AND status <> 'removed'";
const USERS: &str = "SELECT * FROM users WHERE tenant = ?1 AND id > ?2 AND status <> 'removed' ORDER BY id LIMIT ?3";
const USAGE: &str = "SELECT key_id, hour, outcome, count, extra_cost FROM usage \
     WHERE key_id = ?1 AND hour >= ?2 AND hour < ?3 ORDER BY hour, outcome";

const REFUSALS: &str = "SELECT u.key_id, u.outcome, max(u.hour) AS hour, CAST(sum(u.count) AS BIGINT) AS count, \
     CAST(0 AS BIGINT) AS extra_cost \
     FROM usage u JOIN keys k ON k.id = u.key_id \
     WHERE k.tenant = ?1 AND (?2 IS NULL OR k.subject = ?2) AND u.hour >= ?3 \
     AND u.outcome NOT IN ('valid', 'valid_retiring') GROUP BY u.key_id, u.outcome ORDER BY 4 DESC, 1 LIMIT ?4";
const TRACES: &str = "SELECT * FROM traces WHERE key_id = ?1 ORDER BY last_at DESC, outcome, address";
const LOGIN: &str = "SELECT * FROM logins WHERE digest = ?1 AND expires_at > ?2";
const PEOPLE: &str = "SELECT * FROM users WHERE email = ?1 AND status <> 'removed' ORDER BY tenant LIMIT ?2";

macro_rules! audit {
    ($order:literal) => {
        concat!(
            "SELECT * FROM log WHERE (?1 IS NULL OR tenant = ?1 OR (?11 AND tenant = '')) ",
            "AND (?2 IS NULL OR target_id = ?2) AND (?3 IS NULL OR actor_id = ?3) AND (?12 IS NULL OR subject = ?12) ",
            "AND (?4 IS NULL OR action = ?4 OR substr(action, 1, length(?5)) = ?5) AND (?6 IS NULL OR at >= ?6) ",
            "AND (?7 IS NULL OR at < ?7) AND revision < ?8 AND revision > ?9 ",
            "ORDER BY revision ",
            $order,
            " LIMIT ?10"
        )
    };
}

const AUDIT_NEWEST_FIRST: &str = audit!("DESC");
const AUDIT_OLDEST_FIRST: &str = audit!("ASC");

pub(crate) async fn blocked_owners(engine: &mut impl Engine, slug: &Slug) -> Result<Vec<Subject>, StoreError> {
    let statement = query(BLOCKED_OWNERS).bind(slug.as_str());
    let rows = engine.rows(statement).await?;
    let subjects = rows.iter().map(subject).collect::<Result<Vec<_>, _>>()?;
    Ok(subjects.into_iter().flatten().collect())
}

pub(crate) async fn user_of(engine: &mut impl Engine, tenant: &Slug, id: UserId) -> Result<Option<User>, StoreError> {
    let statement = query(USER).bind(tenant.as_str()).bind(id.bytes());
    let row = engine.row(statement).await?;
    row.as_ref().map(user).transpose()
}

pub(crate) async fn users(
    engine: &mut impl Engine,
    tenant: &Slug,
    after: Option<UserId>,
    limit: u32,
) -> Result<Vec<User>, StoreError> {
    let after = after.map_or_else(Vec::new, |id| id.bytes().to_vec());
    let statement = query(USERS).bind(tenant.as_str()).bind(after.as_slice()).bind(limit);
    let rows = engine.rows(statement).await?;
    rows.iter().map(user).collect()
}

pub(crate) async fn usage(
    engine: &mut impl Engine,
    key: KeyId,
    since: Timestamp,
    until: Timestamp,
) -> Result<Vec<UsageCount>, StoreError> {
    let statement = query(USAGE).bind(key.bytes()).bind(since.millis()).bind(until.millis());
    let rows = engine.rows(statement).await?;
    rows.iter().map(usage_count).collect()
}

/// Returns the counts of several keys, by key and hour.
pub(crate) async fn usage_of<E: Engine>(
    engine: &mut E,
    keys: &[KeyId],
    since: Timestamp,
    until: Timestamp,
) -> Result<Vec<UsageCount>, StoreError> {
    let keys: Vec<_> = keys.iter().map(|key| hex(&key.bytes())).collect();
    let statement = query(E::DIALECT.usage_of)
        .bind(json!(keys).to_string())
        .bind(since.millis())
        .bind(until.millis());
    let rows = engine.rows(statement).await?;
    rows.iter().map(usage_count).collect()
}

pub(crate) async fn refusals(engine: &mut impl Engine, wanted: &Refusals) -> Result<Vec<UsageCount>, StoreError> {
    let statement = query(REFUSALS)
        .bind(wanted.tenant.as_str())
        .bind(wanted.subject.as_ref().map(Subject::as_str))
        .bind(wanted.since.millis())
        .bind(wanted.limit);
    let rows = engine.rows(statement).await?;
    rows.iter().map(usage_count).collect()
}

pub(crate) async fn traces(engine: &mut impl Engine, key: KeyId) -> Result<Vec<Trace>, StoreError> {
    let rows = engine.rows(query(TRACES).bind(key.bytes())).await?;
    rows.iter().map(trace).collect()
}

pub(crate) async fn login_of(
    engine: &mut impl Engine,
    digest: &Digest,
    now: Timestamp,
) -> Result<Option<Login>, StoreError> {
    let statement = query(LOGIN).bind(digest.bytes().as_slice()).bind(now.millis());
    engine.row(statement).await?.as_ref().map(login).transpose()
}

pub(crate) async fn people(engine: &mut impl Engine, email: &Email, limit: u32) -> Result<Vec<User>, StoreError> {
    let rows = engine.rows(query(PEOPLE).bind(email.as_str()).bind(limit)).await?;
    rows.iter().map(user).collect()
}

pub(crate) async fn audit(engine: &mut impl Engine, wanted: &AuditQuery) -> Result<Vec<AuditRecord>, StoreError> {
    // A prefix ends with a dot: `key.` is every action on keys.
    let kind = wanted.action.as_ref().filter(|action| action.ends_with('.'));
    let sql = if wanted.oldest_first {
        AUDIT_OLDEST_FIRST
    } else {
        AUDIT_NEWEST_FIRST
    };
    let statement = query(sql)
        .bind(wanted.tenant.as_ref().map(Slug::as_str))
        .bind(wanted.target_id.as_deref())
        .bind(wanted.actor_id.as_deref())
        .bind(wanted.action.as_deref())
        .bind(kind.map(String::as_str))
        .bind(wanted.since.map(Timestamp::millis))
        .bind(wanted.until.map(Timestamp::millis))
        .bind(number(wanted.before.unwrap_or(u64::MAX)))
        .bind(number(wanted.after.unwrap_or(0)))
        .bind(wanted.limit)
        .bind(wanted.with_instance)
        .bind(wanted.subject.as_deref());
    let rows = engine.rows(statement).await?;
    rows.iter().map(audit_record).collect()
}
