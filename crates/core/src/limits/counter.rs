//! What is stored of a hard limit, and how nodes take slices of it.

use super::Bound;
use super::gcra::Pace;
use crate::time::Timestamp;

const MS_NS: i64 = 1_000_000;
/// What [`Counter::since`] is for a rate, which has no periods.
const NO_PERIOD: i64 = -1;

/// The state of one limit of one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counter {
    /// The start of the period that is counted, in Unix ms; -1 for a rate.
    pub since: i64,
    /// Uses in the period; for a rate, when a whole burst would be let through again, in Unix ns.
    pub value: i64,
}

/// What a node would like to let through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wish {
    /// Less is of no use.
    pub least: u64,
    /// So much if there is as much.
    pub want: u64,
    /// Uses of an earlier slice that nobody has come for, and the period they are of: only of quotas.
    pub back: Option<(u64, i64)>,
}

/// What it may let through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slice {
    /// Uses; 0 if there are less than the least.
    pub granted: u64,
    /// The state with them counted.
    pub counter: Counter,
}

/// Counts a slice. Whoever stores [`Slice::counter`] must have locked what `counter` was read from.
pub fn slice(bound: &Bound, counter: Option<Counter>, wish: Wish, now: Timestamp) -> Slice {
    match (bound, Pace::of(bound)) {
        (Bound::Quota { limit, period }, _) => {
            let since = period.start(now).millis();
            let used = counter
                .filter(|counter| counter.since == since)
                .map_or(0, |counter| counter.value);
            let back = wish
                .back
                .filter(|(_, of)| *of == since)
                .map_or(0, |(count, _)| number(count));
            let used = used.saturating_sub(back).max(0);
            let left = u64::try_from(number(*limit).saturating_sub(used)).unwrap_or(0);
            let granted = granted(left, wish);
            Slice {
                granted,
                counter: Counter {
                    since,
                    value: used.saturating_add(number(granted)),
                },
            }
        }
        (Bound::Rate { .. }, Some(pace)) => {
            let pace = pace.of_slices();
            let now = nanos(now);
            let full_at = counter
                .filter(|counter| counter.since == NO_PERIOD)
                .map_or(0, |counter| counter.value);
            let granted = granted(pace.left(full_at, now), wish);
            let value = match granted {
                0 => full_at,
                count => pace.take(full_at, now, count).unwrap_or(full_at),
            };
            Slice {
                granted,
                counter: rate(value),
            }
        }
        (Bound::Rate { .. }, None) => Slice {
            granted: 0,
            counter: rate(0),
        },
    }
}

fn granted(left: u64, wish: Wish) -> u64 {
    if left < wish.least { 0 } else { left.min(wish.want) }
}

/// The counter of a rate.
pub(super) fn rate(value: i64) -> Counter {
    Counter {
        since: NO_PERIOD,
        value,
    }
}

/// A time in Unix nanoseconds.
pub(super) fn nanos(time: Timestamp) -> i64 {
    time.millis().saturating_mul(MS_NS)
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::{Count, Period};
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn wish(least: u64, want: u64) -> Wish {
        Wish {
            least,
            want,
            back: None,
        }
    }

    #[test]
    fn a_quota_is_given_out_once_and_begins_anew_with_its_period() {
        let bound = Bound::Quota {
            limit: 10,
            period: Period::Day,
        };
        let first = slice(&bound, None, wish(1, 7), NOW);
        assert_eq!((first.granted, first.counter.value), (7, 7));
        let second = slice(&bound, Some(first.counter), wish(1, 7), NOW);
        assert_eq!(second.granted, 3);
        assert_eq!(slice(&bound, Some(second.counter), wish(1, 1), NOW).granted, 0);
        assert_eq!(slice(&bound, Some(first.counter), wish(4, 4), NOW).granted, 0);
        let back = Wish {
            back: Some((2, second.counter.since)),
            ..wish(0, 0)
        };
        let returned = slice(&bound, Some(second.counter), back, NOW);
        assert_eq!((returned.granted, returned.counter.value), (0, 8));
        let tomorrow = NOW.plus_seconds(86_400);
        let late = slice(&bound, Some(second.counter), back, tomorrow);
        assert_eq!(late.counter.value, 0);
        assert_eq!(slice(&bound, Some(second.counter), wish(10, 10), tomorrow).granted, 10);
    }

    #[test]
    fn a_rate_of_a_few_is_given_out_to_its_last_use() {
        let bound = Bound::Rate {
            limit: 5,
            seconds: 60,
            burst: 5,
            count: Count::Hard,
        };
        let mut counter = None;
        for _ in 0..5 {
            let one = slice(&bound, counter, wish(1, 1), NOW);
            assert_eq!(one.granted, 1);
            counter = Some(one.counter);
        }
        assert_eq!(slice(&bound, counter, wish(1, 1), NOW).granted, 0);
        assert_eq!(slice(&bound, counter, wish(1, 9), NOW.plus_seconds(24)).granted, 2);
    }

    #[test]
    fn what_one_kind_counted_says_nothing_to_the_other() {
        let quota = Bound::Quota {
            limit: 5,
            period: Period::Total,
        };
        assert_eq!(slice(&quota, Some(rate(i64::MAX)), wish(5, 5), NOW).granted, 5);
    }
}
