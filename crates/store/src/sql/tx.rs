//! A write transaction, row by row.

pub(crate) mod batched;
mod statements;

use super::people::{one_root_key, one_tenant, one_user};
use super::rows::{blob, chain, corrupt, digest, flag, int, key_id, key_record, number, revision, text};
use super::writer::WriteEngine;
use super::{Statement, query};
use crate::error::StoreError;
use crate::model::{AuditRecord, Head, KeyRecord, Trace, UsageCount};
use crate::tx::{CurrentSecret, IdempotencyRecord, PrefetchHint, Result, SubjectCount, Tx};
use async_trait::async_trait;
use batched::{COUNT_KEYS, INSERT_CREDENTIAL, INSERT_KEY, SET_CREDENTIAL, UPDATE_KEY};
use keyreeve_core::access::Actor;
use keyreeve_core::audit::Action;
use keyreeve_core::text::{Name, Slug, Subject};
use keyreeve_core::verdict::SecretStanding;
use keyreeve_core::{Digest, Key, KeyId, Timestamp, UserId, hex};
use serde_json::json;
use statements::{append, current_of, idempotency_record_of, key_statement, locked_key, name_taken, user_blocked};
use std::collections::BTreeSet;

pub(crate) const HEAD: &str = "SELECT revision, chain FROM head WHERE id = 1";
const SET_HEAD: &str = "UPDATE head SET revision = ?1, chain = ?2 WHERE id = 1";
const COUNT_WORKING: &str = "SELECT count(*) AS total FROM keys WHERE tenant = ?1 AND subject = ?2 AND state = 'active' \
     AND NOT coalesce(expires_at <= ?3, FALSE)";
const DELETE_TRACES: &str = "DELETE FROM traces WHERE key_id = ?1";
const DELETE_COUNTERS: &str = "DELETE FROM limit_counters WHERE key_id = ?1";
const DELETE_KEY: &str = "DELETE FROM keys WHERE id = ?1";
const ENTOMB: &str = "UPDATE credentials SET standing = 'erased', until = NULL WHERE key_id = ?1 RETURNING digest";
const FORGET_COUNTS: &str = "DELETE FROM usage WHERE (key_id, hour, outcome) IN \
     (SELECT key_id, hour, outcome FROM usage WHERE hour < ?1 ORDER BY hour LIMIT 1000)";
const MARK: &str = "SELECT fingerprint, targets, created_at FROM idempotency WHERE actor = ?1 AND mark = ?2";
const PUT_MARK: &str = "INSERT INTO idempotency (actor, mark, fingerprint, targets, created_at) \
     VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (actor, mark) DO UPDATE SET fingerprint = excluded.fingerprint, \
     targets = excluded.targets, created_at = excluded.created_at";
/// At most 16 at a time, so that no caller waits for a day's records.
const FORGET_MARKS: &str = "DELETE FROM idempotency WHERE (actor, mark) IN \
     (SELECT actor, mark FROM idempotency WHERE created_at <= ?1 ORDER BY created_at LIMIT 16)";

/// A write transaction.
#[derive(Debug)]
pub(crate) struct SqlTx<'c, E> {
    pub(super) engine: &'c mut E,
    pub(super) actions: Vec<Action>,
}

impl<E: WriteEngine> SqlTx<'_, E> {
    pub(super) async fn run(&mut self, statement: Statement<'_>) -> Result<u64> {
        self.engine.run(statement).await
    }

    pub(super) async fn row(&mut self, statement: Statement<'_>) -> Result<Option<E::Row>> {
        self.engine.row(statement).await
    }

    async fn digests(&mut self, statement: Statement<'_>) -> Result<Vec<Digest>> {
        let rows = self.engine.rows(statement).await?;
        rows.iter().map(|row| digest(row, "digest")).collect()
    }

    /// Runs an existence query.
    pub(super) async fn found(&mut self, statement: Statement<'_>) -> Result<bool> {
        flag(&self.engine.the_row(statement).await?, "found")
    }

    /// Runs a count.
    pub(super) async fn total(&mut self, statement: Statement<'_>) -> Result<u32> {
        let total = int(&self.engine.the_row(statement).await?, "total")?;
        Ok(u32::try_from(total).unwrap_or(u32::MAX))
    }
}

#[async_trait]
impl<E: WriteEngine> Tx for SqlTx<'_, E> {
    fn actions(&mut self) -> &mut Vec<Action> {
        &mut self.actions
    }

    async fn prefetch(&mut self, soon: PrefetchHint<'_>) -> Result<()> {
        if !E::IS_REMOTE {
            return Ok(());
        }
        let (tenant, actor) = (soon.tenant, soon.context.actor.id());
        let mut questions = vec![one_tenant(tenant)];
        match &soon.context.actor {
            Actor::RootKey(id) => questions.push(one_root_key(*id)),
            Actor::Key(id) => questions.push(locked_key(tenant, *id)),
            Actor::User(id, _) => questions.push(one_user(tenant, *id)),
            Actor::Operator | Actor::System => {}
        }
        if let Some(idempotency) = &soon.context.idempotency {
            questions.push(idempotency_record_of(&actor, &idempotency.key));
        }
        questions.extend(
            soon.key
                .into_iter()
                .flat_map(|id| [locked_key(tenant, id), current_of(id)]),
        );
        let names = soon.names.iter();
        questions.extend(names.map(|(subject, name)| name_taken(tenant, subject, name, None, soon.context.at)));
        let owners: BTreeSet<_> = soon.names.iter().filter_map(|(subject, _)| subject.user()).collect();
        questions.extend(owners.into_iter().map(|id| user_blocked(tenant, id)));
        self.engine.prefetch(questions).await
    }

    async fn lock_head(&mut self) -> Result<Head> {
        let row = self.row(query(HEAD)).await?.ok_or_else(|| corrupt("head"))?;
        Ok(Head {
            revision: revision(&row, "revision")?,
            chain: chain(&row)?,
        })
    }

    async fn append(&mut self, records: &[AuditRecord], head: Head) -> Result<()> {
        let mut statements: Vec<_> = records.iter().map(append).collect();
        statements.push(query(SET_HEAD).bind(number(head.revision)).bind(head.chain.as_slice()));
        self.engine.change(statements).await
    }

    async fn lock_keys(&mut self, tenant: &Slug, ids: &[KeyId]) -> Result<Vec<KeyRecord>> {
        let statements = ids.iter().map(|id| locked_key(tenant, *id));
        let found = self.engine.rows_of_all(statements.collect()).await?;
        found.iter().map(key_record).collect()
    }

    async fn count_keys(&mut self, counted: &[SubjectCount<'_>]) -> Result<Vec<u32>> {
        let statements = counted.iter().map(|one| {
            COUNT_KEYS
                .query(6)
                .bind(one.tenant.as_str())
                .bind(one.subject.as_str())
                .bind(one.now.millis())
                .bind(one.count_expired)
                .bind(one.adding)
                .bind(one.max)
        });
        let found = self.engine.rows_of_all(statements.collect()).await?;
        let totals = found.iter().map(|row| int(row, "total"));
        totals
            .map(|total| Ok(u32::try_from(total?).unwrap_or(u32::MAX)))
            .collect()
    }

    async fn are_names_taken(
        &mut self,
        tenant: &Slug,
        names: &[(&Subject, &Name)],
        except: Option<KeyId>,
        now: Timestamp,
    ) -> Result<Vec<bool>> {
        let except = except.map(|id| id.bytes());
        let except = except.as_ref().map(<[u8; 16]>::as_slice);
        let names = names.iter();
        let statements = names.map(|(subject, name)| name_taken(tenant, subject, name, except, now));
        let found = self.engine.rows_of_all(statements.collect()).await?;
        found.iter().map(|row| flag(row, "found")).collect()
    }

    async fn are_users_blocked(&mut self, tenant: &Slug, users: &[UserId]) -> Result<Vec<bool>> {
        let statements = users.iter().map(|id| user_blocked(tenant, *id));
        let found = self.engine.rows_of_all(statements.collect()).await?;
        found.iter().map(|row| flag(row, "found")).collect()
    }

    async fn count_working_keys(&mut self, tenant: &Slug, subject: &Subject, now: Timestamp) -> Result<u32> {
        let statement = query(COUNT_WORKING)
            .bind(tenant.as_str())
            .bind(subject.as_str())
            .bind(now.millis());
        self.total(statement).await
    }

    async fn insert_keys(&mut self, keys: &[&Key]) -> Result<()> {
        let statements = keys.iter().map(|key| key_statement(INSERT_KEY, key));
        self.engine.change(statements.collect()).await?;
        self.insert_credentials(keys).await
    }

    async fn update_keys(&mut self, keys: &[&Key]) -> Result<()> {
        let statements = keys.iter().map(|key| key_statement(UPDATE_KEY, key));
        self.engine.change(statements.collect()).await
    }

    async fn delete_key(&mut self, id: KeyId) -> Result<()> {
        // Addresses are personal data: they are deleted with the record.
        let all = [DELETE_TRACES, DELETE_COUNTERS, DELETE_KEY].map(|sql| query(sql).bind(id.bytes()));
        self.engine.change(all.into()).await
    }

    async fn insert_credentials(&mut self, keys: &[&Key]) -> Result<()> {
        let statements = keys.iter().map(|key| {
            INSERT_CREDENTIAL
                .query(3)
                .bind(key.secret.digest.bytes().as_slice())
                .bind(key.id.bytes())
                .bind(key.tenant.as_str())
        });
        let inserted = self.engine.change(statements.collect()).await;
        inserted.map_err(|error| match error {
            StoreError::Corrupt(_) => {
                StoreError::Corrupt("a secret was issued twice; the source of entropy is broken".to_owned())
            }
            other => other,
        })
    }

    async fn set_credentials(&mut self, standings: &[(Digest, SecretStanding)]) -> Result<()> {
        let statements = standings.iter().map(|(digest, standing)| {
            let (word, until) = match standing {
                SecretStanding::Live => ("live", None),
                SecretStanding::Retiring(until) => ("retiring", Some(until.millis())),
                SecretStanding::Retired => ("retired", None),
                SecretStanding::Tombstone => ("erased", None),
            };
            SET_CREDENTIAL
                .query(3)
                .bind(digest.bytes().as_slice())
                .bind(word)
                .bind(until)
        });
        self.engine.change(statements.collect()).await
    }

    async fn current_credentials(&mut self, keys: &[&Key]) -> Result<Vec<CurrentSecret>> {
        let statements = keys.iter().map(|key| current_of(key.id));
        let found = self.engine.rows_of_all(statements.collect()).await?;
        let current = |row: &E::Row| {
            Ok(CurrentSecret {
                key: key_id(row, "key_id")?,
                digest: digest(row, "digest")?,
                is_live: text(row, "standing")? == "live",
            })
        };
        found.iter().map(current).collect()
    }

    async fn tombstone_credentials(&mut self, key: KeyId) -> Result<Vec<Digest>> {
        self.digests(query(ENTOMB).bind(key.bytes())).await
    }

    async fn record_uses(&mut self, uses: &[(Digest, Timestamp)]) -> Result<()> {
        let uses: Vec<_> = uses
            .iter()
            .map(|(digest, at)| json!([hex(digest.bytes()), at.millis()]))
            .collect();
        let uses = json!(uses).to_string();
        self.run(query(E::DIALECT.use_credentials).bind(&uses)).await?;
        self.run(query(E::DIALECT.use_keys).bind(&uses)).await.map(drop)
    }

    async fn record_presented(&mut self, presented: &[(Digest, Timestamp)]) -> Result<()> {
        let presented: Vec<_> = presented
            .iter()
            .map(|(digest, at)| json!([hex(digest.bytes()), at.millis()]))
            .collect();
        let statement = query(E::DIALECT.use_credentials).bind(json!(presented).to_string());
        self.run(statement).await.map(drop)
    }

    async fn record_refusals(&mut self, refused: &[(KeyId, Timestamp)]) -> Result<()> {
        let refused: Vec<_> = refused
            .iter()
            .map(|(key, at)| json!([hex(&key.bytes()), at.millis()]))
            .collect();
        let statement = query(E::DIALECT.refuse_keys).bind(json!(refused).to_string());
        self.run(statement).await.map(drop)
    }

    async fn add_counts(&mut self, counts: &[UsageCount], stale: Timestamp) -> Result<()> {
        let counts: Vec<_> = counts
            .iter()
            .map(|one| {
                let key = hex(&one.key.bytes());
                json!([key, one.hour.millis(), one.outcome, one.count, one.extra_cost])
            })
            .collect();
        self.run(query(E::DIALECT.add_counts).bind(json!(counts).to_string()))
            .await?;
        self.run(query(FORGET_COUNTS).bind(stale.millis())).await.map(drop)
    }

    async fn add_traces(&mut self, traces: &[Trace], kept: u32) -> Result<()> {
        let rows: Vec<_> = traces
            .iter()
            .map(|one| {
                let key = hex(&one.key.bytes());
                json!([key, one.outcome, one.address, one.count, one.last_at.millis()])
            })
            .collect();
        self.run(query(E::DIALECT.add_traces).bind(json!(rows).to_string()))
            .await?;
        let keys: BTreeSet<_> = traces.iter().map(|one| hex(&one.key.bytes())).collect();
        let statement = query(E::DIALECT.trim_traces).bind(json!(keys).to_string()).bind(kept);
        self.run(statement).await.map(drop)
    }

    async fn idempotency_record(&mut self, actor: &str, mark: &str) -> Result<Option<IdempotencyRecord>> {
        let Some(row) = self.row(idempotency_record_of(actor, mark)).await? else {
            return Ok(None);
        };
        let targets = blob(&row, "targets")?;
        let (ids, rest) = targets.as_chunks::<16>();
        if !rest.is_empty() {
            return Err(corrupt("targets"));
        }
        Ok(Some(IdempotencyRecord {
            actor: actor.to_owned(),
            mark: mark.to_owned(),
            fingerprint: blob(&row, "fingerprint")?
                .try_into()
                .map_err(|_| corrupt("fingerprint"))?,
            targets: ids.iter().copied().map(KeyId::from_bytes).collect(),
            created_at: Timestamp::from_millis(int(&row, "created_at")?),
        }))
    }

    async fn put_idempotency_record(&mut self, mark: &IdempotencyRecord, stale: Timestamp) -> Result<()> {
        let forget = query(FORGET_MARKS).bind(stale.millis());
        let targets: Vec<u8> = mark.targets.iter().flat_map(|id| id.bytes()).collect();
        let statement = query(PUT_MARK)
            .bind(&mark.actor)
            .bind(&mark.mark)
            .bind(mark.fingerprint.as_slice())
            .bind(targets.as_slice())
            .bind(mark.created_at.millis());
        self.engine.change(vec![forget, statement]).await
    }
}
