//! Numbers of seconds as clients send them: integers, but possibly written as decimals (clerk-wire, section 3).

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// Largest accepted number of seconds: about a hundred years.
pub const SECONDS_MAX: u64 = 3_155_760_000;

/// An integer number of seconds, zero or more. `3600`, `3600.0` and `3.6e3` are the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Seconds(pub u64);

/// An integer number of seconds above zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PositiveSeconds(pub u64);

/// An integer from zero to 2^53. JSON's `3` and `3.0` are the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
pub struct Whole(pub u64);

/// The largest integer that every JSON reader represents exactly.
const WHOLE_MAX: u64 = 1 << 53;

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyWhole).map(Self)
    }
}

struct AnyWhole;

impl Visitor<'_> for AnyWhole {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, zero or more")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<u64, E> {
        let is_exact = value <= WHOLE_MAX;
        is_exact.then_some(value).ok_or_else(|| E::custom("is too large"))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<u64, E> {
        u64::try_from(value).map_err(|_| E::custom(NEGATIVE))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the value is checked to be whole and within 0 and 2^53, which an f64 holds exactly"
    )]
    fn visit_f64<E: Error>(self, value: f64) -> Result<u64, E> {
        match value {
            value if value < 0.0 => Err(E::custom(NEGATIVE)),
            value if value > WHOLE_MAX as f64 => Err(E::custom("is too large")),
            value if value.fract() != 0.0 => Err(E::custom("must be a whole number")),
            value => Ok(value as u64),
        }
    }
}

struct WholeSeconds;

impl Visitor<'_> for WholeSeconds {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number of seconds, at most {SECONDS_MAX}")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<u64, E> {
        if value <= SECONDS_MAX {
            Ok(value)
        } else {
            Err(E::custom(TOO_MANY))
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<u64, E> {
        u64::try_from(value)
            .map_err(|_| E::custom(NEGATIVE))
            .and_then(|value| self.visit_u64(value))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the value is checked to be whole and within 0 and SECONDS_MAX, which an f64 holds exactly"
    )]
    fn visit_f64<E: Error>(self, value: f64) -> Result<u64, E> {
        if value < 0.0 {
            return Err(E::custom(NEGATIVE));
        }
        if value > SECONDS_MAX as f64 {
            return Err(E::custom(TOO_MANY));
        }
        if value.fract() != 0.0 {
            return Err(E::custom("must be a whole number of seconds"));
        }
        Ok(value as u64)
    }
}

const TOO_MANY: &str = "must be at most 3155760000 seconds (100 years)";
const NEGATIVE: &str = "must not be negative";

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WholeSeconds).map(Self)
    }
}

impl<'de> Deserialize<'de> for PositiveSeconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(WholeSeconds)? {
            0 => Err(D::Error::custom("must be greater than 0")),
            seconds => Ok(Self(seconds)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_count_however_they_are_written() {
        for text in ["3600", "3600.0", "3.6e3"] {
            assert_eq!(
                serde_json::from_str::<PositiveSeconds>(text).unwrap(),
                PositiveSeconds(3600),
                "{text}"
            );
        }
        assert_eq!(serde_json::from_str::<Seconds>("0").unwrap(), Seconds(0));
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "0",
            "0.0",
            "-1",
            "-0.5",
            "1.5",
            "1e300",
            "\"3600\"",
            "true",
            "[]",
            "4000000000",
        ] {
            assert!(serde_json::from_str::<PositiveSeconds>(text).is_err(), "{text}");
        }
    }
}
