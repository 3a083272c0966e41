//! What verification leaves behind: last uses, counts, and warnings, until they are written.

mod rows;
mod waiting;

use keyreeve_core::audit::Action;
use keyreeve_core::coherence::{Cached as _, Entry, Moment, Noted};
use keyreeve_core::verdict::Denial;
use keyreeve_core::{Digest, KeyId, Timestamp};
use keyreeve_store::model::{ActivityBatch, Event, UsageCount};
use rows::{hour_of, trace, usage};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use waiting::{CountedVerdicts, UnwrittenRefusals, WAITING_MAX, Waiting};

/// Most rows of a kind written in one round (once a second). The rest keeps counting in memory, so a million busy keys
/// cost the database no more than a few thousand.
const ROUND: usize = 4_000;
/// Most replaced secrets whose presentation is remembered, and how long it is not reported again: an hour.
const REUSES_MAX: usize = 10_000;
const REUSE_GRAIN_MS: u64 = 3_600_000;
/// Most addresses waiting to be written. Callers choose them, so they must not fill the memory.
const TRACES_MAX: usize = 4_000;

/// The uses of one secret that a downstream verifier reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reported {
    /// The secret.
    pub digest: Digest,
    /// `None` is a good verdict.
    pub denial: Option<Denial>,
    /// How often.
    pub count: u32,
    /// What the good uses cost beyond one unit each.
    pub extra_cost: u64,
    /// When it was last used.
    pub last_at: Timestamp,
}

/// Activity not yet written.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    state: Mutex<Waiting>,
    /// Held while a round is being written. A reader of one key waits for it: what the round took out of the memory is not
    /// in the database yet.
    pub(crate) round: futures_util::lock::Mutex<()>,
}

impl Uses {
    fn state(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an entry that has uses to write.
    pub(crate) fn queue(&self, entry: &Entry, noted: Noted) {
        if noted == Noted::Nothing {
            return;
        }
        let state = &mut *self.state();
        let is_first = noted == Noted::QueueFirst;
        let queue = if is_first { &mut state.first } else { &mut state.queue };
        if queue.len() < WAITING_MAX {
            queue.push_back(entry.clone());
        } else {
            entry.not_queued();
        }
    }

    /// Whether a secret may have been presented for the first time and that is not written yet.
    pub(crate) fn has_first(&self) -> bool {
        let state = self.state();
        !(state.first.is_empty() && state.waiting.is_empty() && state.refusals.presented.is_empty())
    }

    /// Keeps the uses of an entry that is about to be removed from memory.
    pub(crate) fn keep(&self, entry: &Entry) {
        let (count, used_at) = entry.take_uses();
        if let Some(at) = used_at {
            let mut state = self.state();
            if state.waiting.len() < WAITING_MAX {
                state.waiting.insert(*entry.digest(), at);
            }
        }
        if count > 0 {
            self.add(entry.key_id(), good(entry), CountedVerdicts::of(count.into()));
        }
    }

    /// Notes that an accepted call cost more than one unit. It counts as one call, which the entry itself counts.
    pub(crate) fn note_cost(&self, entry: &Entry, cost: u32) {
        let extra_cost = u64::from(cost.saturating_sub(1));
        if extra_cost > 0 {
            self.add(entry.key_id(), good(entry), CountedVerdicts { count: 0, extra_cost });
        }
    }

    /// Counts a denial of a known key and notes its time. Also a refused call shows that the secret was delivered.
    pub(crate) fn note_denials(&self, entry: &Entry, denial: Denial, count: u64, at: Timestamp) {
        let is_ended = matches!(denial, Denial::Revoked | Denial::Rotated | Denial::Erased);
        let is_news = !is_ended && entry.note_presented();
        let presented = is_news.then_some((*entry.digest(), at));
        let mut state = self.state();
        state.refusals.add(presented.as_slice(), &[(entry.key_id(), at)]);
        state.count(entry.key_id(), denial.as_str(), CountedVerdicts::of(count));
    }

    /// Counts good uses that a downstream verifier reports.
    pub(crate) fn note_reported(&self, entry: &Entry, reported: &Reported) {
        let counted = CountedVerdicts {
            count: reported.count.into(),
            extra_cost: reported.extra_cost,
        };
        self.add(entry.key_id(), good(entry), counted);
    }

    /// Notes that a secret was delivered, without a use: it was looked at with a cost of 0 (http.md, section 2c).
    pub(crate) fn note_presented(&self, entry: &Entry, at: Timestamp) {
        if entry.note_presented() {
            self.state().refusals.add(&[(*entry.digest(), at)], &[]);
        }
    }

    fn add(&self, key: KeyId, outcome: &'static str, more: CountedVerdicts) {
        self.state().count(key, outcome, more);
    }

    /// Notes the address that a verdict was requested for.
    pub(crate) fn note_trace(
        &self,
        entry: &Entry,
        outcome: Result<(), Denial>,
        address: Option<IpAddr>,
        at: Timestamp,
    ) {
        let key = entry.key_id();
        let outcome = match outcome {
            // Callers that still use a retiring secret are counted apart from those that use the new one.
            Ok(()) => good(entry),
            Err(denial) => denial.as_str(),
        };
        let mut state = self.state();
        let place = (key, outcome, address);
        if state.traces.len() < TRACES_MAX || state.traces.contains_key(&place) {
            let trace = state.traces.entry(place).or_insert((0, at));
            *trace = (trace.0 + 1, trace.1.max(at));
        }
    }

    /// Notes that a replaced secret was presented. It is reported once an hour, so that neither a forgotten client nor
    /// a thief fills the log.
    pub(crate) fn note_reuse(&self, entry: &Entry, digest: Digest, now: Moment) {
        let mut state = self.state();
        let is_fresh = |noted: &Moment| now.ms_since(*noted) < REUSE_GRAIN_MS;
        if state.reuses.get(&digest).is_some_and(is_fresh) || state.events.len() >= REUSES_MAX {
            return;
        }
        if state.reuses.len() >= REUSES_MAX {
            state.reuses.retain(|_, noted| is_fresh(noted));
        }
        if state.reuses.len() < REUSES_MAX {
            state.reuses.insert(digest, now);
            state.events.push(Event {
                tenant: Some(entry.gate().slug().clone()),
                target_type: "key",
                target_id: entry.key_id().to_string(),
                subject: Some(entry.subject().to_owned()),
                action: Action::KeySecretReused,
                reason: Some("a secret that a rotation has replaced was presented".into()),
                before: None,
                after: None,
            });
        }
    }

    /// Returns the newest use of a secret that is not written yet.
    pub(crate) fn pending(&self, digest: &Digest) -> Option<Timestamp> {
        let state = self.state();
        state.waiting.get(digest).max(state.on_the_way.get(digest)).copied()
    }

    /// Whether a secret was presented in a refused call and that is not written yet.
    pub(crate) fn is_presented(&self, digest: &Digest) -> bool {
        let state = self.state();
        let all = [&state.refusals, &state.refusals_on_the_way];
        all.iter().any(|refusals| refusals.presented.contains_key(digest))
    }

    /// Returns when a secret of a key was last refused, if that is not written yet.
    pub(crate) fn pending_refusal(&self, key: KeyId) -> Option<Timestamp> {
        let state = self.state();
        let all = [&state.refusals, &state.refusals_on_the_way];
        all.iter()
            .filter_map(|refusals| refusals.refused.get(&key))
            .max()
            .copied()
    }

    /// Takes what one round may write, and whether more is waiting.
    pub(crate) fn take(&self, now: Timestamp) -> (ActivityBatch, Vec<Event>, bool) {
        let mut state = self.state();
        let state = &mut *state;
        let unwritten = state.unwritten.len().saturating_sub(ROUND);
        let mut activity = ActivityBatch {
            uses: state.waiting.extract_if(|_, _| true).take(ROUND).collect(),
            presented: state.refusals.presented.extract_if(|_, _| true).take(ROUND).collect(),
            refused: state.refusals.refused.extract_if(|_, _| true).take(ROUND).collect(),
            counts: state.unwritten.split_off(unwritten),
            traces: state.traces.extract_if(|_, _| true).take(ROUND).map(trace).collect(),
            root_key_uses: Vec::new(),
        };
        while activity.uses.len().max(activity.counts.len()) < ROUND
            && let Some(entry) = state.first.pop_front().or_else(|| state.queue.pop_front())
        {
            take_entry(&entry, now, &mut activity);
        }
        let denied = state.counts.extract_if(|_, _| true).take(ROUND);
        let denied = denied.map(|((key, outcome), count)| usage(key, hour_of(now), outcome, count));
        activity.counts.extend(denied);
        // Sorted, so that rows of one database page are written together.
        activity.counts.sort_unstable_by_key(|count| count.key);
        state.on_the_way = activity.uses.iter().copied().collect();
        state.refusals_on_the_way = UnwrittenRefusals {
            presented: activity.presented.iter().copied().collect(),
            refused: activity.refused.iter().copied().collect(),
        };
        let is_done = state.first.is_empty() && state.queue.is_empty() && state.waiting.is_empty();
        let has_more =
            !is_done || !state.refusals.is_empty() || !state.counts.is_empty() || !state.unwritten.is_empty();
        (activity, std::mem::take(&mut state.events), has_more)
    }

    /// Takes what waits for one key.
    pub(crate) fn take_of(&self, key: KeyId, entries: &[Entry], now: Timestamp) -> ActivityBatch {
        let mut activity = ActivityBatch::default();
        let mut state = self.state();
        for entry in entries {
            take_entry(entry, now, &mut activity);
        }
        let of_key = |digest: &Digest| entries.iter().any(|entry| entry.digest() == digest);
        let presented = state.refusals.presented.extract_if(|digest, _| of_key(digest));
        activity.presented.extend(presented);
        activity.refused.extend(state.refusals.refused.remove_entry(&key));
        let denied = state.counts.extract_if(|(of, _), _| *of == key);
        let denied = denied.map(|((key, outcome), count)| usage(key, hour_of(now), outcome, count));
        activity.counts.extend(denied);
        let unwritten = state.unwritten.extract_if(.., |count| count.key == key);
        activity.counts.extend(unwritten);
        let traces = state.traces.extract_if(|(of, ..), _| *of == key);
        activity.traces.extend(traces.map(trace));
        activity
    }

    /// Puts back what could not be written.
    pub(crate) fn put_back(&self, unwritten: ActivityBatch) {
        let mut state = self.state();
        for (digest, at) in unwritten.uses {
            state.waiting.entry(digest).or_insert(at);
        }
        state.refusals.add(&unwritten.presented, &unwritten.refused);
        let room = WAITING_MAX.saturating_sub(state.unwritten.len());
        state.unwritten.extend(unwritten.counts.into_iter().take(room));
    }

    /// Ends a round: what could not be written waits for the next one.
    pub(crate) fn settle(&self, unwritten: ActivityBatch, events: Vec<Event>) {
        self.put_back(unwritten);
        let mut state = self.state();
        state.on_the_way.clear();
        state.refusals_on_the_way = UnwrittenRefusals::default();
        state.events.extend(events);
    }
}

/// Returns the outcome that a good verdict on a secret is counted as.
fn good(entry: &Entry) -> &'static str {
    match entry.is_retiring() {
        true => UsageCount::VALID_RETIRING,
        false => UsageCount::VALID,
    }
}

/// Takes the uses that an entry has collected.
fn take_entry(entry: &Entry, now: Timestamp, activity: &mut ActivityBatch) {
    let (count, used_at) = entry.take_uses();
    activity.uses.extend(used_at.map(|at| (*entry.digest(), at)));
    if count > 0 {
        let hour = hour_of(entry.last_use().unwrap_or(now));
        activity.counts.push(usage(
            entry.key_id(),
            hour,
            good(entry),
            CountedVerdicts::of(count.into()),
        ));
    }
}
