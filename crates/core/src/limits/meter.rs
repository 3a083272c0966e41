//! What one node knows of the limits of one key: soft counts of its own, and what is left of its slices of hard ones.

use super::counter::{Counter, Slice, Wish, nanos, rate};
use super::gcra::Pace;
use super::{Bound, Count, Limit, Limits, LimitsError};
use crate::time::Timestamp;

const SECOND_NS: i64 = 1_000_000_000;
/// How long the word that a quota is used up is believed: others may give back what they did not use.
const USED_UP_NS: i64 = SECOND_NS;
/// Slices that follow each other within this time become larger.
const SOON_NS: i64 = SECOND_NS;
/// The largest slice of a quota: so much may be lost with a node.
const QUOTA_SLICE_MAX: u64 = 1_000;

/// The meter of one key.
#[derive(Debug)]
pub struct Meter {
    joined: Box<str>,
    gauges: Vec<Gauge>,
    used_at: Timestamp,
}

/// One limit, as far as this node knows it.
#[derive(Debug)]
struct Gauge {
    limit: Limit,
    pace: Option<Pace>,
    /// Its own count if it is soft; else what the store said last, at `told_at`.
    counter: Option<Counter>,
    told_at: i64,
    /// Uses that may still be let through without asking, until `ends`.
    tokens: u64,
    ends: i64,
    /// How much to ask for.
    size: u64,
}

/// How a limit stands after a use, or when there may be none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The limit.
    pub limit: Limit,
    /// Uses that would be let through now, as far as is known here.
    pub remaining: u64,
    /// Seconds until all of them would be again, rounded up; `None` is never.
    pub reset_seconds: Option<u64>,
}

/// Something to ask the store for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Need {
    /// Its place among the key's limits.
    pub place: usize,
    /// The limit.
    pub limit: Limit,
    /// How much of it.
    pub wish: Wish,
}

/// What the store gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Supply {
    /// For what.
    pub need: Need,
    /// As of when it is counted.
    pub asked: Timestamp,
    /// How much of it.
    pub slice: Slice,
}

/// What became of a use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Taken {
    /// It is counted.
    Yes,
    /// It may not be. Nothing is counted.
    No {
        /// Seconds after which it might be, rounded up and at least 1; `None` is never.
        retry_seconds: Option<u64>,
    },
    /// The store must be asked first. Nothing is counted.
    Ask(Vec<Need>),
}

/// What one limit says to a use.
enum Word {
    Yes,
    No(Option<i64>),
    Ask(Wish),
}

impl Meter {
    /// A meter for a key whose limits are `joined`, which has counted nothing yet.
    pub fn new(joined: &str, now: Timestamp) -> Result<Self, LimitsError> {
        let limits = Limits::from_joined(joined)?;
        Ok(Self {
            joined: joined.into(),
            gauges: limits.counted.0.into_iter().map(Gauge::new).collect(),
            used_at: now,
        })
    }

    /// Whether it is for these limits: a key's may change.
    pub fn is_for(&self, joined: &str) -> bool {
        *self.joined == *joined
    }

    /// Takes over what an older meter of the same key has counted, where a limit is still the same.
    pub fn inherit(&mut self, older: Self) {
        for gauge in older.gauges {
            match self.gauges.iter_mut().find(|own| own.limit.name == gauge.limit.name) {
                Some(own) if own.limit == gauge.limit => *own = gauge,
                Some(own) if own.is_soft() && gauge.is_soft() => own.counter = gauge.counter,
                Some(_) | None => {}
            }
        }
    }

    /// Counts a use of `cost` with every limit, or with none. `supplied` is what the store gave for this use.
    pub fn take(&mut self, cost: u64, now: Timestamp, supplied: &[Supply]) -> Taken {
        self.used_at = self.used_at.max(now);
        let at = nanos(now);
        for gauge in &mut self.gauges {
            gauge.lapse(now);
        }
        let paid: Vec<_> = supplied.iter().filter_map(|supply| self.supply(supply)).collect();
        let (mut longest, mut is_over, mut needs) = (Some(0), false, Vec::new());
        for (place, gauge) in self.gauges.iter().enumerate() {
            if paid.contains(&place) && gauge.tokens >= cost {
                continue;
            }
            match gauge.asked(cost, now) {
                Word::Yes => {}
                Word::No(wait) => {
                    is_over = true;
                    longest = longest.zip(wait).map(|(one, other)| one.max(other));
                }
                Word::Ask(wish) => needs.push(Need {
                    place,
                    limit: gauge.limit.clone(),
                    wish,
                }),
            }
        }
        if is_over {
            let retry_seconds = longest.map(|wait| seconds(wait).max(1));
            return Taken::No { retry_seconds };
        }
        if !needs.is_empty() {
            return Taken::Ask(needs);
        }
        for gauge in &mut self.gauges {
            gauge.spend(cost, at);
        }
        Taken::Yes
    }

    /// Takes over what the store gave; its place, if that is of any use.
    fn supply(&mut self, supply: &Supply) -> Option<usize> {
        let Need { place, limit, .. } = &supply.need;
        let gauge = self.gauges.get_mut(*place).filter(|gauge| gauge.limit == *limit)?;
        gauge.supply(supply.slice, nanos(supply.asked));
        (supply.slice.granted > 0).then_some(*place)
    }

    /// How every limit stands.
    pub fn standings(&self, now: Timestamp) -> Vec<Standing> {
        self.gauges.iter().map(|gauge| gauge.standing(now)).collect()
    }

    /// Takes out what is left of slices of quotas, to give it back.
    pub fn hand_back(&mut self) -> Vec<Need> {
        let gauges = self.gauges.iter_mut().enumerate();
        gauges.filter_map(|(place, gauge)| gauge.hand_back(place)).collect()
    }

    /// When it was last asked.
    pub fn used_at(&self) -> Timestamp {
        self.used_at
    }

    /// Whether a new meter would know as much: nothing that only this one counts is left.
    pub fn is_at_rest(&self, now: Timestamp) -> bool {
        self.gauges
            .iter()
            .all(|gauge| gauge.tokens == 0 && gauge.is_at_rest(nanos(now)))
    }
}

impl Gauge {
    fn new(limit: Limit) -> Self {
        Self {
            pace: Pace::of(&limit.bound),
            limit,
            counter: None,
            told_at: 0,
            tokens: 0,
            ends: i64::MAX,
            size: 1,
        }
    }

    fn is_soft(&self) -> bool {
        matches!(self.limit.bound, Bound::Rate { count: Count::Soft, .. })
    }

    fn value(&self) -> i64 {
        self.counter.map_or(0, |counter| counter.value)
    }

    /// Lets go of what is over: slices whose time has passed, and a period.
    fn lapse(&mut self, now: Timestamp) {
        if nanos(now) >= self.ends {
            self.tokens = 0;
        }
        if let Bound::Quota { period, .. } = self.limit.bound
            && self
                .counter
                .is_some_and(|counter| counter.since != period.start(now).millis())
        {
            (self.counter, self.tokens) = (None, 0);
        }
    }

    fn asked(&self, cost: u64, now: Timestamp) -> Word {
        let at = nanos(now);
        match (self.limit.bound, self.pace) {
            (_, Some(pace)) if self.is_soft() => match pace.take(self.value(), at, cost) {
                Ok(_) => Word::Yes,
                Err(wait) => Word::No(wait),
            },
            _ if self.tokens >= cost => Word::Yes,
            // What the store said last is the least that is used by now: as long as that leaves nothing, it need not be asked.
            (_, Some(pace)) => match pace.of_slices().take(self.value(), at, cost) {
                Ok(_) => Word::Ask(self.wish(cost, pace.lasts > 0, at)),
                Err(wait) => Word::No(wait),
            },
            (Bound::Quota { limit, period }, None) => {
                let end = || period.end(now).map(|end| nanos(end).saturating_sub(at));
                let used = u64::try_from(self.value()).unwrap_or(0);
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

    fn wish(&self, least: u64, may_keep: bool, at: i64) -> Wish {
        let max = match self.limit.bound {
            Bound::Rate { burst, .. } => u64::from(burst) / 8,
            Bound::Quota { limit, .. } => (limit / 100).min(QUOTA_SLICE_MAX),
        };
        let is_soon = at.saturating_sub(self.told_at) < SOON_NS;
        let size = if is_soon { self.size } else { 1 };
        Wish {
            least,
            want: if may_keep { size.min(max).max(least) } else { least },
            back: None,
        }
    }

    fn supply(&mut self, slice: Slice, asked: i64) {
        let is_soon = asked.saturating_sub(self.told_at) < SOON_NS;
        self.size = if is_soon {
            self.size.saturating_mul(2).min(u64::from(u32::MAX))
        } else {
            2
        };
        self.told_at = self.told_at.max(asked);
        match self.pace {
            // Another one may have been told meanwhile: the later time is the truer one, and the earlier end holds for both.
            Some(pace) => {
                self.counter = Some(rate(self.value().max(slice.counter.value)));
                let ends = asked.saturating_add(pace.lasts.max(1));
                self.ends = if self.tokens > 0 { self.ends.min(ends) } else { ends };
                self.tokens = self.tokens.saturating_add(slice.granted);
            }
            None => {
                let is_same = self.counter.is_some_and(|counter| counter.since == slice.counter.since);
                if self.counter.is_some_and(|counter| counter.since > slice.counter.since) {
                    return;
                }
                self.tokens = slice.granted.saturating_add(if is_same { self.tokens } else { 0 });
                self.counter = Some(slice.counter);
            }
        }
    }

    fn spend(&mut self, cost: u64, at: i64) {
        match self.pace {
            Some(pace) if self.is_soft() => {
                self.counter = pace.take(self.value(), at, cost).ok().map(rate).or(self.counter);
            }
            _ => self.tokens = self.tokens.saturating_sub(cost),
        }
    }

    fn standing(&self, now: Timestamp) -> Standing {
        let at = nanos(now);
        let (remaining, reset) = match (self.limit.bound, self.pace) {
            (Bound::Quota { limit, period }, _) => {
                let used = u64::try_from(self.value()).unwrap_or(0);
                let end = period.end(now).map(|end| nanos(end).saturating_sub(at));
                (limit.saturating_sub(used).saturating_add(self.tokens), end)
            }
            (Bound::Rate { .. }, Some(pace)) => {
                let pace = if self.is_soft() { pace } else { pace.of_slices() };
                let left = pace.left(self.value(), at).saturating_add(self.tokens);
                (left, Some(pace.full_in(self.value(), at)))
            }
            (Bound::Rate { .. }, None) => (0, None),
        };
        Standing {
            limit: self.limit.clone(),
            remaining: remaining.min(self.limit.bound.limit()),
            reset_seconds: reset.map(seconds),
        }
    }

    fn hand_back(&mut self, place: usize) -> Option<Need> {
        let counter = self.counter.filter(|_| self.pace.is_none() && self.tokens > 0)?;
        let tokens = std::mem::take(&mut self.tokens);
        Some(Need {
            place,
            limit: self.limit.clone(),
            wish: Wish {
                least: 0,
                want: 0,
                back: Some((tokens, counter.since)),
            },
        })
    }

    fn is_at_rest(&self, at: i64) -> bool {
        !self.is_soft() || self.value() <= at
    }
}

/// Whole seconds, rounded up.
fn seconds(ns: i64) -> u64 {
    u64::try_from(ns).unwrap_or(0).div_ceil(1_000_000_000)
}

#[cfg(test)]
mod tests;
