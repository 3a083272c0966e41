//! The limits of one key on one node: its own counts of soft limits, and what is left of its slices of hard ones.

mod gauge;

use super::counter::{Counter, Slice, WantedSlice, nanos, slice};
use super::{Limit, Limits, LimitsError};
use crate::coherence::Moment;
use crate::coherence::invariants::InvariantResult;
use crate::text::LimitName;
use crate::time::Timestamp;
use gauge::{Gauge, Word};

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

/// The state of a limit after a use, or when the next use may be accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LimitStanding {
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
    pub wish: WantedSlice,
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
        // Before the store is asked: a use that one limit refuses needs no slice of another.
        if is_over {
            let retry_seconds = longest.map(|wait| seconds(wait).max(1));
            return Taken::No { retry_seconds };
        }
        if !needs.is_empty() {
            return Taken::Ask(needs);
        }
        // Only now, when every limit accepts the use: a refused use is counted by none of them.
        for gauge in &mut self.gauges {
            gauge.spend(cost, now.steady);
        }
        debug_assert_eq!(self.check(), Ok(()));
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
    pub fn note_counters(&mut self, counters: &[(LimitName, Counter)], asked: At) {
        for gauge in self.gauges.iter_mut().filter(|gauge| !gauge.is_soft()) {
            gauge.lapse(asked);
            let counter = counters.iter().find(|(name, _)| *name == gauge.limit.name);
            let nothing = WantedSlice {
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
            gauge.note_counter(stands.counter, asked);
        }
    }

    /// The key has changed: its hard limits may have been reset, or removed and set again. The store's counters are
    /// dropped, and what is left of slices is lost.
    pub fn doubt(&mut self) {
        for gauge in self.gauges.iter_mut().filter(|gauge| !gauge.is_soft()) {
            *gauge = Gauge::new(gauge.limit.clone());
        }
    }

    /// Checks [`Invariant::LimitTokens`](crate::coherence::invariants::Invariant::LimitTokens) of every limit.
    pub fn check(&self) -> InvariantResult {
        self.gauges.iter().try_for_each(Gauge::check)
    }

    /// Returns the state of every limit.
    pub fn standings(&self, now: At) -> Vec<LimitStanding> {
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

/// Returns seconds, rounded up.
fn seconds(ns: i64) -> u64 {
    u64::try_from(ns).unwrap_or(0).div_ceil(1_000_000_000)
}

#[cfg(test)]
mod tests;
