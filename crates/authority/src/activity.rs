//! What verification leaves behind: last uses, counts, and warnings. Collected in memory and written in groups, so that
//! a verification costs no write.

use crate::Authority;
use keyreeve_core::access::Actor;
use keyreeve_core::audit::Action;
use keyreeve_core::coherence::Entry;
use keyreeve_core::verdict::Denial;
use keyreeve_core::{Digest, KeyId, Timestamp};
use keyreeve_store::model::{Activity, Event, KeyRecord, Trace, UsageCount, WriteContext};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most things of a kind waiting to be written. Beyond it the newest are dropped: a last-used time may then be late.
const WAITING_MAX: usize = 1_000_000;
/// Most rows written in one transaction, so that no change waits long behind them.
const GROUP: usize = 500;
/// Most replaced secrets whose presentation is remembered, and how long it is not reported again: an hour.
const REUSES_MAX: usize = 10_000;
const REUSE_GRAIN_MS: i64 = 3_600_000;
/// Most addresses waiting to be written: whoever asks names them, so they must not fill the memory.
const TRACES_MAX: usize = 20_000;
const HOUR_MS: i64 = 3_600_000;

/// Good verdicts on a key's own secret, and on one that is on its way out.
const VALID: &str = "valid";
const VALID_RETIRING: &str = "valid_retiring";

/// A key, an outcome, and the address that the relying service gave, if it gave one.
type Place = (KeyId, &'static str, Option<IpAddr>);

/// Activity not yet written.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<Digest, Timestamp>,
    /// Handed to the store, not yet confirmed; still looked at, so that a reader sees no gap.
    on_the_way: HashMap<Digest, Timestamp>,
    /// Entries with good verdicts to count.
    touched: Vec<Entry>,
    counts: HashMap<(KeyId, &'static str), u64>,
    /// Counts of an hour that could not be written.
    unwritten: Vec<UsageCount>,
    /// By key, outcome and address: how often, and when last.
    traces: HashMap<Place, (u64, Timestamp)>,
    reuses: HashMap<Digest, Timestamp>,
    events: Vec<Event>,
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

    /// Notes that an entry has good verdicts to count.
    pub(crate) fn note_touched(&self, entry: &Entry) {
        let mut state = self.state();
        if state.touched.len() < WAITING_MAX {
            state.touched.push(entry.clone());
        }
    }

    /// Counts a denial of a known key.
    pub(crate) fn note_denial(&self, key: KeyId, denial: Denial) {
        let mut state = self.state();
        if state.counts.len() < WAITING_MAX {
            *state.counts.entry((key, denial.as_str())).or_default() += 1;
        }
    }

    /// Notes where a verdict was asked for.
    pub(crate) fn note_trace(&self, key: KeyId, outcome: Result<(), Denial>, address: Option<IpAddr>, at: Timestamp) {
        let outcome = match outcome {
            Ok(()) => VALID,
            Err(denial) => denial.as_str(),
        };
        let mut state = self.state();
        let place = (key, outcome, address);
        if state.traces.len() < TRACES_MAX || state.traces.contains_key(&place) {
            let trace = state.traces.entry(place).or_insert((0, at));
            *trace = (trace.0 + 1, trace.1.max(at));
        }
    }

    /// Notes that a replaced secret was presented. It is reported once an hour: whoever has it may be careless or a
    /// thief, and neither shall fill the log.
    pub(crate) fn note_reuse(&self, entry: &Entry, digest: Digest, at: Timestamp) {
        let mut state = self.state();
        let is_fresh = |noted: &Timestamp| at.millis().saturating_sub(noted.millis()) < REUSE_GRAIN_MS;
        if state.reuses.get(&digest).is_some_and(is_fresh) || state.events.len() >= REUSES_MAX {
            return;
        }
        if state.reuses.len() >= REUSES_MAX {
            state.reuses.retain(|_, noted| is_fresh(noted));
        }
        if state.reuses.len() < REUSES_MAX {
            state.reuses.insert(digest, at);
            state.events.push(Event {
                tenant: Some(entry.gate().slug().clone()),
                target_type: "key",
                target_id: entry.key_id().to_string(),
                subject: Some(entry.subject().to_owned()),
                action: Action::KeySecretReused,
                reason: Some("a secret that a rotation has replaced was presented".into()),
            });
        }
    }

    /// The newest use of a secret that is not written yet.
    fn pending(&self, digest: &Digest) -> Option<Timestamp> {
        let state = self.state();
        state.waiting.get(digest).max(state.on_the_way.get(digest)).copied()
    }

    fn take(&self, now: Timestamp) -> (Activity, Vec<Event>) {
        let mut state = self.state();
        state.on_the_way = std::mem::take(&mut state.waiting);
        let touched = std::mem::take(&mut state.touched);
        for entry in touched {
            let outcome = if entry.is_retiring() { VALID_RETIRING } else { VALID };
            *state.counts.entry((entry.key_id(), outcome)).or_default() += u64::from(entry.take_uses());
        }
        let hour = Timestamp::from_millis(now.millis().div_euclid(HOUR_MS) * HOUR_MS);
        let mut counts = std::mem::take(&mut state.unwritten);
        let counted = std::mem::take(&mut state.counts).into_iter();
        counts.extend(counted.map(|((key, outcome), count)| UsageCount {
            key,
            hour,
            outcome: outcome.to_owned(),
            count,
        }));
        let traces = std::mem::take(&mut state.traces).into_iter().map(trace).collect();
        let uses = state.on_the_way.iter().map(|(digest, at)| (*digest, *at)).collect();
        (Activity { uses, counts, traces }, std::mem::take(&mut state.events))
    }

    /// Ends a round: what could not be written waits for the next.
    fn settle(&self, unwritten: Activity, events: Vec<Event>) {
        let mut state = self.state();
        state.on_the_way.clear();
        for (digest, at) in unwritten.uses {
            state.waiting.entry(digest).or_insert(at);
        }
        let room = WAITING_MAX.saturating_sub(state.unwritten.len());
        state.unwritten.extend(unwritten.counts.into_iter().take(room));
        state.events.extend(events);
    }
}

impl Authority {
    /// Writes down the activity collected so far. Called once a second, before the store closes, and before a retry
    /// that must know whether a secret was presented. What cannot be written is kept for the next time.
    pub async fn flush_activity(&self) {
        let now = self.now();
        let (all, events) = self.verifier.uses.take(now);
        let mut unwritten = Activity::default();
        for uses in all.uses.chunks(GROUP) {
            if !unwritten.uses.is_empty() || !self.recorded(uses, &[], &[]).await {
                unwritten.uses.extend_from_slice(uses);
            }
        }
        for counts in all.counts.chunks(GROUP) {
            if !unwritten.uses.is_empty() || !self.recorded(&[], counts, &[]).await {
                unwritten.counts.extend_from_slice(counts);
            }
        }
        for traces in all.traces.chunks(GROUP) {
            // What cannot be written of these is let go: they explain, and decide nothing.
            let _written = unwritten.uses.is_empty() && self.recorded(&[], &[], traces).await;
        }
        let unwritten_events = match events.is_empty() {
            true => Vec::new(),
            false => match self.store.record_events(system(now), events.clone()).await {
                Ok(_) => Vec::new(),
                Err(_) => events,
            },
        };
        self.verifier.uses.settle(unwritten, unwritten_events);
    }

    /// Whether some of it could be written, in one transaction.
    async fn recorded(&self, uses: &[(Digest, Timestamp)], counts: &[UsageCount], traces: &[Trace]) -> bool {
        let group = Activity {
            uses: uses.to_vec(),
            counts: counts.to_vec(),
            traces: traces.to_vec(),
        };
        self.store.record_activity(group).await.is_ok()
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

fn trace((place, (count, last_at)): (Place, (u64, Timestamp))) -> Trace {
    let (key, outcome, address) = place;
    Trace {
        key,
        outcome: outcome.to_owned(),
        address: address.map(|address| address.to_string()).unwrap_or_default(),
        count,
        last_at,
    }
}

/// Keyreeve itself, when nobody asked.
pub(crate) fn system(now: Timestamp) -> WriteContext {
    WriteContext {
        at: now,
        actor: Actor::System,
        address: None,
        request_id: "system".into(),
        idempotency: None,
    }
}
