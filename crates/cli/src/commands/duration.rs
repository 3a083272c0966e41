//! Durations on the command line and in the settings: jiff's friendly format (`90d`, `1h30m`, `1w`), and `never`.

use jiff::SpanRelativeTo;
use jiff::fmt::friendly::SpanParser;

/// A duration in seconds; `None` is never.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Duration(pub(crate) Option<u64>);

impl std::str::FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self(None));
        }
        let length = fixed(text).map_err(|why| format!("{why}; or never"))?;
        match length.subsec_nanos() {
            0 => Ok(Self(Some(length.as_secs()))),
            _ => Err(format!("{text:?} is no integer number of seconds")),
        }
    }
}

/// Parses a positive duration of fixed length. A day has 24 hours and a week seven days; months and years differ in
/// length and are refused.
pub(crate) fn fixed(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || format!("{text:?} is not a duration: write 90d, 12h, 1h30m, 45s or 1w");
    let span = SpanParser::new().parse_span(text).map_err(|_| wrong())?;
    if span.get_years() != 0 || span.get_months() != 0 {
        return Err(format!(
            "{text:?} has no fixed length, because months and years differ: write days or weeks, such as 90d or 12w"
        ));
    }
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours());
    let length = length
        .ok()
        .and_then(|length| std::time::Duration::try_from(length).ok());
    length.filter(|length| !length.is_zero()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_units_of_fixed_length() {
        for (text, seconds) in [
            ("90d", Some(7_776_000)),
            ("12h", Some(43_200)),
            ("1s", Some(1)),
            ("1h30m", Some(5_400)),
            ("1h 30m", Some(5_400)),
            ("1.5h", Some(5_400)),
            ("1w", Some(604_800)),
            ("2w1d", Some(1_296_000)),
            ("2000ms", Some(2)),
            ("never", None),
        ] {
            assert_eq!(text.parse(), Ok(Duration(seconds)), "{text}");
        }
        for text in [
            "",
            "d",
            "90",
            "0d",
            "0s",
            "-1d",
            "1h ago",
            "1500ms",
            "PT1H",
            "1M",
            "Never",
            "99999999999999999999d",
            "99999999999999999999999s",
            "7304485d",
            "7304484d 9999999999h",
            "é",
        ] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }

    #[test]
    fn months_and_years_are_refused_with_the_reason() {
        for text in ["1mo", "3 months", "1y", "1yr 2d"] {
            let why = text.parse::<Duration>().unwrap_err();
            assert!(why.contains("months and years differ"), "{text}: {why}");
        }
    }
}
