//! Writes what verification leaves behind (`memory/uses.rs`), in groups, so that a verification costs no write.

use crate::Authority;
use crate::caller::system;
use crate::memory::Reported;
use keyreeve_core::coherence::{Cached as _, Entry};
use keyreeve_core::verdict::Denial;
use keyreeve_core::{Digest, Key, Timestamp};
use keyreeve_store::model::{ActivityBatch, KeyRecord, Trace, UsageCount};

/// How long a round may write: a twentieth of each second, however much waits.
const ROUND_MS: u64 = 50;
/// Most rows written in one transaction, so that a change waits only briefly behind them.
const GROUP: usize = 500;
/// The same of uses of root keys, each of which is a statement.
const ROOT_GROUP: usize = 50;

impl Authority {
    /// Writes all activity collected so far. What cannot be written waits for the next round.
    pub async fn flush_activity(&self) {
        while self.write_round(u64::MAX).await {}
    }

    /// Writes a part of it; called once a second. Bounded, so that it leaves the database time for other work.
    pub async fn write_activity(&self) {
        self.write_round(ROUND_MS).await;
    }

    /// Writes which secrets were presented for the first time. Called before a request that may be a retry, which
    /// depends on it.
    pub(crate) async fn flush_first_uses(&self) {
        while self.verifier.uses.has_first() && self.write_round(u64::MAX).await {}
    }

    /// Writes the activity of one key, before its counts and addresses are read.
    pub(crate) async fn flush_activity_of(&self, key: &Key) {
        let secrets = [Some(key.secret.digest), key.retiring.as_ref().map(|old| old.digest)];
        let entries = secrets
            .iter()
            .flatten()
            .filter_map(|digest| self.verifier.keys.peek(digest));
        let entries: Vec<_> = entries.collect();
        let _round = self.verifier.uses.round.lock().await;
        let activity = self.verifier.uses.take_of(key.id, &entries, self.now());
        if activity == ActivityBatch::default() {
            return;
        }
        if self.store.record_activity(activity.clone()).await.is_err() {
            self.verifier.uses.put_back(activity);
        }
    }

    /// Writes the last uses of root keys. What cannot be written waits for the next round.
    pub(crate) async fn flush_root_key_uses(&self) {
        let uses = self.verifier.root_uses.take(self.clock.moment());
        for group in uses.chunks(ROOT_GROUP) {
            let activity = ActivityBatch {
                root_key_uses: group.to_vec(),
                ..ActivityBatch::default()
            };
            if self.store.record_activity(activity).await.is_err() {
                self.verifier.root_uses.give_back(group);
            }
        }
    }

    /// Writes for at most `budget_ms`, plus one transaction. True if more waits and writing succeeds.
    async fn write_round(&self, budget_ms: u64) -> bool {
        let _round = self.verifier.uses.round.lock().await;
        self.flush_root_key_uses().await;
        let (all, events, has_more) = self.verifier.uses.take(self.now());
        let began = self.clock.moment();
        let is_over = || self.clock.moment().ms_since(began) >= budget_ms;
        let mut unwritten = ActivityBatch::default();
        let mut has_stopped = false;
        for (presented, refused) in groups(&all.presented, &all.refused) {
            let group = ActivityBatch {
                presented: presented.to_vec(),
                refused: refused.to_vec(),
                ..ActivityBatch::default()
            };
            has_stopped = has_stopped || is_over() || self.store.record_activity(group).await.is_err();
            if has_stopped {
                unwritten.presented.extend_from_slice(presented);
                unwritten.refused.extend_from_slice(refused);
            }
        }
        for (uses, counts) in groups(&all.uses, &all.counts) {
            has_stopped = has_stopped || is_over() || !self.recorded(uses, counts, &[]).await;
            if has_stopped {
                unwritten.uses.extend_from_slice(uses);
                unwritten.counts.extend_from_slice(counts);
            }
        }
        for traces in all.traces.chunks(GROUP) {
            // Traces that cannot be written are dropped: no decision depends on them.
            has_stopped = has_stopped || is_over() || !self.recorded(&[], &[], traces).await;
        }
        let unwritten_events = match events.is_empty() {
            true => Vec::new(),
            false => match self.store.record_events(system(self.earliest()), events.clone()).await {
                Ok(_) => Vec::new(),
                Err(_) => events,
            },
        };
        self.verifier.uses.settle(unwritten, unwritten_events);
        has_more && !has_stopped
    }

    /// Writes a group in one transaction; returns whether that succeeded.
    async fn recorded(&self, uses: &[(Digest, Timestamp)], counts: &[UsageCount], traces: &[Trace]) -> bool {
        let group = ActivityBatch {
            uses: uses.to_vec(),
            counts: counts.to_vec(),
            traces: traces.to_vec(),
            ..ActivityBatch::default()
        };
        self.store.record_activity(group).await.is_ok()
    }

    /// Takes over the uses of a secret that a downstream verifier reports.
    pub(crate) fn note_reported(&self, entry: &Entry, reported: &Reported) {
        let uses = &self.verifier.uses;
        // The verifier's clock may be ahead.
        let at = reported.last_at.min(self.now());
        match reported.denial {
            Some(denial) => uses.note_denials(entry, denial, reported.count.into(), at),
            None => {
                uses.queue(entry, entry.note_use(at, 0));
                uses.note_reported(entry, reported);
            }
        }
        if reported.denial == Some(Denial::Rotated) {
            uses.note_reuse(entry, *entry.digest(), self.clock.moment());
        }
    }

    /// Adds to a record the uses that are still in memory.
    pub(crate) fn with_pending_use(&self, mut record: KeyRecord) -> KeyRecord {
        let live = self.pending_use(&record.key.secret.digest);
        let old = record
            .key
            .retiring
            .as_ref()
            .and_then(|old| self.pending_use(&old.digest));
        let uses = &self.verifier.uses;
        record.is_presented |= live.is_some() || uses.is_presented(&record.key.secret.digest);
        record.last_refused_at = record.last_refused_at.max(uses.pending_refusal(record.key.id));
        record.last_used_at = record.last_used_at.max(live).max(old);
        record
    }

    /// Returns the newest known use of a secret.
    fn pending_use(&self, digest: &Digest) -> Option<Timestamp> {
        let remembered = self.verifier.keys.peek(digest).and_then(|entry| entry.last_use());
        remembered.max(self.verifier.uses.pending(digest))
    }
}

/// Splits two lists into groups for one transaction each, side by side.
fn groups<'l, A, B>(some: &'l [A], others: &'l [B]) -> impl Iterator<Item = (&'l [A], &'l [B])> {
    let (mut some, mut others) = (some.chunks(GROUP), others.chunks(GROUP));
    std::iter::from_fn(move || match (some.next(), others.next()) {
        (None, None) => None,
        (some, others) => Some((some.unwrap_or_default(), others.unwrap_or_default())),
    })
}
