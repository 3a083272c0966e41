//! Activity that waits to be written.

use keyreeve_core::coherence::{Entry, Moment};
use keyreeve_core::{Digest, KeyId, Timestamp};
use keyreeve_store::model::{Event, UsageCount};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// Most rows of a kind that wait to be written. Beyond it the newest are dropped: a last-used time may then be late.
pub(super) const WAITING_MAX: usize = 1_000_000;

/// A key, an outcome, and the address that the relying service sent, if any.
pub(super) type UsePlace = (KeyId, &'static str, Option<IpAddr>);

#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Entries with uses to write, the longest waiting first. Each is here or in `first`, once.
    pub(super) queue: VecDeque<Entry>,
    /// Those whose secret was not presented before: a retry needs to know that (`flush_first_uses`).
    pub(super) first: VecDeque<Entry>,
    /// Last uses of secrets that were removed from memory before they were written, and those that could not be
    /// written.
    pub(super) waiting: HashMap<Digest, Timestamp>,
    /// Handed to the store, not yet confirmed. Still read, so that a reader sees no gap.
    pub(super) on_the_way: HashMap<Digest, Timestamp>,
    /// Secrets that were presented in refused calls, and the last refusal of each key: what waits to be written, and
    /// what the store has not confirmed yet.
    pub(super) refusals: UnwrittenRefusals,
    pub(super) refusals_on_the_way: UnwrittenRefusals,
    pub(super) counts: HashMap<(KeyId, &'static str), CountedVerdicts>,
    /// Hourly counts that could not be written.
    pub(super) unwritten: Vec<UsageCount>,
    /// By key, outcome and address: how often, and when last.
    pub(super) traces: HashMap<UsePlace, (u64, Timestamp)>,
    pub(super) reuses: HashMap<Digest, Moment>,
    pub(super) events: Vec<Event>,
}

/// Verdicts of one outcome on one key.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CountedVerdicts {
    pub(super) count: u64,
    /// What they cost beyond one unit each.
    pub(super) extra_cost: u64,
}

impl CountedVerdicts {
    pub(super) fn of(count: u64) -> Self {
        Self { count, extra_cost: 0 }
    }
}

/// What refused calls leave to write.
#[derive(Debug, Default)]
pub(super) struct UnwrittenRefusals {
    pub(super) presented: HashMap<Digest, Timestamp>,
    pub(super) refused: HashMap<KeyId, Timestamp>,
}

impl UnwrittenRefusals {
    pub(super) fn add(&mut self, presented: &[(Digest, Timestamp)], refused: &[(KeyId, Timestamp)]) {
        for (digest, at) in presented {
            if self.presented.len() < WAITING_MAX {
                self.presented.entry(*digest).or_insert(*at);
            }
        }
        for (key, at) in refused {
            if self.refused.len() < WAITING_MAX || self.refused.contains_key(key) {
                let last = self.refused.entry(*key).or_insert(*at);
                *last = (*last).max(*at);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.presented.is_empty() && self.refused.is_empty()
    }
}

impl Waiting {
    pub(super) fn count(&mut self, key: KeyId, outcome: &'static str, more: CountedVerdicts) {
        if self.counts.len() < WAITING_MAX {
            let sum = self.counts.entry((key, outcome)).or_default();
            sum.count = sum.count.saturating_add(more.count);
            sum.extra_cost = sum.extra_cost.saturating_add(more.extra_cost);
        }
    }
}
