//! Writes the state of a key's limits as header fields (draft-ietf-httpapi-ratelimit-headers; RFC 9110, section
//! 10.2.3).

use keyreeve_authority::Budget;
use keyreeve_core::Timestamp;
use keyreeve_core::limits::{Bound, LimitStanding};

/// The fields about a key's limits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KeyLimitHeaders {
    /// `RateLimit`.
    pub(crate) standing: String,
    /// `RateLimit-Policy`.
    pub(crate) policy: String,
    /// `Retry-After` in seconds, if the use was refused and will be allowed again.
    pub(crate) retry_after: Option<u64>,
}

impl KeyLimitHeaders {
    /// Returns the fields of every answer, with their names in lower case.
    pub(crate) fn named(&self) -> [(&'static str, &str); 2] {
        [("ratelimit", &self.standing), ("ratelimit-policy", &self.policy)]
    }
}

/// Returns the fields of a budget.
pub(crate) fn fields(budget: &Budget, now: Timestamp) -> KeyLimitHeaders {
    let joined = |one: fn(&LimitStanding, Timestamp) -> String| {
        let each = budget.standings.iter().map(|standing| one(standing, now));
        each.collect::<Vec<_>>().join(", ")
    };
    KeyLimitHeaders {
        standing: joined(standing),
        policy: joined(policy),
        retry_after: budget.retry_seconds,
    }
}

/// Names are lower-case letters, digits and hyphens, so the quoted string needs no escapes.
fn standing(standing: &LimitStanding, _: Timestamp) -> String {
    let reset = standing.reset_seconds.map(|seconds| format!(";t={seconds}"));
    format!(
        "\"{}\";r={}{}",
        standing.limit.name,
        standing.remaining,
        reset.unwrap_or_default()
    )
}

fn policy(standing: &LimitStanding, now: Timestamp) -> String {
    let window = match standing.limit.bound {
        Bound::Rate { seconds, .. } => Some(u64::from(seconds)),
        Bound::Quota { period, .. } => {
            let end = period.end(now);
            end.map(|end| end.millis_since(period.start(now)) / 1_000)
        }
    };
    let window = window.map(|seconds| format!(";w={seconds}"));
    format!(
        "\"{}\";q={}{}",
        standing.limit.name,
        standing.limit.bound.limit(),
        window.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_core::coherence::Moment;
    use keyreeve_core::limits::{At, Meter};

    #[test]
    fn limits_are_told_in_the_fields_of_the_draft() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let joined = "rate:per-minute,120,60,20,soft quota:monthly,1000,month quota:trial,5,total";
        let mut meter = Meter::new(joined).unwrap();
        let at = At::new(now, Moment::default());
        let _first = meter.take(1, at, &[]);
        let budget = Budget {
            standings: meter.standings(at),
            retry_seconds: Some(3),
        };
        let fields = fields(&budget, now);
        assert_eq!(
            fields.policy,
            "\"per-minute\";q=120;w=60, \"monthly\";q=1000;w=2592000, \"trial\";q=5"
        );
        assert_eq!(
            fields.standing,
            "\"per-minute\";r=20;t=0, \"monthly\";r=1000;t=1388800, \"trial\";r=5"
        );
        assert_eq!(fields.retry_after, Some(3));
    }
}
