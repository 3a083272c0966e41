//! The periods of quotas: calendar periods in UTC, and all time.

use crate::access::words;
use crate::time::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan as _};

words!(
    /// The period of a quota. Days and months are those of UTC.
    Period {
        /// A clock hour.
        Hour => "hour",
        /// A day.
        Day => "day",
        /// A calendar month.
        Month => "month",
        /// All time, without a new period.
        Total => "total",
    }
);

impl Period {
    /// Returns the start of the period of a time. All time starts at the epoch.
    pub fn start(self, now: Timestamp) -> Timestamp {
        let at = at(now);
        let date = at.date();
        let hour = Time::constant(at.hour(), 0, 0, 0);
        match self {
            Self::Hour => moment(date, hour),
            Self::Day => moment(date, Time::midnight()),
            Self::Month => moment(date.first_of_month(), Time::midnight()),
            Self::Total => Timestamp::from_millis(0),
        }
    }

    /// Returns the end of the period; `None` is never.
    pub fn end(self, now: Timestamp) -> Option<Timestamp> {
        let start = self.start(now);
        let next = |hours| at(start).saturating_add(SignedDuration::from_hours(hours));
        let end = match self {
            Self::Hour => next(1),
            Self::Day => next(24),
            Self::Month => at(start).saturating_add(1.month()),
            Self::Total => return None,
        };
        Some(moment(end.date(), end.time()))
    }
}

/// Returns the calendar time. A time outside the calendar's range, some thousand years away, is the epoch.
fn at(time: Timestamp) -> jiff::civil::DateTime {
    let known = jiff::Timestamp::from_millisecond(time.millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    TimeZone::UTC.to_datetime(known)
}

fn moment(date: Date, time: Time) -> Timestamp {
    let known = TimeZone::UTC.to_timestamp(date.to_datetime(time));
    Timestamp::from_millis(known.map_or(0, jiff::Timestamp::as_millisecond))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_begin_and_end_with_the_calendar_of_utc() {
        let time = |text: &str| Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
        for (period, now, start, end) in [
            (
                Period::Hour,
                "2026-11-22T02:59:59.999Z",
                "2026-11-22T02:00:00Z",
                "2026-11-22T03:00:00Z",
            ),
            (
                Period::Day,
                "2026-11-22T00:00:00Z",
                "2026-11-22T00:00:00Z",
                "2026-11-23T00:00:00Z",
            ),
            (
                Period::Month,
                "2028-02-29T12:00:00Z",
                "2028-02-01T00:00:00Z",
                "2028-03-01T00:00:00Z",
            ),
            (
                Period::Month,
                "2026-12-31T23:59:59Z",
                "2026-12-01T00:00:00Z",
                "2027-01-01T00:00:00Z",
            ),
        ] {
            assert_eq!(
                (period.start(time(now)), period.end(time(now))),
                (time(start), Some(time(end))),
                "{now}"
            );
        }
        assert_eq!(Period::Total.end(time("2026-12-31T23:59:59Z")), None);
    }

    #[test]
    fn a_time_that_no_calendar_knows_panics_nobody() {
        for ms in [i64::MIN, i64::MAX, 0, -1] {
            for period in Period::ALL {
                let _any = (
                    period.start(Timestamp::from_millis(ms)),
                    period.end(Timestamp::from_millis(ms)),
                );
            }
        }
    }
}
