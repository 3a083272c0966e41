//! The limits of one key on one node: its own counts of soft limits, and what is left of its slices of hard ones.

use super::counter::{Counter, Slice, Wish, is_turning, nanos, rate, slice};
use super::gcra::Pace;
use super::{Bound, Count, Limit, Limits, LimitsError};
use crate::coherence::Moment;
use crate::text::LimitName;
use crate::time::Timestamp;

const SECOND_NS: i64 = 1_000_000_000;
/// How long a node relies on the answer that a quota is used up: other nodes may return unused uses.
const USED_UP_NS: i64 = SECOND_NS;
/// Slices that follow each other within this time are made larger.
const SOON_NS: i64 = SECOND_NS;
/// The largest slice of a quota. This much may be lost with a node.
const QUOTA_SLICE_MAX: u64 = 1_000;

/// The time of a use, by two clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct At {
    /// The time, for the periods of quotas and for the store's counters. It may be set.
    pub time: Timestamp,
    /// The boot clock in nanoseconds, for what only this node counts. It never goes back.
    pub steady: i64,
}

impl At {
    /// Combines a time with the clocks that leases are counted on.
    pub fn new(time: Timestamp, moment: Moment) -> Self {
        Self {
            time,
            steady: i64::try_from(moment.boot).unwrap_or(i64::MAX),
        }
    }

    /// Converts a time of the store, in Unix ns, to the boot clock.
    fn steadied(self, time: i64) -> i64 {
        time.saturating_sub(nanos(self.time)).saturating_add(self.steady)
    }
}

/// The limits of one key.
#[derive(Debug)]
pub struct Meter {
    joined: Box<str>,
    resets: u32,
    gauges: Vec<Gauge>,
    /// Whether it was used since [`Meter::take_was_used`] was called.
    was_used: bool,
}

/// One limit, as this node knows it.
#[derive(Debug)]
struct Gauge {
    limit: Limit,
    pace: Option<Pace>,
    /// The node's own count of a soft limit; else the store's counter as of `told_at`. Its times are of the boot clock.
    counter: Option<Counter>,
    told_at: i64,
    /// Uses that may be accepted without the store, until `ends`.
    tokens: u64,
    ends: i64,
    /// The size of the next slice.
    size: u64,
}

/// The state of a limit after a use, or when the next use may be accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The limit.
    pub limit: Limit,
    /// Uses that would be accepted now, as far as is known here.
    pub remaining: u64,
    /// Seconds until all uses would be accepted again, rounded up; `None` is never.
    pub reset_seconds: Option<u64>,
}

/// A slice to request from the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Need {
    /// The index of the limit in the key's limits.
    pub place: usize,
    /// The limit.
    pub limit: Limit,
    /// The requested slice.
    pub wish: Wish,
}

/// The store's answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Supply {
    /// The request.
    pub need: Need,
    /// When it was requested; the counter is as of that.
    pub asked: At,
    /// The slice.
    pub slice: Slice,
}

/// The result of a use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Taken {
    /// It is counted.
    Yes,
    /// It is refused. Nothing is counted.
    No {
        /// Seconds after which it might be accepted, rounded up and at least 1; `None` is never.
        retry_seconds: Option<u64>,
    },
    /// The store must be read first. Nothing is counted.
    Ask(Vec<Need>),
}

/// The answer of one limit to a use.
enum Word {
    Yes,
    No(Option<i64>),
    Ask(Wish),
}

impl Meter {
    /// Returns a meter without counts for a key whose limits are `joined`.
    pub fn new(joined: &str) -> Result<Self, LimitsError> {
        let limits = Limits::from_joined(joined)?;
        Ok(Self {
            joined: joined.into(),
            resets: limits.resets,
            gauges: limits.counted.0.into_iter().map(Gauge::new).collect(),
            was_used: true,
        })
    }

    /// Whether it is for these limits: those of a key may change.
    pub fn is_for(&self, joined: &str) -> bool {
        *self.joined == *joined
    }

    /// Takes over the counts of an older meter of the same key, for limits that are the same and were not reset.
    pub fn inherit(&mut self, older: Self) {
        if older.resets != self.resets {
            return;
        }
        for gauge in older.gauges {
            match self.gauges.iter_mut().find(|own| own.limit.name == gauge.limit.name) {
                Some(own) if own.limit == gauge.limit => *own = gauge,
                Some(own) if own.is_soft() && gauge.is_soft() => own.counter = gauge.counter,
                Some(_) | None => {}
            }
        }
    }

    /// Counts a use of `cost` with every limit, or with none. `supplied` is what the store granted for this use.
    pub fn take(&mut self, cost: u64, now: At, supplied: &[Supply]) -> Taken {
        self.was_used = true;
        for gauge in &mut self.gauges {
            gauge.lapse(now);
        }
        let paid: Vec<_> = supplied.iter().filter_map(|supply| self.supply(supply)).collect();
        if !paid.is_empty() {
            // The answer may have arrived after the end of the period that it is for.
            self.gauges.iter_mut().for_each(|gauge| gauge.turn(now.time));
        }
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
            gauge.spend(cost, now.steady);
        }
        Taken::Yes
    }

    /// Takes over a slice; returns the limit's index if there is anything in it.
    fn supply(&mut self, supply: &Supply) -> Option<usize> {
        let Need { place, limit, .. } = &supply.need;
        let gauge = self.gauges.get_mut(*place).filter(|gauge| gauge.limit == *limit)?;
        gauge.supply(supply.slice, supply.asked);
        (supply.slice.granted > 0).then_some(*place)
    }

    /// Whether the state of some limit is only known from the store.
    pub fn is_shared(&self) -> bool {
        self.gauges.iter().any(|gauge| !gauge.is_soft())
    }

    /// Takes over the store's counters as of `asked`, without a use.
    pub fn told(&mut self, counters: &[(LimitName, Counter)], asked: At) {
        for gauge in self.gauges.iter_mut().filter(|gauge| !gauge.is_soft()) {
            gauge.lapse(asked);
            let counter = counters.iter().find(|(name, _)| *name == gauge.limit.name);
            let nothing = Wish {
                least: 0,
                want: 0,
                back: None,
            };
            let stands = slice(
                &gauge.limit.bound,
                counter.map(|(_, counter)| *counter),
                nothing,
                asked.time,
            );
            gauge.told(stands.counter, asked);
        }
    }

    /// The key has changed: its hard limits may have been reset, or removed and set again. The store's counters are
    /// dropped, and what is left of slices is lost.
    pub fn doubt(&mut self) {
        for gauge in self.gauges.iter_mut().filter(|gauge| !gauge.is_soft()) {
            *gauge = Gauge::new(gauge.limit.clone());
        }
    }

    /// Returns the state of every limit.
    pub fn standings(&self, now: At) -> Vec<Standing> {
        self.gauges.iter().map(|gauge| gauge.standing(now)).collect()
    }

    /// Takes what is left of slices of quotas, to return it to the store.
    pub fn hand_back(&mut self) -> Vec<Need> {
        let gauges = self.gauges.iter_mut().enumerate();
        gauges.filter_map(|(place, gauge)| gauge.hand_back(place)).collect()
    }

    /// Returns whether it was used since the last call. Uses no clock, which may be set.
    pub fn take_was_used(&mut self) -> bool {
        std::mem::take(&mut self.was_used)
    }

    /// Whether a new meter would know as much: no count is left that only this one has.
    pub fn is_at_rest(&self, now: At) -> bool {
        self.gauges
            .iter()
            .all(|gauge| gauge.tokens == 0 && gauge.is_at_rest(now.steady))
    }
}

impl Gauge {
    fn new(limit: Limit) -> Self {
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

    fn is_soft(&self) -> bool {
        matches!(self.limit.bound, Bound::Rate { count: Count::Soft, .. })
    }

    fn value(&self) -> i64 {
        self.counter.map_or(0, |counter| counter.value)
    }

    /// Drops what is over: expired slices, and a period.
    fn lapse(&mut self, now: At) {
        if now.steady >= self.ends {
            self.tokens = 0;
        }
        self.turn(now.time);
    }

    /// Drops the count of a quota for a period that is over. The next period may be counted already, by the store's
    /// answer, where another node began it first.
    fn turn(&mut self, now: Timestamp) {
        let Bound::Quota { period, .. } = self.limit.bound else {
            return;
        };
        let is_of = |since: i64| since == period.start(now).millis() || is_turning(period, since, now);
        if self.counter.is_some_and(|counter| !is_of(counter.since)) {
            (self.counter, self.tokens) = (None, 0);
        }
    }

    fn asked(&self, cost: u64, now: At) -> Word {
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

    fn supply(&mut self, slice: Slice, asked: At) {
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

    fn told(&mut self, counter: Counter, asked: At) {
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

    fn spend(&mut self, cost: u64, at: i64) {
        match self.pace {
            Some(pace) if self.is_soft() => {
                self.counter = pace.take(self.value(), at, cost).ok().map(rate).or(self.counter);
            }
            _ => self.tokens = self.tokens.saturating_sub(cost),
        }
    }

    fn standing(&self, now: At) -> Standing {
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

/// Returns seconds, rounded up.
fn seconds(ns: i64) -> u64 {
    u64::try_from(ns).unwrap_or(0).div_ceil(1_000_000_000)
}

#[cfg(test)]
mod tests;
