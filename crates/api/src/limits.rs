//! Limits of a key, on the wire and as one line of text.

use crate::seconds::Whole;
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// A limit: a rate if it has `seconds`, a quota if it has `period`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyLimit {
    /// Its name, also in `RateLimit` and `RateLimit-Policy`; unique within the key.
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length = 32, example = "per-minute")]
    pub name: String,
    /// Most uses in its time.
    #[schema(value_type = u64, minimum = 1, maximum = 1_000_000_000_000_u64)]
    pub limit: Whole,
    /// Of a rate: the time in seconds, at most a day. Uses become available again evenly over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 86400, nullable)]
    pub seconds: Option<Whole>,
    /// Of a rate: most uses at once after a pause; `limit` if omitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000_000, nullable)]
    pub burst: Option<Whole>,
    /// Of a rate: whether all nodes together never exceed it, for which they query the database from time to time.
    /// Omitted or false: each node counts separately. Quotas are always hard.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable)]
    pub hard: Option<bool>,
    /// Of a quota: `hour`, `day` or `month` of the calendar in UTC, or `total` for the lifetime of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(hour|day|month|total)$", nullable)]
    pub period: Option<String>,
}

/// A network of an allow-list, as the published document describes it.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, max_length = 43, example = "192.0.2.0/24")]
pub struct NetworkText(pub String);

/// The state of a limit, in a verdict.
#[derive(Debug, Serialize, ToSchema)]
pub struct LimitStanding {
    /// Its name.
    pub name: String,
    /// Most uses in its time.
    pub limit: u64,
    /// Uses that would be allowed now, as far as this node knows.
    pub remaining: u64,
    /// Seconds until all uses are available again; null is never.
    #[schema(required, nullable)]
    pub reset_seconds: Option<u64>,
}

/// The state of a key's limits.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyLimits {
    /// Every limit.
    pub data: Vec<KeyLimitUse>,
}

/// The consumption of one limit: used and remaining uses.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyLimitUse {
    /// Its name.
    pub name: String,
    /// Most uses in its time.
    pub limit: u64,
    /// Of a quota: uses in the present period. Null for a rate, which has none.
    #[schema(required, nullable)]
    pub used: Option<u64>,
    /// Uses that would be allowed now.
    pub remaining: u64,
    /// Seconds until all uses are available again; null is never.
    #[schema(required, nullable)]
    pub reset_seconds: Option<u64>,
    /// Whether only this node's uses are counted: a rate without `hard`.
    pub is_of_this_node: bool,
}

/// Header fields that the relying service passes on to its own client unchanged.
#[derive(Debug, Serialize, ToSchema)]
pub struct LimitHeaders {
    /// The state of the limits (draft-ietf-httpapi-ratelimit-headers).
    #[serde(rename = "RateLimit")]
    #[schema(example = "\"per-minute\";r=119;t=1")]
    pub rate_limit: String,
    /// The limits.
    #[serde(rename = "RateLimit-Policy")]
    #[schema(example = "\"per-minute\";q=120;w=60")]
    pub rate_limit_policy: String,
    /// Seconds to wait (RFC 9110, section 10.2.3); only if the use was denied and will be allowed again.
    #[serde(rename = "Retry-After", skip_serializing_if = "Option::is_none")]
    #[schema(example = "1")]
    pub retry_after: Option<String>,
}

/// The format of a line, for error messages.
pub const LINE_FORM: &str = "NAME COUNT/TIME, where TIME is a number with s, m or h for a rate, with `burst N` and `hard` \
                             after it if wanted, or hour, day, month or total for a quota";

impl KeyLimit {
    /// Parses a line such as `per-minute 120/60s burst 20 hard` or `monthly 10000/month`; `None` if it is malformed.
    pub fn of_line(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let name = words.next()?.trim_end_matches(':').to_owned();
        let (limit, time) = words.next()?.split_once('/')?;
        let seconds = seconds(time);
        let mut wish = Self {
            name,
            limit: Whole(limit.parse().ok()?),
            period: seconds.is_none().then(|| time.to_owned()),
            seconds: seconds.map(Whole),
            burst: None,
            hard: None,
        };
        while let Some(word) = words.next() {
            match word {
                "burst" => wish.burst = Some(Whole(words.next()?.parse().ok()?)),
                "hard" => wish.hard = Some(true),
                "soft" => wish.hard = Some(false),
                _ => return None,
            }
        }
        Some(wish)
    }
}

fn seconds(time: &str) -> Option<u64> {
    let unit = match time.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        _ => return None,
    };
    let number = time.get(..time.len() - 1)?;
    number.parse::<u64>().ok()?.checked_mul(unit)
}

impl fmt::Display for KeyLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, limit) = (&self.name, self.limit.0);
        match (&self.seconds, &self.period) {
            (Some(seconds), _) => write!(f, "{name} {limit}/{}s", seconds.0)?,
            (None, period) => write!(f, "{name} {limit}/{}", period.as_deref().unwrap_or_default())?,
        }
        if let Some(burst) = &self.burst {
            write!(f, " burst {}", burst.0)?;
        }
        match self.hard {
            Some(true) => f.write_str(" hard"),
            Some(false) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_people_write_it_and_written_as_it_is_read() {
        for (line, again) in [
            ("per-minute 120/60s burst 20 hard", "per-minute 120/60s burst 20 hard"),
            ("per-minute: 120/1m", "per-minute 120/60s"),
            ("monthly 10000/month", "monthly 10000/month"),
        ] {
            assert_eq!(KeyLimit::of_line(line).unwrap().to_string(), again);
        }
        for line in [
            "",
            "x",
            "x 1",
            "x 1/60s fast",
            "x one/60s",
            "x 1/60s burst",
            "x 1/60s burst many",
        ] {
            assert_eq!(KeyLimit::of_line(line), None, "{line}");
        }
        // The period is validated later, with the request.
        assert_eq!(KeyLimit::of_line("x 1/week").unwrap().period.as_deref(), Some("week"));
    }
}
