//! The generic cell rate algorithm (ITU-T I.371, Annex A) in integer nanoseconds.
//!
//! Its state is one time: when the bucket would be full again ("theoretical arrival time"). A use moves it by one
//! interval, and is accepted if it is then at most a complete burst after now.

use super::Bound;
use crate::coherence::reference::CLOCKS_DIFFER_MS;

const SECOND_NS: i64 = 1_000_000_000;
/// Uses that are further apart than this are counted in the store one by one.
const NEAR_NS: i64 = 100_000_000;
/// The longest time that a slice lasts.
const SLICE_NS: i64 = SECOND_NS;

/// A rate in the algorithm's parameters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pace {
    /// The time between two uses, rounded up so that the rate is never exceeded.
    interval: i64,
    /// How far ahead the time of the full bucket may be.
    tolerance: i64,
    /// How long a slice of this rate lasts; 0: only for the one use it was taken for.
    pub(super) lasts: i64,
}

impl Pace {
    /// Returns `None` for a quota.
    pub(super) fn of(bound: &Bound) -> Option<Self> {
        let Bound::Rate {
            limit, seconds, burst, ..
        } = *bound
        else {
            return None;
        };
        // `Limit::new` refuses 0. This must not divide by it, whatever is passed.
        let (limit, time) = (i64::from(limit.max(1)), i64::from(seconds).saturating_mul(SECOND_NS));
        let interval = (time.saturating_add(limit - 1) / limit).max(1);
        let tolerance = interval.saturating_mul(i64::from(burst));
        // A tenth of the burst at most: so much of it is kept back where slices are taken.
        let lasts = if interval < NEAR_NS {
            SLICE_NS.min(tolerance / 10)
        } else {
            0
        };
        Some(Self {
            interval,
            tolerance,
            lasts,
        })
    }

    /// Returns the pace of slices: a slice may be used up to `lasts` after it was counted, so that much of the
    /// tolerance is kept back. Then no span of time sees more uses than without slices.
    pub(super) fn of_slices(self) -> Self {
        Self {
            tolerance: self.tolerance - self.lasts,
            ..self
        }
    }

    /// Bounds a stored time at `now`. One that no uses can have caused, by clocks within the allowed difference, was
    /// written by a clock that was ahead: it is set back to a complete burst, which is the longest that a wrong clock
    /// can close a rate.
    pub(super) fn bounded(self, full_at: i64, now: i64) -> i64 {
        let furthest = now.saturating_add(self.tolerance);
        match full_at > furthest.saturating_add(i64::from(CLOCKS_DIFFER_MS).saturating_mul(1_000_000)) {
            true => furthest,
            false => full_at,
        }
    }

    /// Bounds a time to what uses until `now` can have caused: a clock that was set back must not deny a key for days.
    fn from(self, full_at: i64, now: i64) -> i64 {
        full_at.clamp(now, now.saturating_add(self.tolerance))
    }

    /// Takes `cost` uses at `now`: returns the new time, or how long to wait until they would be accepted; `Err(None)`
    /// is never.
    pub(super) fn take(self, full_at: i64, now: i64, cost: u64) -> Result<i64, Option<i64>> {
        let whole = self.interval.saturating_mul(i64::try_from(cost).unwrap_or(i64::MAX));
        if whole > self.tolerance {
            return Err(None);
        }
        let next = self.from(full_at, now).saturating_add(whole);
        match next.saturating_sub(now).saturating_sub(self.tolerance) {
            ..=0 => Ok(next),
            wait => Err(Some(wait)),
        }
    }

    /// Returns how many uses would be accepted at once.
    pub(super) fn left(self, full_at: i64, now: i64) -> u64 {
        let room = self.tolerance - (self.from(full_at, now) - now);
        u64::try_from(room / self.interval).unwrap_or(0)
    }

    /// Returns how long until a complete burst would be accepted.
    pub(super) fn full_in(self, full_at: i64, now: i64) -> i64 {
        self.from(full_at, now) - now
    }
}

#[cfg(test)]
mod tests {
    use super::super::Count;
    use super::*;
    use proptest::prelude::*;

    fn pace(limit: u32, seconds: u32, burst: u32) -> Pace {
        let count = Count::Soft;
        Pace::of(&Bound::Rate {
            limit,
            seconds,
            burst,
            count,
        })
        .unwrap()
    }

    #[test]
    fn a_burst_is_let_through_and_then_one_an_interval() {
        let pace = pace(60, 60, 3);
        let now = 1_700_000_000 * SECOND_NS;
        let mut full_at = 0;
        for left in [2, 1, 0] {
            full_at = pace.take(full_at, now, 1).unwrap();
            assert_eq!(pace.left(full_at, now), left);
        }
        assert_eq!(pace.take(full_at, now, 1), Err(Some(SECOND_NS)));
        assert!(pace.take(full_at, now + SECOND_NS - 1, 1).is_err());
        assert!(pace.take(full_at, now + SECOND_NS, 1).is_ok());
        assert_eq!(pace.take(full_at, now, 4), Err(None));
        assert_eq!(pace.full_in(full_at, now), 3 * SECOND_NS);
    }

    #[test]
    fn a_clock_that_was_set_back_closes_nothing_for_longer_than_a_burst() {
        let pace = pace(1, 60, 1);
        let now = 1_700_000_000 * SECOND_NS;
        let full_at = pace.take(0, now, 1).unwrap();
        let back = now - 86_400 * SECOND_NS;
        assert_eq!(pace.take(full_at, back, 1), Err(Some(60 * SECOND_NS)));
    }

    proptest! {
        /// Whatever the uses are, no span of time has more than a burst and what the rate allows in it.
        #[test]
        fn no_span_of_time_sees_more_than_the_rate(
            limit in 1_u32..500, seconds in 1_u32..100, burst in 1_u32..50,
            steps in prop::collection::vec((0_i64..3_000_000_000, 1_u64..4), 1..200),
        ) {
            let pace = pace(limit, seconds, burst.min(limit));
            let (mut now, mut full_at, mut taken) = (SECOND_NS, 0, Vec::new());
            for (step, cost) in steps {
                now += step;
                if let Ok(next) = pace.take(full_at, now, cost) {
                    full_at = next;
                    taken.push((now, cost));
                }
            }
            for (place, (begun, _)) in taken.iter().enumerate() {
                let mut sum = 0;
                for (at, cost) in &taken[place..] {
                    sum += i64::try_from(*cost).unwrap();
                    prop_assert!(sum * pace.interval <= pace.tolerance + (at - begun));
                }
            }
        }
    }
}
