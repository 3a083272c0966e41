//! A write transaction on the tables. It never suspends.

use super::tables::{KeyRow, SecretRow, Tables};
use crate::error::StoreError;
use crate::model::{AuditRecord, Head, KeyRecord, Trace, UsageCount};
use crate::tx::{CurrentSecret, IdempotencyRecord, Result, SubjectCount, Tx};
use async_trait::async_trait;
use keyreeve_core::audit::Action;
use keyreeve_core::lifecycle::{Standing, State};
use keyreeve_core::text::{Name, Slug, Subject};
use keyreeve_core::verdict::SecretStanding;
use keyreeve_core::{Digest, Key, KeyId, Timestamp, UserId};
use std::collections::BTreeSet;

/// Maximum number of old idempotency records that are deleted with each new one.
const FORGOTTEN_AT_ONCE: usize = 16;

/// A write transaction.
pub(super) struct MemoryTx<'t> {
    pub(super) tables: &'t mut Tables,
    pub(super) actions: Vec<Action>,
}

impl MemoryTx<'_> {
    fn keys_of<'s>(&'s self, tenant: &'s Slug, subject: &'s Subject, now: Timestamp) -> impl Iterator<Item = Key> + 's {
        let rows = self.tables.keys.rows().values();
        rows.filter(move |row| row.key.tenant == *tenant && row.key.subject == *subject)
            .map(move |row| row.key.clone().settled(now))
            .filter(|key| !matches!(key.state, State::Revoked(_)))
    }

    fn secrets_of(&self, id: KeyId, wanted: impl Fn(SecretStanding) -> bool) -> Vec<[u8; 32]> {
        let rows = self.tables.secrets.rows().iter();
        rows.filter(|(_, secret)| secret.key == id && wanted(secret.standing))
            .map(|(digest, _)| *digest)
            .collect()
    }
}

#[async_trait]
impl Tx for MemoryTx<'_> {
    fn actions(&mut self) -> &mut Vec<Action> {
        &mut self.actions
    }

    async fn lock_head(&mut self) -> Result<Head> {
        Ok(self.tables.head)
    }

    async fn append(&mut self, records: &[AuditRecord], head: Head) -> Result<()> {
        for record in records {
            self.tables.log.put(record.revision, record.clone());
        }
        self.tables.head = head;
        Ok(())
    }

    async fn lock_keys(&mut self, tenant: &Slug, ids: &[KeyId]) -> Result<Vec<KeyRecord>> {
        Ok(ids.iter().filter_map(|&id| self.tables.key(tenant, id)).collect())
    }

    async fn count_keys(&mut self, counted: &[SubjectCount<'_>]) -> Result<Vec<u32>> {
        let count = |one: &SubjectCount<'_>| {
            let keys = self.keys_of(one.tenant, one.subject, one.now);
            let counts = keys.filter(|key| one.count_expired || !key.is_expired(one.now));
            u32::try_from(counts.count()).unwrap_or(u32::MAX)
        };
        Ok(counted.iter().map(count).collect())
    }

    async fn are_names_taken(
        &mut self,
        tenant: &Slug,
        names: &[(&Subject, &Name)],
        except: Option<KeyId>,
        now: Timestamp,
    ) -> Result<Vec<bool>> {
        let is_taken = |(subject, name): &(&Subject, &Name)| {
            let mut keys = self.keys_of(tenant, subject, now);
            keys.any(|key| key.name == **name && Some(key.id) != except && !key.is_expired(now))
        };
        Ok(names.iter().map(is_taken).collect())
    }

    async fn are_users_blocked(&mut self, tenant: &Slug, users: &[UserId]) -> Result<Vec<bool>> {
        Ok(users
            .iter()
            .map(|id| self.tables.is_user_blocked(tenant, *id))
            .collect())
    }

    async fn count_working_keys(&mut self, tenant: &Slug, subject: &Subject, now: Timestamp) -> Result<u32> {
        let keys = self.keys_of(tenant, subject, now);
        let working = keys.filter(|key| key.standing(now) == Standing::Active);
        Ok(u32::try_from(working.count()).unwrap_or(u32::MAX))
    }

    async fn insert_keys(&mut self, keys: &[&Key]) -> Result<()> {
        for &key in keys {
            let row = KeyRow {
                key: key.clone(),
                last_used_at: None,
                last_refused_at: None,
            };
            self.tables.keys.put(key.id, row);
        }
        self.insert_credentials(keys).await
    }

    async fn update_keys(&mut self, keys: &[&Key]) -> Result<()> {
        for &key in keys {
            if !self.tables.keys.change(&key.id, |row| row.key = key.clone()) {
                return Err(StoreError::Corrupt("a key that was just read is gone".to_owned()));
            }
        }
        Ok(())
    }

    async fn delete_key(&mut self, id: KeyId) -> Result<()> {
        for trace in self.tables.traces_of(id) {
            self.tables.traces.remove(&(trace.key, trace.outcome, trace.address));
        }
        let counters = self.tables.counters.rows().keys().filter(|(of, _)| *of == id);
        for place in counters.cloned().collect::<Vec<_>>() {
            self.tables.counters.remove(&place);
        }
        self.tables.keys.remove(&id);
        Ok(())
    }

    async fn insert_credentials(&mut self, keys: &[&Key]) -> Result<()> {
        for key in keys {
            let digest = key.secret.digest;
            if self.tables.secrets.get(digest.bytes()).is_some() {
                let what = "a secret was issued twice; the source of entropy is broken";
                return Err(StoreError::Corrupt(what.to_owned()));
            }
            let row = SecretRow {
                key: key.id,
                tenant: key.tenant.clone(),
                standing: SecretStanding::Live,
                last_used_at: None,
            };
            self.tables.secrets.put(*digest.bytes(), row);
        }
        Ok(())
    }

    async fn set_credentials(&mut self, standings: &[(Digest, SecretStanding)]) -> Result<()> {
        for (digest, standing) in standings {
            self.tables
                .secrets
                .change(digest.bytes(), |row| row.standing = *standing);
        }
        Ok(())
    }

    async fn current_credentials(&mut self, keys: &[&Key]) -> Result<Vec<CurrentSecret>> {
        let ids: BTreeSet<_> = keys.iter().map(|key| key.id).collect();
        let rows = self.tables.secrets.rows().iter();
        let is_current = |standing| matches!(standing, SecretStanding::Live | SecretStanding::Retiring(_));
        let current = rows.filter(|(_, row)| ids.contains(&row.key) && is_current(row.standing));
        let current = current.map(|(digest, row)| CurrentSecret {
            key: row.key,
            digest: Digest::from_bytes(*digest),
            is_live: row.standing == SecretStanding::Live,
        });
        Ok(current.collect())
    }

    async fn tombstone_credentials(&mut self, key: KeyId) -> Result<Vec<Digest>> {
        let digests = self.secrets_of(key, |_| true);
        for digest in &digests {
            self.tables
                .secrets
                .change(digest, |row| row.standing = SecretStanding::Tombstone);
        }
        Ok(digests.into_iter().map(Digest::from_bytes).collect())
    }

    async fn record_uses(&mut self, uses: &[(Digest, Timestamp)]) -> Result<()> {
        for (digest, at) in uses {
            let Some(key) = self.tables.secrets.get(digest.bytes()).map(|row| row.key) else {
                continue;
            };
            self.tables
                .secrets
                .change(digest.bytes(), |row| row.last_used_at = row.last_used_at.max(Some(*at)));
            self.tables
                .keys
                .change(&key, |row| row.last_used_at = row.last_used_at.max(Some(*at)));
        }
        Ok(())
    }

    async fn record_presented(&mut self, presented: &[(Digest, Timestamp)]) -> Result<()> {
        for (digest, at) in presented {
            let first = |row: &mut SecretRow| row.last_used_at = row.last_used_at.or(Some(*at));
            self.tables.secrets.change(digest.bytes(), first);
        }
        Ok(())
    }

    async fn record_refusals(&mut self, refused: &[(KeyId, Timestamp)]) -> Result<()> {
        for (key, at) in refused {
            let later = |row: &mut KeyRow| row.last_refused_at = row.last_refused_at.max(Some(*at));
            self.tables.keys.change(key, later);
        }
        Ok(())
    }

    async fn add_counts(&mut self, counts: &[UsageCount], stale: Timestamp) -> Result<()> {
        for count in counts {
            let place = (count.key, count.hour, count.outcome.clone());
            let before = self.tables.usage.get(&place).copied().unwrap_or_default();
            let sum = (before.0 + count.count, before.1 + count.extra_cost);
            self.tables.usage.put(place, sum);
        }
        let rows = self.tables.usage.rows().keys();
        let old: Vec<_> = rows.filter(|(_, hour, _)| *hour < stale).cloned().collect();
        for place in &old {
            self.tables.usage.remove(place);
        }
        Ok(())
    }

    async fn add_traces(&mut self, traces: &[Trace], kept: u32) -> Result<()> {
        for trace in traces {
            let place = (trace.key, trace.outcome.clone(), trace.address.clone());
            let before = self.tables.traces.get(&place).cloned();
            let (count, last_at) = before.map_or((0, trace.last_at), |before| (before.count, before.last_at));
            let sum = Trace {
                count: count + trace.count,
                last_at: last_at.max(trace.last_at),
                ..trace.clone()
            };
            self.tables.traces.put(place, sum);
        }
        for trace in traces {
            let all = self.tables.traces_of(trace.key);
            let kept = usize::try_from(kept).unwrap_or(usize::MAX);
            for old in all.into_iter().skip(kept) {
                self.tables.traces.remove(&(old.key, old.outcome, old.address));
            }
        }
        Ok(())
    }

    async fn idempotency_record(&mut self, actor: &str, mark: &str) -> Result<Option<IdempotencyRecord>> {
        Ok(self
            .tables
            .idempotency
            .get(&(actor.to_owned(), mark.to_owned()))
            .cloned())
    }

    async fn put_idempotency_record(&mut self, mark: &IdempotencyRecord, stale: Timestamp) -> Result<()> {
        let rows = self.tables.idempotency.rows().iter();
        let old: Vec<_> = rows
            .filter(|(_, mark)| mark.created_at <= stale)
            .map(|(name, _)| name.clone())
            .take(FORGOTTEN_AT_ONCE)
            .collect();
        for name in &old {
            self.tables.idempotency.remove(name);
        }
        self.tables
            .idempotency
            .put((mark.actor.clone(), mark.mark.clone()), mark.clone());
        Ok(())
    }
}
