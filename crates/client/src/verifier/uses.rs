//! Uses that wait to be reported to the node: last uses and counts.

use keyreeve_api::verifiers::SeenCount;
use keyreeve_core::coherence::{Cached as _, Entry, Noted};
use keyreeve_core::verdict::Denial;
use keyreeve_core::{Digest, Timestamp};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A last use is noted at most once in this time.
const USE_GRAIN_MS: i64 = 1_000;
/// Most items of a kind that wait. Beyond it the newest are not reported.
const WAITING_MAX: usize = 100_000;
/// Most items of a kind in one report.
const REPORT_MAX: usize = 2_000;

#[derive(Default)]
pub(super) struct VerifierUses(Mutex<State>);

#[derive(Default)]
struct State {
    /// Entries with good verdicts to report.
    queue: VecDeque<Entry>,
    denied: HashMap<(Digest, Denial), (u32, Timestamp)>,
    /// What accepted calls cost beyond one unit each, by secret.
    extra_costs: HashMap<Digest, u64>,
}

impl State {
    fn note_cost(&mut self, digest: &Digest, extra: u64) {
        if self.extra_costs.len() < WAITING_MAX || self.extra_costs.contains_key(digest) {
            let sum = self.extra_costs.entry(*digest).or_default();
            *sum = sum.saturating_add(extra);
        }
    }
}

impl VerifierUses {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a verdict on a known key, and the cost of an accepted call.
    pub(super) fn note(&self, entry: &Entry, outcome: Result<(), Denial>, cost: u32, now: Timestamp) {
        let Err(denial) = outcome else {
            if cost > 1 {
                self.state().note_cost(entry.digest(), u64::from(cost) - 1);
            }
            let (used, counted) = (entry.note_use(now, USE_GRAIN_MS), entry.count_use());
            if used != Noted::Nothing || counted != Noted::Nothing {
                let mut state = self.state();
                if state.queue.len() < WAITING_MAX {
                    state.queue.push_back(entry.clone());
                } else {
                    entry.not_queued();
                }
            }
            return;
        };
        let mut state = self.state();
        let place = (*entry.digest(), denial);
        if state.denied.len() < WAITING_MAX || state.denied.contains_key(&place) {
            let seen = state.denied.entry(place).or_insert((0, now));
            *seen = (seen.0.saturating_add(1), now);
        }
    }

    /// Takes what is to be reported now.
    pub(super) fn take(&self) -> Vec<SeenCount> {
        let mut state = self.state();
        let count = state.queue.len().min(REPORT_MAX);
        let state = &mut *state;
        let costs = &mut state.extra_costs;
        let mut seen: Vec<_> = state
            .queue
            .drain(..count)
            .filter_map(|entry| good(&entry, costs))
            .collect();
        let denied = state.denied.extract_if(|_, _| true).take(REPORT_MAX);
        seen.extend(denied.map(|((digest, denial), (count, last_at))| SeenCount {
            digest: digest.to_hex(),
            outcome: denial.as_str().to_owned(),
            count,
            extra_cost: 0,
            last_at: last_at.millis(),
        }));
        seen
    }
}

fn good(entry: &Entry, extra_costs: &mut HashMap<Digest, u64>) -> Option<SeenCount> {
    let (count, _) = entry.take_uses();
    (count > 0).then(|| SeenCount {
        digest: entry.digest().to_hex(),
        outcome: "valid".to_owned(),
        count,
        extra_cost: extra_costs.remove(entry.digest()).unwrap_or(0),
        last_at: entry.last_use().map_or(0, Timestamp::millis),
    })
}
