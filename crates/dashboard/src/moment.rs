//! Times, counts and durations in words.

use keyreeve_authority::model::Total;
use keyreeve_core::Timestamp;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A time in the three forms that a page needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct When {
    /// RFC 3339, for the `datetime` attribute.
    pub(super) iso: String,
    /// Exact, for people.
    pub(super) exact: String,
    /// Relative to now, such as "3 hours ago".
    pub(super) relative: String,
}

impl When {
    pub(super) fn new(at: Timestamp, now: Timestamp) -> Self {
        let time = jiff::Timestamp::from_millisecond(at.millis()).unwrap_or(jiff::Timestamp::MAX);
        Self {
            iso: time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            exact: time.strftime("%-d %b %Y, %H:%M:%S UTC").to_string(),
            relative: relative(at, now),
        }
    }
}

fn relative(at: Timestamp, now: Timestamp) -> String {
    let seconds = at.millis().saturating_sub(now.millis()).div_euclid(1_000);
    let words = match seconds.abs() {
        0..MINUTE => return if seconds < 0 { "just now" } else { "in under a minute" }.to_owned(),
        distance @ MINUTE..HOUR => counted(distance / MINUTE, "minute"),
        distance @ HOUR..DAY => counted(distance / HOUR, "hour"),
        distance if distance < 60 * DAY => counted(distance / DAY, "day"),
        distance if distance < 730 * DAY => counted(distance / (30 * DAY), "month"),
        distance => counted(distance / (365 * DAY), "year"),
    };
    if seconds < 0 {
        format!("{words} ago")
    } else {
        format!("in {words}")
    }
}

fn counted(count: i64, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

/// Returns a count with its noun.
pub(super) fn plural(count: u64, noun: &str) -> String {
    let end = if count == 1 { "" } else { "s" };
    format!("{} {noun}{end}", grouped(count))
}

/// Returns a number with narrow spaces between thousands.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Returns a total, with a plus if it may be higher.
pub(super) fn in_all(total: Option<Total>) -> String {
    let total = total.unwrap_or_default();
    let more = if total.is_exact { "" } else { "+" };
    format!("{}{more}", grouped(total.count))
}

/// Returns a date, for people.
pub(super) fn day(at: Timestamp) -> String {
    let time = jiff::Timestamp::from_millisecond(at.millis()).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%-d %b %Y").to_string()
}

/// Returns a duration in words, from seconds.
pub(super) fn length(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    match seconds {
        0 => "at once".to_owned(),
        1..MINUTE => counted(seconds, "second"),
        MINUTE..HOUR => counted(seconds / MINUTE, "minute"),
        HOUR..DAY => counted(seconds / HOUR, "hour"),
        _ => counted(seconds / DAY, "day"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_said_as_one_would_say_it() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        for (seconds, text) in [
            (-5, "just now"),
            (-61, "1 minute ago"),
            (-7_200, "2 hours ago"),
            (-86_400 * 3, "3 days ago"),
            (90 * 86_400, "in 3 months"),
            (3_600, "in 1 hour"),
        ] {
            let at = Timestamp::from_millis(now.millis() + seconds * 1_000);
            assert_eq!(When::new(at, now).relative, text);
        }
        let when = When::new(now, now);
        assert_eq!(
            (when.iso.as_str(), when.exact.as_str()),
            ("2023-11-14T22:13:20Z", "14 Nov 2023, 22:13:20 UTC")
        );
    }

    #[test]
    fn numbers_and_lengths_are_readable() {
        assert_eq!(
            (grouped(1_204).as_str(), grouped(999).as_str()),
            ("1\u{202f}204", "999")
        );
        assert_eq!(
            (plural(1, "key").as_str(), plural(0, "key").as_str()),
            ("1 key", "0 keys")
        );
        assert_eq!(
            (length(0).as_str(), length(3_600).as_str(), length(86_400 * 7).as_str()),
            ("at once", "1 hour", "7 days")
        );
    }
}
