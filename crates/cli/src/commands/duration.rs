//! Durations on the command line: `90d`, `12h`, `30m`, `45s`, or `never`.

/// A duration in seconds; `None` is never.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Duration(pub(crate) Option<u64>);

impl std::str::FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self(None));
        }
        let wrong = || format!("{text:?} is not a duration such as 90d, 12h, 30m, 45s or never");
        let unit = text.chars().last().ok_or_else(wrong)?;
        let seconds = match unit {
            'd' => 86_400,
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return Err(wrong()),
        };
        let number: u64 = text
            .strip_suffix(unit)
            .and_then(|number| number.parse().ok())
            .ok_or_else(wrong)?;
        number
            .checked_mul(seconds)
            .filter(|&seconds| seconds > 0)
            .map(|seconds| Self(Some(seconds)))
            .ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("90d", Some(7_776_000)),
            ("12h", Some(43_200)),
            ("1s", Some(1)),
            ("never", None),
        ] {
            assert_eq!(text.parse(), Ok(Duration(seconds)));
        }
        for text in ["", "d", "90", "0d", "-1d", "1.5h", "1w", "99999999999999999999d", "é"] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }
}
