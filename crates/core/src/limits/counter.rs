//! The stored counter of a hard limit, and how nodes take slices of it.

use super::gcra::Pace;
use super::{Bound, Period};
use crate::coherence::reference::CLOCKS_DIFFER_MS;
use crate::time::Timestamp;

const MS_NS: i64 = 1_000_000;
/// The value of [`Counter::since`] for a rate, which has no periods.
const NO_PERIOD: i64 = -1;

/// The state of one limit of one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counter {
    /// The start of the period that is counted, in Unix ms; -1 for a rate.
    pub since: i64,
    /// Uses in the period; for a rate, when a complete burst would be accepted again, in Unix ns.
    pub value: i64,
    /// The same for another period of a quota, the last one counted beside this one: a clock that goes back finds its
    /// count, and one that reaches a later period again finds that.
    pub other: Option<(i64, i64)>,
}

/// The slice that a node requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WantedSlice {
    /// Fewer uses are of no use.
    pub least: u64,
    /// The most uses to grant.
    pub want: u64,
    /// Unused uses of an earlier slice to return, and their period: only of quotas.
    pub back: Option<(u64, i64)>,
}

impl WantedSlice {
    /// Returns the request without uses: it only returns unused ones.
    #[must_use]
    pub fn for_none(self) -> Self {
        Self {
            least: 0,
            want: 0,
            ..self
        }
    }
}

/// The slice that a node gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slice {
    /// Uses; 0 if there are fewer than the least.
    pub granted: u64,
    /// The counter, with these uses counted.
    pub counter: Counter,
}

/// Counts a slice. The caller must hold the lock of the row that `counter` was read from, until it has stored
/// [`Slice::counter`].
pub fn slice(bound: &Bound, counter: Option<Counter>, wish: WantedSlice, now: Timestamp) -> Slice {
    match (bound, Pace::of(bound)) {
        (Bound::Quota { limit, period }, _) => {
            // The period first: uses that are returned belong to the one that they were taken from.
            let counter = turned(*period, *limit, counter, now);
            let counter = wish.back.map_or(counter, |back| counter.without(back));
            let left = u64::try_from(number(*limit).saturating_sub(counter.value)).unwrap_or(0);
            let granted = granted(left, wish);
            Slice {
                granted,
                counter: Counter {
                    value: counter.value.saturating_add(number(granted)),
                    ..counter
                },
            }
        }
        (Bound::Rate { .. }, Some(pace)) => {
            let pace = pace.of_slices();
            let now = nanos(now);
            let full_at = counter
                .filter(|counter| counter.since == NO_PERIOD)
                .map_or(0, |counter| pace.bounded(counter.value, now));
            let granted = granted(pace.left(full_at, now), wish);
            // Taking nothing would still move a time in the past to the present.
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

/// Returns the counter of the period that a use at `now` is counted in.
///
/// That is the period of `now`. Near its end, requests overtake each other and the clocks of nodes differ, so the next
/// period is used if it is counted already ([`CLOCKS_DIFFER_MS`]): a late request finds no uses left in a period that
/// is over. A counter never drops the newer of two periods for an older one. If the clock was set back to a period that
/// is not stored any more, that period counts as used up, and the key is denied until the period ends at the latest.
/// Two periods are stored: only a clock that alternates between more of them can give uses twice.
fn turned(period: Period, limit: u64, counter: Option<Counter>, now: Timestamp) -> Counter {
    let start = period.start(now).millis();
    let fresh = |since, value, other| Counter { since, value, other };
    let Some(known) = counter.filter(|counter| counter.since != NO_PERIOD) else {
        return fresh(start, 0, None);
    };
    let newest = known.other.map_or(known.since, |(since, _)| since.max(known.since));
    let is_turning = is_turning(period, newest, now);
    let since = if is_turning { newest } else { start };
    let this = (known.since, known.value);
    match known.other {
        _ if since == known.since => known,
        Some((other, value)) if since == other => fresh(since, value, Some(this)),
        Some(other) => {
            let is_forgotten = since < known.since.min(other.0);
            let value = if is_forgotten { number(limit) } else { 0 };
            fresh(since, value, Some(if other.0 > this.0 { other } else { this }))
        }
        None => fresh(since, 0, Some(this)),
    }
}

/// Whether `next`, the start of a period, is the next one at `now`, and so close that it may have begun by another
/// clock.
pub(super) fn is_turning(period: Period, next: i64, now: Timestamp) -> bool {
    let end = period.end(now).map(Timestamp::millis);
    end == Some(next) && next.saturating_sub(now.millis()) <= i64::from(CLOCKS_DIFFER_MS)
}

impl Counter {
    /// Subtracts uses that were granted in a period and are returned. Has no effect for a period that is not stored.
    fn without(self, (count, of): (u64, i64)) -> Self {
        let less = |value: i64| value.saturating_sub(number(count)).max(0);
        match self.other {
            _ if of == self.since => Self {
                value: less(self.value),
                ..self
            },
            Some((since, value)) if since == of => Self {
                other: Some((since, less(value))),
                ..self
            },
            _ => self,
        }
    }
}

fn granted(left: u64, wish: WantedSlice) -> u64 {
    if left < wish.least { 0 } else { left.min(wish.want) }
}

/// Returns the counter of a rate.
pub(super) fn rate(value: i64) -> Counter {
    Counter {
        since: NO_PERIOD,
        value,
        other: None,
    }
}

/// Returns a time in Unix nanoseconds.
pub(super) fn nanos(time: Timestamp) -> i64 {
    time.millis().saturating_mul(MS_NS)
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::Count;
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn wish(least: u64, want: u64) -> WantedSlice {
        WantedSlice {
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
        let back = WantedSlice {
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
    fn a_use_from_before_the_turn_counts_in_the_period_that_has_begun() {
        for period in [Period::Hour, Period::Day, Period::Month] {
            let bound = Bound::Quota { limit: 10, period };
            let after = period.end(NOW).unwrap();
            let before = Timestamp::from_millis(after.millis() - 1);
            let first = slice(&bound, None, wish(1, 6), after);
            let late = slice(&bound, Some(first.counter), wish(1, 3), before);
            assert_eq!(
                (late.granted, late.counter.value, late.counter.since),
                (3, 9, after.millis())
            );
            let back = WantedSlice {
                back: Some((3, period.start(before).millis())),
                ..wish(0, 0)
            };
            let late = slice(&bound, Some(late.counter), back, before);
            assert_eq!(late.counter.value, 9, "what is left of the period before adds nothing");
            assert_eq!(slice(&bound, Some(late.counter), wish(1, 10), after).granted, 1);
        }
    }

    #[test]
    fn a_counter_that_a_wrong_clock_wrote_far_ahead_closes_no_key_for_years() {
        let bound = Bound::Quota {
            limit: 10,
            period: Period::Hour,
        };
        let wrong = slice(&bound, None, wish(10, 10), NOW.plus_seconds(10 * 365 * 86_400));
        assert_eq!(slice(&bound, Some(wrong.counter), wish(1, 10), NOW).granted, 10);
    }

    #[test]
    fn a_clock_that_is_set_back_gives_no_period_twice() {
        for hours in [1, 2, 5, 1_000] {
            let bound = Bound::Quota {
                limit: 10,
                period: Period::Hour,
            };
            let (now, ahead) = (NOW, NOW.plus_seconds(hours * 3_600));
            let first = slice(&bound, None, wish(1, 10), now);
            let second = slice(&bound, Some(first.counter), wish(1, 7), ahead);
            assert_eq!((first.granted, second.granted), (10, 7));
            let back = slice(&bound, Some(second.counter), wish(1, 10), now);
            assert_eq!(back.granted, 0, "it was used up before the step, {hours} h");
            let mut counter = back.counter;
            for hour in 1..hours.min(4) {
                let one = slice(&bound, Some(counter), wish(1, 10), now.plus_seconds(hour * 3_600));
                assert_eq!(one.granted, 10, "these were never counted");
                counter = one.counter;
            }
            let again = slice(&bound, Some(counter), wish(4, 10), ahead);
            assert_eq!(again.granted, 0, "there are three left");
            assert_eq!(slice(&bound, Some(counter), wish(1, 3), ahead).granted, 3);
        }
    }

    #[test]
    fn a_period_that_is_not_known_any_more_is_used_up_and_the_next_one_is_not() {
        let bound = Bound::Quota {
            limit: 10,
            period: Period::Hour,
        };
        let at = |hour: u64| NOW.plus_seconds(hour * 3_600);
        let mut counter = None;
        for hour in 0..5 {
            counter = Some(slice(&bound, counter, wish(1, 10), at(hour)).counter);
        }
        let back = slice(&bound, counter, wish(1, 10), at(1));
        assert_eq!(back.granted, 0);
        assert_eq!(slice(&bound, Some(back.counter), wish(1, 10), at(2)).granted, 10);
        assert_eq!(slice(&bound, Some(back.counter), wish(1, 10), at(4)).granted, 0);
    }

    #[test]
    fn what_is_given_back_of_the_period_before_is_there_for_who_is_still_in_it() {
        let bound = Bound::Quota {
            limit: 10,
            period: Period::Hour,
        };
        let ahead = NOW.plus_seconds(2 * 3_600);
        let first = slice(&bound, None, wish(1, 10), NOW);
        let second = slice(&bound, Some(first.counter), wish(1, 1), ahead);
        let back = WantedSlice {
            back: Some((4, first.counter.since)),
            ..wish(0, 0)
        };
        let returned = slice(&bound, Some(second.counter), back, ahead);
        assert_eq!(returned.counter.value, 1);
        assert_eq!(slice(&bound, Some(returned.counter), wish(1, 10), NOW).granted, 4);
    }

    #[test]
    fn a_rate_that_a_wrong_clock_counted_is_closed_for_a_burst_at_most_and_stored_so() {
        let bound = Bound::Rate {
            limit: 60,
            seconds: 60,
            burst: 5,
            count: Count::Hard,
        };
        let wrong = slice(&bound, None, wish(5, 5), NOW.plus_seconds(3_600));
        let now = slice(&bound, Some(wrong.counter), wish(1, 1), NOW);
        assert_eq!((now.granted, now.counter.value), (0, nanos(NOW) + 5_000 * MS_NS));
        assert_eq!(
            slice(&bound, Some(now.counter), wish(1, 9), NOW.plus_seconds(5)).granted,
            5
        );
        // A clock that is ahead by less is within the allowed difference: nothing is granted twice.
        let ahead = slice(&bound, None, wish(5, 5), Timestamp::from_millis(NOW.millis() + 1_500));
        let now = slice(&bound, Some(ahead.counter), wish(1, 1), NOW);
        assert_eq!((now.granted, now.counter), (0, ahead.counter));
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
