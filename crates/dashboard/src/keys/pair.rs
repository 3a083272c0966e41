//! The old and the new secret of a rotation with overlap: which of them is still in use, how often and from where.

use super::FoundKey;
use crate::Dashboard;
use crate::chart::HOUR_MS;
use crate::moment::plural;
use crate::page_error::PageError;
use crate::visitor::Visitor;
use keyreeve_authority::model::{AuditRecord, Trace, UsageCount};
use keyreeve_core::Timestamp;

/// The outcomes of valid verdicts on the new and on the old secret.
const NEW: &str = "valid";
const OLD: &str = "valid_retiring";
/// Most addresses that are shown.
const ADDRESSES_SHOWN: usize = 3;
const MINUTE_MS: u64 = 60_000;

/// The use of one secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Side {
    /// The mask of the secret; `None` if the log no longer has it.
    pub(crate) mask: Option<String>,
    /// Calls since the full hour, and the rate per minute. Calls are counted by the hour, so nothing finer is known.
    pub(crate) this_hour: String,
    /// Calls since the full hour of the rotation.
    pub(crate) in_all: String,
    pub(crate) is_used: bool,
    /// The addresses that used it since the rotation; empty if no service reported any.
    pub(crate) from: String,
}

/// The use of both secrets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sides {
    pub(crate) old: Side,
    pub(crate) new: Side,
}

/// Returns the use of both secrets of a key, or `None` if only one is valid.
pub(super) async fn sides(app: &Dashboard, visitor: &Visitor, found: &FoundKey) -> Result<Option<Sides>, PageError> {
    let (key, now) = (&found.record.key, visitor.now);
    let Some(rotated) = key.rotated_at.filter(|_| key.retiring.is_some()) else {
        return Ok(None);
    };
    let (call, authority) = (&visitor.call, app.authority());
    let counts = authority
        .keys()
        .usage(call, key.id, hour_of(rotated), now.plus_seconds(1))
        .await?;
    let traces = authority.keys().traces(call, key.id).await?;
    let events = authority.keys().events(call, key.id).await?;
    let side = |outcome, mask| side(&counts, &traces, outcome, mask, rotated, now);
    Ok(Some(Sides {
        old: side(OLD, replaced(&events)),
        new: side(NEW, Some(found.row.mask.clone())),
    }))
}

fn side(
    counts: &[UsageCount],
    traces: &[Trace],
    outcome: &str,
    mask: Option<String>,
    rotated: Timestamp,
    now: Timestamp,
) -> Side {
    let calls = |since: Timestamp| -> u64 {
        let of_it = counts
            .iter()
            .filter(|count| count.outcome == outcome && count.hour >= since);
        of_it.map(|count| count.count).sum()
    };
    let (hour, in_all) = (calls(hour_of(now)), calls(hour_of(rotated)));
    Side {
        mask,
        this_hour: match a_minute(hour, now.millis_since(rotated.max(hour_of(now)))) {
            Some(rate) if hour > 0 => format!("{}, {rate} a minute", plural(hour, "call")),
            Some(_) | None => plural(hour, "call"),
        },
        in_all: plural(in_all, "call"),
        is_used: hour > 0,
        from: from(traces, outcome, rotated),
    }
}

/// Returns the addresses with an outcome since a time.
fn from(traces: &[Trace], outcome: &str, since: Timestamp) -> String {
    let of_it = |trace: &&Trace| trace.outcome == outcome && trace.last_at >= since && !trace.address.is_empty();
    named(
        traces
            .iter()
            .filter(of_it)
            .map(|trace| trace.address.as_str())
            .collect(),
    )
}

/// Returns the first addresses, and how many more there are.
pub(super) fn named(mut addresses: Vec<&str>) -> String {
    let more = addresses.len().saturating_sub(ADDRESSES_SHOWN);
    addresses.truncate(ADDRESSES_SHOWN);
    match more {
        0 => addresses.join(", "),
        more => format!("{} and {more} more", addresses.join(", ")),
    }
}

/// Returns calls per minute with one decimal; `None` within the first minute.
fn a_minute(calls: u64, over_ms: u64) -> Option<String> {
    let minutes = over_ms / MINUTE_MS;
    let tenths = calls.saturating_mul(10).checked_div(minutes)?;
    Some(match tenths {
        0 => "less than 0.1".to_owned(),
        tenths => format!("{}.{}", tenths / 10, tenths % 10),
    })
}

fn hour_of(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.millis().div_euclid(HOUR_MS) * HOUR_MS)
}

/// Returns the mask of the secret that the latest rotation replaced, from the log.
fn replaced(events: &[AuditRecord]) -> Option<String> {
    let rotation = events.iter().rev().find(|event| event.action == "key.rotated")?;
    let before: serde_json::Value = serde_json::from_str(rotation.before.as_deref()?).ok()?;
    let text = |name: &str| before.get(name).and_then(|value| value.as_str());
    Some(format!(
        "{}{}…{}",
        text("prefix")?,
        keyreeve_core::key::MARKER,
        text("last_four")?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_core::KeyId;

    const HOUR: Timestamp = Timestamp::from_millis(1_699_999_200_000);

    #[test]
    fn what_is_said_of_a_secret_is_of_that_secret_alone() {
        let key = KeyId::from_bytes([1; 16]);
        let count = |hours: i64, outcome: &str, count| UsageCount {
            key,
            hour: Timestamp::from_millis(HOUR.millis() - hours * HOUR_MS),
            outcome: outcome.to_owned(),
            count,
            extra_cost: 0,
        };
        let counts = [
            count(0, OLD, 3),
            count(0, NEW, 40),
            count(1, OLD, 7),
            count(9, OLD, 1_000),
        ];
        let trace = |address: &str, outcome: &str, minutes: i64| Trace {
            key,
            outcome: outcome.to_owned(),
            address: address.to_owned(),
            count: 1,
            last_at: Timestamp::from_millis(HOUR.millis() - minutes * 60_000),
        };
        // The last trace is from the old secret of an earlier rotation.
        let traces = [trace("::1", OLD, 1), trace("::2", NEW, 1), trace("::3", OLD, 600)];
        let rotated = Timestamp::from_millis(HOUR.millis() - 30 * 60_000);
        let now = HOUR.plus_seconds(12 * 60);
        let old = side(&counts, &traces, OLD, None, rotated, now);
        assert_eq!(old.this_hour, "3 calls, 0.2 a minute");
        assert_eq!(old.in_all, "10 calls");
        assert_eq!(old.from, "::1");
        assert!(old.is_used);
        let new = side(&counts, &traces, NEW, None, rotated, now);
        assert_eq!(
            (new.this_hour.as_str(), new.from.as_str()),
            ("40 calls, 3.3 a minute", "::2")
        );
    }

    #[test]
    fn nothing_is_said_a_minute_before_a_minute_is_over() {
        assert_eq!(a_minute(5, 59_999), None);
        assert_eq!(a_minute(1, 30 * MINUTE_MS).as_deref(), Some("less than 0.1"));
        assert_eq!(named(vec!["a", "b", "c", "d", "e"]), "a, b, c and 2 more");
        assert_eq!(named(Vec::new()), "");
    }
}
