//! Reads of records. Each is one statement, so each sees one snapshot; those of pages and counts are in modules of their
//! own.

use super::people::one_tenant;
use super::rows::{
    audit_record, chain, credential, key_place, key_record, login, number, revision, root_key, select_keys, subject,
    tenant, trace, usage_count, user,
};
use super::tx::HEAD;
use super::{Columns as _, Engine, Statement, census, check_policies, limits, list, query, same_digest};
use crate::model::{
    AuditQuery, AuditRecord, Census, CheckPolicyRecord, Credential, Head, KeyPage, KeyQuery, KeyRecord, Login,
    RefusalQuery, RootKey, Stamped, Tenant, Trace, UsageCount,
};
use crate::reads::Reads;
use crate::tx::Result;
use keyreeve_core::limits::Counter;
use keyreeve_core::text::{LimitName, Slug, Subject};
use keyreeve_core::user::Email;
use keyreeve_core::{Digest, KeyId, Timestamp, User, UserId, hex};
use serde_json::json;

const TENANTS: &str = "SELECT slug, name AS tenant_name, is_suspended, is_removed, policy, created_at AS tenant_created_at \
     FROM tenants \
     WHERE slug > ?1 AND NOT is_removed ORDER BY slug LIMIT ?2";
const ROOT_KEYS: &str = "SELECT * FROM root_keys WHERE ?1 IS NULL OR tenant = ?1 ORDER BY id DESC LIMIT ?2";
pub(crate) const FIND_ROOT_KEY: &str = "SELECT h.revision AS head_revision, r.* \
     FROM head h LEFT JOIN root_keys r ON r.digest = ?1 OR r.retiring_digest = ?1 WHERE h.id = 1";
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
pub(crate) const INSTANCE_EVENTS: &str = "SELECT * FROM log WHERE target_id = 'keyreeve' AND target_type = 'instance' \
     AND substr(action, 1, 9) = 'instance.' ORDER BY revision DESC LIMIT ?1";
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

pub(super) async fn all<E: Engine, T>(
    engine: &mut E,
    statement: Statement<'_>,
    read: impl Fn(&E::Row) -> Result<T>,
) -> Result<Vec<T>> {
    engine.rows(statement).await?.iter().map(read).collect()
}

pub(super) fn settled(record: KeyRecord, now: Timestamp) -> KeyRecord {
    KeyRecord {
        key: record.key.settled(now),
        ..record
    }
}

impl<E: Engine> Reads for E {
    async fn tenant(&mut self, slug: &Slug) -> Result<Option<Tenant>> {
        self.row(one_tenant(slug)).await?.as_ref().map(tenant).transpose()
    }

    async fn tenants(&mut self, after: Option<Slug>, limit: u32) -> Result<Vec<Tenant>> {
        let after = after.as_ref().map_or("", Slug::as_str);
        all(self, query(TENANTS).bind(after).bind(limit), tenant).await
    }

    async fn blocked_owners(&mut self, slug: &Slug) -> Result<Vec<Subject>> {
        let subjects = all(self, query(BLOCKED_OWNERS).bind(slug.as_str()), subject).await?;
        Ok(subjects.into_iter().flatten().collect())
    }

    async fn check_policies(&mut self, tenant: &Slug) -> Result<Stamped<Vec<CheckPolicyRecord>>> {
        check_policies::of_tenant(self, tenant).await
    }

    async fn user(&mut self, tenant: &Slug, id: UserId) -> Result<Option<User>> {
        let statement = query(USER).bind(tenant.as_str()).bind(id.bytes());
        self.row(statement).await?.as_ref().map(user).transpose()
    }

    async fn users(&mut self, tenant: &Slug, after: Option<UserId>, limit: u32) -> Result<Vec<User>> {
        let after = after.map_or_else(Vec::new, |id| id.bytes().to_vec());
        let statement = query(USERS).bind(tenant.as_str()).bind(after.as_slice()).bind(limit);
        all(self, statement, user).await
    }

    async fn people(&mut self, email: &Email, limit: u32) -> Result<Vec<User>> {
        all(self, query(PEOPLE).bind(email.as_str()).bind(limit), user).await
    }

    async fn root_keys(&mut self, tenant: Option<Slug>, limit: u32) -> Result<Vec<RootKey>> {
        let tenant = tenant.as_ref().map(Slug::as_str);
        all(self, query(ROOT_KEYS).bind(tenant).bind(limit), root_key).await
    }

    async fn find_root_key(&mut self, digest: &Digest) -> Result<Stamped<Option<RootKey>>> {
        let statement = query(FIND_ROOT_KEY).bind(digest.bytes().as_slice());
        let row = self.the_row(statement).await?;
        let is_found = row.blob("id")?.is_some();
        let value = if is_found { Some(root_key(&row)?) } else { None };
        Ok(Stamped {
            value,
            revision: revision(&row, "head_revision")?,
        })
    }

    async fn key(&mut self, tenant: &Slug, id: KeyId, now: Timestamp) -> Result<Option<KeyRecord>> {
        let statement = query(KEY).bind(tenant.as_str()).bind(id.bytes());
        let row = self.row(statement).await?;
        row.map(|row| key_record(&row).map(|record| settled(record, now)))
            .transpose()
    }

    async fn list(&mut self, wanted: &KeyQuery) -> Result<KeyPage> {
        list::list(self, wanted).await
    }

    async fn find_credential(&mut self, digest: &Digest) -> Result<Stamped<Option<Credential>>> {
        let statement = query(FIND_CREDENTIAL).bind(digest.bytes().as_slice());
        let row = self.the_row(statement).await?;
        Ok(Stamped {
            value: credential(&row)?,
            revision: revision(&row, "head_revision")?,
        })
    }

    async fn lapsed(&mut self, now: Timestamp, limit: u32) -> Result<Vec<(Slug, KeyId)>> {
        all(self, query(LAPSED).bind(now.millis()).bind(limit), key_place).await
    }

    async fn counters(&mut self, key: KeyId) -> Result<Vec<(LimitName, Counter)>> {
        limits::counters(self, key).await
    }

    async fn usage(&mut self, key: KeyId, since: Timestamp, until: Timestamp) -> Result<Vec<UsageCount>> {
        let statement = query(USAGE).bind(key.bytes()).bind(since.millis()).bind(until.millis());
        all(self, statement, usage_count).await
    }

    async fn usage_of(&mut self, keys: &[KeyId], since: Timestamp, until: Timestamp) -> Result<Vec<UsageCount>> {
        let keys: Vec<_> = keys.iter().map(|key| hex(&key.bytes())).collect();
        let statement = query(E::DIALECT.usage_of)
            .bind(json!(keys).to_string())
            .bind(since.millis())
            .bind(until.millis());
        all(self, statement, usage_count).await
    }

    async fn refusals(&mut self, wanted: &RefusalQuery) -> Result<Vec<UsageCount>> {
        let statement = query(REFUSALS)
            .bind(wanted.tenant.as_str())
            .bind(wanted.subject.as_ref().map(Subject::as_str))
            .bind(wanted.since.millis())
            .bind(wanted.limit);
        all(self, statement, usage_count).await
    }

    async fn census(&mut self, now: Timestamp) -> Result<Census> {
        census::census(self, now).await
    }

    async fn traces(&mut self, key: KeyId) -> Result<Vec<Trace>> {
        all(self, query(TRACES).bind(key.bytes()), trace).await
    }

    async fn login(&mut self, digest: &Digest, now: Timestamp) -> Result<Option<Login>> {
        let statement = query(LOGIN).bind(digest.bytes().as_slice()).bind(now.millis());
        self.row(statement).await?.as_ref().map(login).transpose()
    }

    async fn head(&mut self) -> Result<Head> {
        let row = self.the_row(query(HEAD)).await?;
        Ok(Head {
            revision: revision(&row, "revision")?,
            chain: chain(&row)?,
        })
    }

    async fn audit_after(&mut self, after: u64, limit: u32) -> Result<Vec<AuditRecord>> {
        all(self, query(AUDIT_AFTER).bind(number(after)).bind(limit), audit_record).await
    }

    async fn instance_events(&mut self, limit: u32) -> Result<Vec<AuditRecord>> {
        all(self, query(INSTANCE_EVENTS).bind(limit), audit_record).await
    }

    async fn audit(&mut self, wanted: &AuditQuery) -> Result<Vec<AuditRecord>> {
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
        all(self, statement, audit_record).await
    }
}
