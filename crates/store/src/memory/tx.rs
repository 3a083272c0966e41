//! A write transaction on the tables. Nothing in it waits.

use super::tables::{KeyRow, SecretRow, Tables};
use crate::error::StoreError;
use crate::model::{AuditRecord, Head, KeyRecord, Trace, UsageCount};
use crate::tx::{Counted, Mark, Result, Tx};
use async_trait::async_trait;
use keyreeve_core::lifecycle::State;
use keyreeve_core::text::{Name, Slug, Subject};
use keyreeve_core::verdict::SecretStanding;
use keyreeve_core::{Digest, Key, KeyId, Timestamp};

/// As many old marks as are forgotten with each new one.
const FORGOTTEN_AT_ONCE: usize = 16;

/// A write transaction.
pub(super) struct MemoryTx<'t>(pub(super) &'t mut Tables);

impl MemoryTx<'_> {
    fn keys_of<'s>(&'s self, tenant: &'s Slug, subject: &'s Subject, now: Timestamp) -> impl Iterator<Item = Key> + 's {
        let rows = self.0.keys.rows().values();
        rows.filter(move |row| row.key.tenant == *tenant && row.key.subject == *subject)
            .map(move |row| row.key.clone().settled(now))
            .filter(|key| !matches!(key.state, State::Revoked(_)))
    }

    fn secrets_of(&self, id: KeyId, wanted: impl Fn(SecretStanding) -> bool) -> Vec<[u8; 32]> {
        let rows = self.0.secrets.rows().iter();
        rows.filter(|(_, secret)| secret.key == id && wanted(secret.standing))
            .map(|(digest, _)| *digest)
            .collect()
    }
}

#[async_trait]
impl Tx for MemoryTx<'_> {
    async fn lock_head(&mut self) -> Result<Head> {
        Ok(self.0.head)
    }

    async fn set_head(&mut self, head: Head) -> Result<()> {
        self.0.head = head;
        Ok(())
    }

    async fn append(&mut self, record: &AuditRecord) -> Result<()> {
        self.0.log.put(record.revision, record.clone());
        Ok(())
    }

    async fn lock_key(&mut self, tenant: &Slug, id: KeyId) -> Result<Option<KeyRecord>> {
        Ok(self.0.key(tenant, id))
    }

    async fn count_keys(&mut self, counted: Counted<'_>) -> Result<u32> {
        let keys = self.keys_of(counted.tenant, counted.subject, counted.now);
        let count = keys
            .filter(|key| counted.count_expired || !key.is_expired(counted.now))
            .count();
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    async fn is_name_taken(
        &mut self,
        owner: (&Slug, &Subject),
        name: &Name,
        except: Option<KeyId>,
        now: Timestamp,
    ) -> Result<bool> {
        let mut keys = self.keys_of(owner.0, owner.1, now);
        Ok(keys.any(|key| key.name == *name && Some(key.id) != except && !key.is_expired(now)))
    }

    async fn insert_key(&mut self, key: &Key) -> Result<()> {
        let row = KeyRow {
            key: key.clone(),
            last_used_at: None,
        };
        self.0.keys.put(key.id, row);
        Ok(())
    }

    async fn update_key(&mut self, key: &Key) -> Result<()> {
        match self.0.keys.change(&key.id, |row| row.key = key.clone()) {
            true => Ok(()),
            false => Err(StoreError::Corrupt("a key that was just read is gone".to_owned())),
        }
    }

    async fn delete_key(&mut self, id: KeyId) -> Result<()> {
        for trace in self.0.traces_of(id) {
            self.0.traces.remove(&(trace.key, trace.outcome, trace.address));
        }
        self.0.keys.remove(&id);
        Ok(())
    }

    async fn insert_credential(&mut self, digest: &Digest, key: &Key) -> Result<()> {
        if self.0.secrets.get(digest.bytes()).is_some() {
            let what = "a secret was issued twice; the source of entropy is broken";
            return Err(StoreError::Corrupt(what.to_owned()));
        }
        let row = SecretRow {
            key: key.id,
            tenant: key.tenant.clone(),
            standing: SecretStanding::Live,
            last_used_at: None,
        };
        self.0.secrets.put(*digest.bytes(), row);
        Ok(())
    }

    async fn set_credential(&mut self, digest: &Digest, standing: SecretStanding) -> Result<()> {
        self.0.secrets.change(digest.bytes(), |row| row.standing = standing);
        Ok(())
    }

    async fn current_credentials(&mut self, key: KeyId) -> Result<Vec<Digest>> {
        let is_current = |standing| matches!(standing, SecretStanding::Live | SecretStanding::Retiring(_));
        let digests = self.secrets_of(key, is_current).into_iter();
        Ok(digests.map(Digest::from_bytes).collect())
    }

    async fn entomb_credentials(&mut self, key: KeyId) -> Result<Vec<Digest>> {
        let digests = self.secrets_of(key, |_| true);
        for digest in &digests {
            self.0
                .secrets
                .change(digest, |row| row.standing = SecretStanding::Tombstone);
        }
        Ok(digests.into_iter().map(Digest::from_bytes).collect())
    }

    async fn record_uses(&mut self, uses: &[(Digest, Timestamp)]) -> Result<()> {
        for (digest, at) in uses {
            let Some(key) = self.0.secrets.get(digest.bytes()).map(|row| row.key) else {
                continue;
            };
            self.0
                .secrets
                .change(digest.bytes(), |row| row.last_used_at = row.last_used_at.max(Some(*at)));
            self.0
                .keys
                .change(&key, |row| row.last_used_at = row.last_used_at.max(Some(*at)));
        }
        Ok(())
    }

    async fn add_counts(&mut self, counts: &[UsageCount], stale: Timestamp) -> Result<()> {
        for count in counts {
            let place = (count.key, count.hour, count.outcome.clone());
            let before = self.0.usage.get(&place).copied().unwrap_or(0);
            self.0.usage.put(place, before + count.count);
        }
        let rows = self.0.usage.rows().keys();
        let old: Vec<_> = rows.filter(|(_, hour, _)| *hour < stale).cloned().collect();
        for place in &old {
            self.0.usage.remove(place);
        }
        Ok(())
    }

    async fn add_traces(&mut self, traces: &[Trace], kept: u32) -> Result<()> {
        for trace in traces {
            let place = (trace.key, trace.outcome.clone(), trace.address.clone());
            let before = self.0.traces.get(&place).cloned();
            let (count, last_at) = before.map_or((0, trace.last_at), |before| (before.count, before.last_at));
            let sum = Trace {
                count: count + trace.count,
                last_at: last_at.max(trace.last_at),
                ..trace.clone()
            };
            self.0.traces.put(place, sum);
        }
        for trace in traces {
            let all = self.0.traces_of(trace.key);
            let kept = usize::try_from(kept).unwrap_or(usize::MAX);
            for old in all.into_iter().skip(kept) {
                self.0.traces.remove(&(old.key, old.outcome, old.address));
            }
        }
        Ok(())
    }

    async fn mark(&mut self, actor: &str, mark: &str) -> Result<Option<Mark>> {
        Ok(self.0.marks.get(&(actor.to_owned(), mark.to_owned())).cloned())
    }

    async fn put_mark(&mut self, mark: &Mark, stale: Timestamp) -> Result<()> {
        let rows = self.0.marks.rows().iter();
        let old: Vec<_> = rows
            .filter(|(_, mark)| mark.created_at <= stale)
            .map(|(name, _)| name.clone())
            .take(FORGOTTEN_AT_ONCE)
            .collect();
        for name in &old {
            self.0.marks.remove(name);
        }
        self.0.marks.put((mark.actor.clone(), mark.mark.clone()), mark.clone());
        Ok(())
    }
}
