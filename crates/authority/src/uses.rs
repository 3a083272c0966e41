//! When secrets were last presented: collected in memory, written down in groups, so that a verification costs no
//! write (product.md, issue of a key: "last used").

use crate::Authority;
use keyreeve_core::{Digest, Timestamp};
use keyreeve_store::model::KeyRecord;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most uses waiting to be written. Beyond it the newest are dropped: a last-used time may then be late.
const WAITING_MAX: usize = 1_000_000;
/// Most uses written in one transaction, so that no change waits long behind them.
const GROUP: usize = 500;

/// Uses not yet written.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<Digest, Timestamp>,
    /// Handed to the store, not yet confirmed; still looked at, so that a reader sees no gap.
    on_the_way: HashMap<Digest, Timestamp>,
}

impl Uses {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a use.
    pub(crate) fn note(&self, digest: Digest, at: Timestamp) {
        let mut state = self.state();
        if state.waiting.len() < WAITING_MAX || state.waiting.contains_key(&digest) {
            state.waiting.insert(digest, at);
        }
    }

    /// The newest use of a secret that is not written yet.
    fn pending(&self, digest: &Digest) -> Option<Timestamp> {
        let state = self.state();
        state.waiting.get(digest).max(state.on_the_way.get(digest)).copied()
    }

    fn take(&self) -> Vec<(Digest, Timestamp)> {
        let mut state = self.state();
        state.on_the_way = std::mem::take(&mut state.waiting);
        state.on_the_way.iter().map(|(digest, at)| (*digest, *at)).collect()
    }

    /// Ends a round: what could not be written waits for the next.
    fn settle(&self, unwritten: Vec<(Digest, Timestamp)>) {
        let mut state = self.state();
        state.on_the_way.clear();
        for (digest, at) in unwritten {
            state.waiting.entry(digest).or_insert(at);
        }
    }
}

impl Authority {
    /// Writes down the uses collected so far. Called once a second, before the store closes, and before a retry that
    /// must know whether a secret was presented. What cannot be written is kept for the next time.
    pub async fn flush_uses(&self) {
        let all = self.verifier.uses.take();
        let mut unwritten = Vec::new();
        for group in all.chunks(GROUP) {
            if !unwritten.is_empty() || self.store.record_uses(group.to_vec()).await.is_err() {
                unwritten.extend_from_slice(group);
            }
        }
        self.verifier.uses.settle(unwritten);
    }

    /// A record with the uses that are still in memory.
    pub(crate) fn with_pending_use(&self, mut record: KeyRecord) -> KeyRecord {
        let live = self.verifier.uses.pending(&record.key.secret.digest);
        let old = record
            .key
            .retiring
            .as_ref()
            .and_then(|old| self.verifier.uses.pending(&old.digest));
        record.is_presented |= live.is_some();
        record.last_used_at = record.last_used_at.max(live).max(old);
        record
    }
}
