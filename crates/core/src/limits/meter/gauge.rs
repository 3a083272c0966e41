//! One limit of a key on one node.

use super::super::counter::{Counter, Slice, WantedSlice, is_turning, nanos, rate};
use super::super::gcra::Pace;
use super::super::{Bound, Count, Limit};
use super::{At, LimitStanding, Need, seconds};
use crate::coherence::invariants::{Invariant, InvariantResult};
use crate::time::Timestamp;

const SECOND_NS: i64 = 1_000_000_000;
/// How long a node relies on the answer that a quota is used up: other nodes may return unused uses.
const USED_UP_NS: i64 = SECOND_NS;
/// Slices that follow each other within this time are made larger.
const SOON_NS: i64 = SECOND_NS;
/// The largest slice of a quota. This much may be lost with a node.
const QUOTA_SLICE_MAX: u64 = 1_000;

/// One limit, as this node knows it.
#[derive(Debug)]
pub(super) struct Gauge {
    pub(super) limit: Limit,
    pace: Option<Pace>,
    /// The node's own count of a soft limit; else the store's counter as of `told_at`. Its times are of the boot clock.
    pub(super) counter: Option<Counter>,
    told_at: i64,
    /// Uses that may be accepted without the store, until `ends`.
    pub(super) tokens: u64,
    ends: i64,
    /// The size of the next slice.
    size: u64,
}

/// The answer of one limit to a use.
pub(super) enum Word {
    Yes,
    No(Option<i64>),
    Ask(WantedSlice),
}

impl Gauge {
    pub(super) fn new(limit: Limit) -> Self {
        Self {
            pace: Pace::of(&limit.bound),
            limit,
            counter: None,
            told_at: i64::MIN,
            tokens: 0,
            ends: i64::MAX,
            size: 1,
        }
    }

    pub(super) fn is_soft(&self) -> bool {
        matches!(self.limit.bound, Bound::Rate { count: Count::Soft, .. })
    }

    /// Checks [`Invariant::LimitTokens`]: a hard limit has uses only by an answer of the store, a soft one never.
    pub(super) fn check(&self) -> InvariantResult {
        let may_have = !self.is_soft() && self.counter.is_some();
        Invariant::LimitTokens.require(self.tokens == 0 || may_have, self.tokens, 0)
    }

    fn value(&self) -> i64 {
        self.counter.map_or(0, |counter| counter.value)
    }

    /// Drops what is over: expired slices, and a period.
    pub(super) fn lapse(&mut self, now: At) {
        if now.steady >= self.ends {
            self.tokens = 0;
        }
        self.turn(now.time);
    }

    /// Drops the count of a quota for a period that is over. The next period may be counted already, by the store's
    /// answer, where another node began it first.
    pub(super) fn turn(&mut self, now: Timestamp) {
        let Bound::Quota { period, .. } = self.limit.bound else {
            return;
        };
        let is_of = |since: i64| since == period.start(now).millis() || is_turning(period, since, now);
        if self.counter.is_some_and(|counter| !is_of(counter.since)) {
            (self.counter, self.tokens) = (None, 0);
        }
    }

    pub(super) fn asked(&self, cost: u64, now: At) -> Word {
        let at = now.steady;
        match (self.limit.bound, self.pace) {
            (_, Some(pace)) if self.is_soft() => match pace.take(self.value(), at, cost) {
                Ok(_) => Word::Yes,
                Err(wait) => Word::No(wait),
            },
            _ if self.tokens >= cost => Word::Yes,
            // The last answer of the store is a lower bound of what is used: while that leaves nothing, no request is
            // needed.
            (_, Some(pace)) => match pace.of_slices().take(self.value(), at, cost) {
                Ok(_) => Word::Ask(self.wish(cost, pace.lasts > 0, at)),
                Err(wait) => Word::No(wait),
            },
            (Bound::Quota { limit, period }, None) => {
                let end = || {
                    period
                        .end(now.time)
                        .map(|end| nanos(end).saturating_sub(nanos(now.time)))
                };
                let used = u64::try_from(self.value()).unwrap_or(0);
                // What is left of slices is counted by the store and not used yet, so it is subtracted below.
                let is_fresh = self.counter.is_some() && at.saturating_sub(self.told_at) < USED_UP_NS;
                if cost > limit {
                    return Word::No(None);
                }
                match is_fresh && used.saturating_sub(self.tokens).saturating_add(cost) > limit {
                    true => Word::No(end()),
                    false => Word::Ask(self.wish(cost.saturating_sub(self.tokens), true, at)),
                }
            }
            (Bound::Rate { .. }, None) => Word::No(None),
        }
    }

    fn wish(&self, least: u64, may_keep: bool, at: i64) -> WantedSlice {
        let max = match self.limit.bound {
            Bound::Rate { burst, .. } => u64::from(burst) / 8,
            Bound::Quota { limit, .. } => (limit / 100).min(QUOTA_SLICE_MAX),
        };
        let is_soon = at.saturating_sub(self.told_at) < SOON_NS;
        let size = if is_soon { self.size } else { 1 };
        WantedSlice {
            least,
            want: if may_keep { size.min(max).max(least) } else { least },
            back: None,
        }
    }

    pub(super) fn supply(&mut self, slice: Slice, asked: At) {
        let (at, is_newest) = (asked.steady, asked.steady >= self.told_at);
        let is_soon = at.saturating_sub(self.told_at) < SOON_NS;
        self.size = if is_soon {
            self.size.saturating_mul(2).min(u64::from(u32::MAX))
        } else {
            2
        };
        self.told_at = self.told_at.max(at);
        match self.pace {
            // Another answer may have arrived since: the later time is closer to the store's state, and the earlier end
            // holds for both.
            Some(pace) => {
                self.counter = Some(rate(self.value().max(asked.steadied(slice.counter.value))));
                let ends = at.saturating_add(pace.lasts.max(1));
                self.ends = if self.tokens > 0 { self.ends.min(ends) } else { ends };
                self.tokens = self.tokens.saturating_add(slice.granted);
            }
            None => {
                let is_same = self.counter.is_some_and(|counter| counter.since == slice.counter.since);
                // An older answer about another period than the newest one.
                if self.counter.is_some() && !is_same && !is_newest {
                    return;
                }
                self.tokens = slice.granted.saturating_add(if is_same { self.tokens } else { 0 });
                self.counter = Some(slice.counter);
            }
        }
    }

    pub(super) fn note_counter(&mut self, counter: Counter, asked: At) {
        if asked.steady < self.told_at {
            return;
        }
        self.told_at = asked.steady;
        match self.pace {
            Some(_) => self.counter = Some(rate(self.value().max(asked.steadied(counter.value)))),
            None => {
                if self.counter.is_some_and(|known| known.since != counter.since) {
                    self.tokens = 0;
                }
                self.counter = Some(counter);
            }
        }
    }

    pub(super) fn spend(&mut self, cost: u64, at: i64) {
        match self.pace {
            Some(pace) if self.is_soft() => {
                self.counter = pace.take(self.value(), at, cost).ok().map(rate).or(self.counter);
            }
            // `take` accepts a use of a hard limit only if there are so many tokens.
            _ => {
                debug_assert!(self.tokens >= cost, "a use without tokens");
                self.tokens = self.tokens.saturating_sub(cost);
            }
        }
    }

    pub(super) fn standing(&self, now: At) -> LimitStanding {
        let at = now.steady;
        let (remaining, reset) = match (self.limit.bound, self.pace) {
            (Bound::Quota { limit, period }, _) => {
                let used = u64::try_from(self.value()).unwrap_or(0);
                let end = period
                    .end(now.time)
                    .map(|end| nanos(end).saturating_sub(nanos(now.time)));
                (limit.saturating_sub(used).saturating_add(self.tokens), end)
            }
            (Bound::Rate { .. }, Some(pace)) => {
                let pace = if self.is_soft() { pace } else { pace.of_slices() };
                let left = pace.left(self.value(), at).saturating_add(self.tokens);
                (left, Some(pace.full_in(self.value(), at)))
            }
            (Bound::Rate { .. }, None) => (0, None),
        };
        LimitStanding {
            limit: self.limit.clone(),
            remaining: remaining.min(self.limit.bound.limit()),
            reset_seconds: reset.map(seconds),
        }
    }

    pub(super) fn hand_back(&mut self, place: usize) -> Option<Need> {
        let counter = self.counter.filter(|_| self.pace.is_none() && self.tokens > 0)?;
        let tokens = std::mem::take(&mut self.tokens);
        Some(Need {
            place,
            limit: self.limit.clone(),
            wish: WantedSlice {
                least: 0,
                want: 0,
                back: Some((tokens, counter.since)),
            },
        })
    }

    pub(super) fn is_at_rest(&self, at: i64) -> bool {
        !self.is_soft() || self.value() <= at
    }
}
