//! Values of settings that are checked when they are parsed, the same on the command line and in the file.

use crate::commands::duration;
use clap::ValueEnum;
use keyreeve_server::settings::{
    INTROSPECTION_MAX_EXP_SECONDS_DEFAULT, INTROSPECTION_MAX_EXP_SECONDS_MAX, LEASE_MS_MAX, LEASE_MS_MIN,
};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::str::FromStr;
use tracing::level_filters::LevelFilter;

/// The length of a lease in milliseconds, from 2 s to an hour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct LeaseLength(u64);

impl LeaseLength {
    pub(super) fn ms(self) -> u64 {
        self.0
    }
}

impl FromStr for LeaseLength {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let length = duration::fixed(text).ok();
        let length = length.filter(|length| length.subsec_nanos() % 1_000_000 == 0);
        let ms = length.and_then(|length| u64::try_from(length.as_millis()).ok());
        let ms = ms.filter(|ms| (LEASE_MS_MIN..=LEASE_MS_MAX).contains(ms));
        ms.map(Self)
            .ok_or_else(|| format!("{text:?} is not a lease: write 15s, 2500ms or 2m, from 2s to 1h"))
    }
}

impl TryFrom<String> for LeaseLength {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// How long a gateway may accept a key after an introspection, in seconds, from a second to an hour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct MaxExp(u64);

impl MaxExp {
    pub(super) fn seconds(self) -> u64 {
        self.0
    }
}

impl Default for MaxExp {
    fn default() -> Self {
        Self(INTROSPECTION_MAX_EXP_SECONDS_DEFAULT)
    }
}

impl fmt::Display for MaxExp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0)
    }
}

impl FromStr for MaxExp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let length = duration::fixed(text).ok();
        let length = length.filter(|length| length.subsec_nanos() == 0);
        let seconds = length.map(|length| length.as_secs());
        let seconds = seconds.filter(|seconds| (1..=INTROSPECTION_MAX_EXP_SECONDS_MAX).contains(seconds));
        seconds
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not from 1s to 1h: write 60s or 5m"))
    }
}

impl TryFrom<String> for MaxExp {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// The log level.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Log {
    /// An operator must act.
    Error,
    /// Something is degraded.
    Warn,
    /// State changes and requests, but no verifications.
    Info,
    /// Details.
    Debug,
    /// Nothing.
    Off,
}

impl From<Log> for LevelFilter {
    fn from(log: Log) -> Self {
        match log {
            Log::Error => Self::ERROR,
            Log::Warn => Self::WARN,
            Log::Info => Self::INFO,
            Log::Debug => Self::DEBUG,
            Log::Off => Self::OFF,
        }
    }
}

/// Parses one value of the file, or a list of them.
pub(super) fn one_or_several<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "write a text or a list of texts")]
    enum OneOrSeveral {
        One(String),
        Several(Vec<String>),
    }
    let texts = match OneOrSeveral::deserialize(deserializer)? {
        OneOrSeveral::One(text) => vec![text],
        OneOrSeveral::Several(texts) => texts,
    };
    texts
        .iter()
        .map(|text| text.parse().map_err(D::Error::custom))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_has_a_unit_and_bounds() {
        for (text, ms) in [
            ("15s", 15_000),
            ("2500ms", 2_500),
            ("1m30s", 90_000),
            ("2s", 2_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(text.parse(), Ok(LeaseLength(ms)), "{text}");
        }
        for wrong in [
            "",
            "15",
            "s",
            "1s",
            "1999ms",
            "2h",
            "-5s",
            "1h1ms",
            "2000.5ms",
            "never",
            "99999999999999999999s",
        ] {
            assert!(wrong.parse::<LeaseLength>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_validity_of_an_introspection_has_bounds() {
        for (text, seconds) in [("1s", 1), ("60s", 60), ("5m", 300), ("1h", 3_600)] {
            assert_eq!(text.parse(), Ok(MaxExp(seconds)), "{text}");
        }
        for wrong in ["", "0s", "61m", "2h", "never", "60", "-1s", "1ms", "1500ms"] {
            assert!(wrong.parse::<MaxExp>().is_err(), "{wrong}");
        }
    }
}
