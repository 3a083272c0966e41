//! Points in time on the command line: RFC 3339, such as `2026-11-30T12:00:00Z`.

/// A point in time, in milliseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PointInTime(pub(crate) i64);

impl std::str::FromStr for PointInTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed: Result<jiff::Timestamp, _> = text.parse();
        parsed
            .map(|at| Self(at.as_millisecond()))
            .map_err(|_| format!("{text:?} is not a time: write it with its offset, such as 2026-11-30T12:00:00Z"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_date_and_an_offset() {
        assert_eq!("1970-01-01T00:00:01Z".parse(), Ok(PointInTime(1_000)));
        assert_eq!("1970-01-01T01:00:00+01:00".parse(), Ok(PointInTime(0)));
        for wrong in ["", "yesterday", "12:00", "2026-11-30", "2026-11-30T12:00:00"] {
            assert!(wrong.parse::<PointInTime>().is_err(), "{wrong}");
        }
    }
}
