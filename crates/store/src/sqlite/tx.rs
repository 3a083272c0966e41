//! A write transaction on the writer's connection.

use super::rows::{away, chain, column, corrupt, digest, key_record, number, revision, select_keys};
use crate::error::StoreError;
use crate::model::{AuditRecord, Head, KeyRecord, UsageCount};
use crate::tx::{Counted, Mark, Result, Tx};
use async_trait::async_trait;
use keyreeve_core::lifecycle::State;
use keyreeve_core::text::{Name, Slug, Subject};
use keyreeve_core::verdict::SecretStanding;
use keyreeve_core::{Digest, Key, KeyId, Timestamp};
use serde_json::json;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Row as _, Sqlite, SqliteConnection, query::Query};
use std::fmt::Write as _;

const HEAD: &str = "SELECT revision, chain FROM head WHERE id = 1";
const SET_HEAD: &str = "UPDATE head SET revision = ?1, chain = ?2 WHERE id = 1";
const APPEND: &str = "INSERT INTO log (revision, at, tenant, actor_type, actor_id, action, target_type, target_id, \
     subject, reason, address, request_id, before, after, chain) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
const LOCK_KEY: &str = concat!(select_keys!(), "WHERE tenant = ?1 AND id = ?2");
const COUNT_KEYS: &str = "SELECT count(*) FROM keys WHERE tenant = ?1 AND subject = ?2 AND state <> 'revoked' \
     AND NOT coalesce(finalize_at <= ?3, 0) AND (?4 OR NOT coalesce(expires_at <= ?3, 0))";
const NAME_TAKEN: &str = "SELECT EXISTS (SELECT 1 FROM keys WHERE tenant = ?1 AND subject = ?2 AND name = ?3 \
     AND id IS NOT ?4 AND state <> 'revoked' AND NOT coalesce(finalize_at <= ?5, 0) \
     AND NOT coalesce(expires_at <= ?5, 0))";
const INSERT_KEY: &str = "INSERT INTO keys (id, tenant, subject, name, description, claims, scopes, created_by, \
     digest, prefix, last_four, retiring, retiring_until, state, hold_cause, hold_lock, finalize_at, state_since, \
     state_by, reason_code, note, created_at, updated_at, rotated_at, expires_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, \
     ?23, ?24, ?25)";
const UPDATE_KEY: &str = "UPDATE keys SET tenant = ?2, subject = ?3, name = ?4, description = ?5, claims = ?6, \
     scopes = ?7, created_by = ?8, digest = ?9, prefix = ?10, last_four = ?11, retiring = ?12, retiring_until = ?13, \
     state = ?14, hold_cause = ?15, hold_lock = ?16, finalize_at = ?17, state_since = ?18, state_by = ?19, \
     reason_code = ?20, note = ?21, created_at = ?22, updated_at = ?23, rotated_at = ?24, expires_at = ?25 \
     WHERE id = ?1";
const DELETE_KEY: &str = "DELETE FROM keys WHERE id = ?1";
const INSERT_CREDENTIAL: &str =
    "INSERT INTO credentials (digest, key_id, tenant, standing) VALUES (?1, ?2, ?3, 'live')";
const SET_CREDENTIAL: &str = "UPDATE credentials SET standing = ?2, until = ?3 WHERE digest = ?1";
const CURRENT_CREDENTIALS: &str =
    "SELECT digest FROM credentials WHERE key_id = ?1 AND standing IN ('live', 'retiring')";
const ENTOMB: &str = "UPDATE credentials SET standing = 'erased', until = NULL WHERE key_id = ?1 RETURNING digest";
/// The uses come as one JSON array of `[hex digest, ms]`: two statements for hundreds of uses.
const USE_CREDENTIALS: &str = "UPDATE credentials SET last_used_at = max(coalesce(last_used_at, 0), u.at) FROM \
     (SELECT unhex(value ->> 0) AS digest, value ->> 1 AS at FROM json_each(?1)) AS u \
     WHERE credentials.digest = u.digest";
const USE_KEYS: &str = "UPDATE keys SET last_used_at = max(coalesce(keys.last_used_at, 0), u.at) FROM \
     (SELECT c.key_id AS id, max(j.value ->> 1) AS at FROM json_each(?1) AS j \
     JOIN credentials AS c ON c.digest = unhex(j.value ->> 0) GROUP BY c.key_id) AS u WHERE keys.id = u.id";
/// The counts come as one JSON array of `[hex key, hour, outcome, count]`.
const ADD_COUNTS: &str = "INSERT INTO usage (key_id, hour, outcome, count) \
     SELECT unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3 FROM json_each(?1) WHERE true \
     ON CONFLICT DO UPDATE SET count = count + excluded.count";
const FORGET_COUNTS: &str = "DELETE FROM usage WHERE (key_id, hour, outcome) IN \
     (SELECT key_id, hour, outcome FROM usage WHERE hour < ?1 ORDER BY hour LIMIT 1000)";
const MARK: &str = "SELECT fingerprint, targets, created_at FROM idempotency WHERE actor = ?1 AND mark = ?2";
const PUT_MARK: &str = "INSERT OR REPLACE INTO idempotency (actor, mark, fingerprint, targets, created_at) \
     VALUES (?1, ?2, ?3, ?4, ?5)";
/// A few at a time: forgetting must not make one caller wait for a day's worth.
const FORGET_MARKS: &str = "DELETE FROM idempotency WHERE (actor, mark) IN \
     (SELECT actor, mark FROM idempotency WHERE created_at <= ?1 ORDER BY created_at LIMIT 16)";

pub(super) type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// A write transaction.
pub(super) struct SqliteTx<'c>(pub(super) &'c mut SqliteConnection);

impl SqliteTx<'_> {
    pub(super) async fn run(&mut self, statement: Statement<'_>) -> Result<u64> {
        let done = statement.execute(&mut *self.0).await.map_err(away)?;
        Ok(done.rows_affected())
    }

    pub(super) async fn row(&mut self, statement: Statement<'_>) -> Result<Option<SqliteRow>> {
        statement.fetch_optional(&mut *self.0).await.map_err(away)
    }

    async fn digests(&mut self, statement: Statement<'_>) -> Result<Vec<Digest>> {
        let rows = statement.fetch_all(&mut *self.0).await.map_err(away)?;
        rows.iter().map(|row| digest(row, "digest")).collect()
    }

    pub(super) async fn flag(&mut self, statement: Statement<'_>) -> Result<bool> {
        statement
            .fetch_one(&mut *self.0)
            .await
            .and_then(|row| row.try_get(0))
            .map_err(away)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}

fn id_bytes(id: KeyId) -> Vec<u8> {
    id.bytes().to_vec()
}

/// Binds every column of a key, in the order that both statements above have.
fn key_statement<'q>(sql: &'static str, key: &'q Key) -> Statement<'q> {
    let statement = sqlx::query(sql)
        .bind(id_bytes(key.id))
        .bind(key.tenant.as_str())
        .bind(key.subject.as_str())
        .bind(key.name.as_str())
        .bind(key.description.as_ref().map(|text| text.as_str()))
        .bind(key.claims.as_ref().map(|claims| claims.as_json()))
        .bind(key.scopes.joined())
        .bind(key.created_by.as_ref().map(|text| text.as_str()))
        .bind(key.secret.digest.bytes().as_slice())
        .bind(key.secret.prefix.as_str())
        .bind(key.secret.last_four.as_str())
        .bind(key.retiring.as_ref().map(|old| old.digest.bytes().as_slice()))
        .bind(key.retiring.as_ref().map(|old| old.until.millis()));
    bind_state(statement, &key.state)
        .bind(key.created_at.millis())
        .bind(key.updated_at.millis())
        .bind(key.rotated_at.map(Timestamp::millis))
        .bind(key.expires_at.map(Timestamp::millis))
}

fn bind_state<'q>(statement: Statement<'q>, state: &'q State) -> Statement<'q> {
    const NOTHING: Option<&str> = None;
    const NEVER: Option<i64> = None;
    match state {
        State::Active => statement
            .bind("active")
            .bind(NOTHING)
            .bind(NOTHING)
            .bind(NEVER)
            .bind(NEVER)
            .bind(NOTHING)
            .bind(NOTHING)
            .bind(NOTHING),
        State::Disabled(hold) => statement
            .bind("disabled")
            .bind(Some(hold.cause.as_str()))
            .bind(Some(hold.lock.as_str()))
            .bind(hold.finalize_at.map(Timestamp::millis))
            .bind(Some(hold.since.millis()))
            .bind(Some(&*hold.by))
            .bind(Some(hold.code.as_str()))
            .bind(hold.note.as_ref().map(|note| note.as_str())),
        State::Revoked(revocation) => statement
            .bind("revoked")
            .bind(NOTHING)
            .bind(NOTHING)
            .bind(NEVER)
            .bind(Some(revocation.at.millis()))
            .bind(Some(&*revocation.by))
            .bind(Some(revocation.code.as_str()))
            .bind(revocation.note.as_ref().map(|note| note.as_str())),
    }
}

#[async_trait]
impl Tx for SqliteTx<'_> {
    async fn lock_head(&mut self) -> Result<Head> {
        let row = self.row(sqlx::query(HEAD)).await?.ok_or_else(|| corrupt("head"))?;
        Ok(Head {
            revision: revision(&row, "revision")?,
            chain: chain(&row)?,
        })
    }

    async fn set_head(&mut self, head: Head) -> Result<()> {
        self.run(
            sqlx::query(SET_HEAD)
                .bind(number(head.revision))
                .bind(head.chain.as_slice()),
        )
        .await
        .map(drop)
    }

    async fn append(&mut self, record: &AuditRecord) -> Result<()> {
        let statement = sqlx::query(APPEND)
            .bind(number(record.revision))
            .bind(record.at.millis())
            .bind(&record.tenant)
            .bind(&record.actor_type)
            .bind(&record.actor_id)
            .bind(&record.action)
            .bind(&record.target_type)
            .bind(&record.target_id)
            .bind(&record.subject)
            .bind(&record.reason)
            .bind(&record.address)
            .bind(&record.request_id)
            .bind(&record.before)
            .bind(&record.after)
            .bind(record.chain.as_slice());
        self.run(statement).await.map(drop)
    }

    async fn lock_key(&mut self, tenant: &Slug, id: KeyId) -> Result<Option<KeyRecord>> {
        let statement = sqlx::query(LOCK_KEY).bind(tenant.as_str()).bind(id_bytes(id));
        self.row(statement).await?.as_ref().map(key_record).transpose()
    }

    async fn count_keys(&mut self, counted: Counted<'_>) -> Result<u32> {
        let statement = sqlx::query(COUNT_KEYS)
            .bind(counted.tenant.as_str())
            .bind(counted.subject.as_str())
            .bind(counted.now.millis())
            .bind(counted.count_expired);
        let count: i64 = statement
            .fetch_one(&mut *self.0)
            .await
            .and_then(|row| row.try_get(0))
            .map_err(away)?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    async fn is_name_taken(
        &mut self,
        owner: (&Slug, &Subject),
        name: &Name,
        except: Option<KeyId>,
        now: Timestamp,
    ) -> Result<bool> {
        let (tenant, subject) = owner;
        let statement = sqlx::query(NAME_TAKEN)
            .bind(tenant.as_str())
            .bind(subject.as_str())
            .bind(name.as_str())
            .bind(except.map(id_bytes))
            .bind(now.millis());
        self.flag(statement).await
    }

    async fn insert_key(&mut self, key: &Key) -> Result<()> {
        self.run(key_statement(INSERT_KEY, key)).await.map(drop)
    }

    async fn update_key(&mut self, key: &Key) -> Result<()> {
        match self.run(key_statement(UPDATE_KEY, key)).await? {
            1 => Ok(()),
            _ => Err(corrupt("a key that was just read is gone")),
        }
    }

    async fn delete_key(&mut self, id: KeyId) -> Result<()> {
        self.run(sqlx::query(DELETE_KEY).bind(id_bytes(id))).await.map(drop)
    }

    async fn insert_credential(&mut self, digest: &Digest, key: &Key) -> Result<()> {
        let statement = sqlx::query(INSERT_CREDENTIAL)
            .bind(digest.bytes().as_slice())
            .bind(id_bytes(key.id))
            .bind(key.tenant.as_str());
        statement
            .execute(&mut *self.0)
            .await
            .map(drop)
            .map_err(|error| match error {
                sqlx::Error::Database(inner) if inner.is_unique_violation() => {
                    StoreError::Corrupt("a secret was issued twice; the source of entropy is broken".to_owned())
                }
                other => away(other),
            })
    }

    async fn set_credential(&mut self, digest: &Digest, standing: SecretStanding) -> Result<()> {
        let (word, until) = match standing {
            SecretStanding::Live => ("live", None),
            SecretStanding::Retiring(until) => ("retiring", Some(until.millis())),
            SecretStanding::Retired => ("retired", None),
            SecretStanding::Tombstone => ("erased", None),
        };
        let statement = sqlx::query(SET_CREDENTIAL)
            .bind(digest.bytes().as_slice())
            .bind(word)
            .bind(until);
        self.run(statement).await.map(drop)
    }

    async fn current_credentials(&mut self, key: KeyId) -> Result<Vec<Digest>> {
        self.digests(sqlx::query(CURRENT_CREDENTIALS).bind(id_bytes(key))).await
    }

    async fn entomb_credentials(&mut self, key: KeyId) -> Result<Vec<Digest>> {
        self.digests(sqlx::query(ENTOMB).bind(id_bytes(key))).await
    }

    async fn record_uses(&mut self, uses: &[(Digest, Timestamp)]) -> Result<()> {
        let uses: Vec<_> = uses
            .iter()
            .map(|(digest, at)| json!([hex(digest.bytes()), at.millis()]))
            .collect();
        let uses = json!(uses).to_string();
        self.run(sqlx::query(USE_CREDENTIALS).bind(&uses)).await?;
        self.run(sqlx::query(USE_KEYS).bind(&uses)).await.map(drop)
    }

    async fn add_counts(&mut self, counts: &[UsageCount], stale: Timestamp) -> Result<()> {
        let counts: Vec<_> = counts
            .iter()
            .map(|one| json!([hex(&one.key.bytes()), one.hour.millis(), one.outcome, one.count]))
            .collect();
        self.run(sqlx::query(ADD_COUNTS).bind(json!(counts).to_string()))
            .await?;
        self.run(sqlx::query(FORGET_COUNTS).bind(stale.millis()))
            .await
            .map(drop)
    }

    async fn mark(&mut self, actor: &str, mark: &str) -> Result<Option<Mark>> {
        let Some(row) = self.row(sqlx::query(MARK).bind(actor).bind(mark)).await? else {
            return Ok(None);
        };
        let targets: &[u8] = column(&row, "targets")?;
        let (ids, rest) = targets.as_chunks::<16>();
        if !rest.is_empty() {
            return Err(corrupt("targets"));
        }
        Ok(Some(Mark {
            actor: actor.to_owned(),
            mark: mark.to_owned(),
            fingerprint: column::<&[u8]>(&row, "fingerprint")?
                .try_into()
                .map_err(|_| corrupt("fingerprint"))?,
            targets: ids.iter().copied().map(KeyId::from_bytes).collect(),
            created_at: Timestamp::from_millis(column(&row, "created_at")?),
        }))
    }

    async fn put_mark(&mut self, mark: &Mark, stale: Timestamp) -> Result<()> {
        self.run(sqlx::query(FORGET_MARKS).bind(stale.millis())).await?;
        let targets: Vec<u8> = mark.targets.iter().flat_map(|id| id.bytes()).collect();
        let statement = sqlx::query(PUT_MARK)
            .bind(&mark.actor)
            .bind(&mark.mark)
            .bind(mark.fingerprint.as_slice())
            .bind(targets)
            .bind(mark.created_at.millis());
        self.run(statement).await.map(drop)
    }
}
