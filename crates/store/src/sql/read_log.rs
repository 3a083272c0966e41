//! What readers ask about people, counts and the log.

use super::rows::{audit_record, number, subject, usage_count, user};
use super::{Engine, query};
use crate::error::StoreError;
use crate::model::{AuditQuery, AuditRecord, UsageCount};
use keyreeve_core::text::{Slug, Subject};
use keyreeve_core::{KeyId, Timestamp, User, UserId};

const BLOCKED_OWNERS: &str = "SELECT * FROM users WHERE tenant = $1 AND status <> 'active'";
const USER: &str = "SELECT * FROM users WHERE tenant = $1 AND id = $2 AND status <> 'removed'";
const USERS: &str = "SELECT * FROM users WHERE tenant = $1 AND id > $2 AND status <> 'removed' ORDER BY id LIMIT $3";
const USAGE: &str = "SELECT key_id, hour, outcome, count FROM usage \
     WHERE key_id = $1 AND hour >= $2 AND hour < $3 ORDER BY hour, outcome";

macro_rules! audit {
    ($order:literal) => {
        concat!(
            "SELECT * FROM log WHERE ($1 IS NULL OR tenant = $1 OR ($11 AND tenant = '')) ",
            "AND ($2 IS NULL OR target_id = $2) AND ($3 IS NULL OR actor_id = $3) ",
            "AND ($4 IS NULL OR action = $4 OR substr(action, 1, length($5)) = $5) AND ($6 IS NULL OR at >= $6) ",
            "AND ($7 IS NULL OR at < $7) AND revision < $8 AND revision > $9 ",
            "ORDER BY revision ",
            $order,
            " LIMIT $10"
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

pub(crate) async fn audit(engine: &mut impl Engine, wanted: &AuditQuery) -> Result<Vec<AuditRecord>, StoreError> {
    // A kind of action is asked for with its dot: `key.` is every action on keys.
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
        .bind(wanted.with_instance);
    let rows = engine.rows(statement).await?;
    rows.iter().map(audit_record).collect()
}
