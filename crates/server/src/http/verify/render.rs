//! Writes a verdict as JSON directly from the cache entry. The shape is `keyreeve_api::verify::Verdict`; a test
//! compares the two.

use crate::http::budget;
use keyreeve_api::limits::{LimitHeaders, LimitStanding};
use keyreeve_authority::Budget;
use keyreeve_authority::verify::{Source, Verdict};
use keyreeve_core::Timestamp;
use keyreeve_core::coherence::Entry;
use keyreeve_core::hex_digits;

/// Capacity of a usual verdict.
pub(super) const VERDICT_BYTES: usize = 384;

/// The beginning of every valid verdict.
const VALID: &[u8] = b"{\"valid\":true,\"code\":\"VALID\",\"status\":200,\"reason\":\"valid\"";

/// Appends one verdict.
pub(super) fn verdict(out: &mut Vec<u8>, verdict: &Verdict, now: Timestamp) {
    match (verdict.outcome, verdict.outer()) {
        (Err(denial), Some(outer)) => {
            out.extend_from_slice(b"{\"valid\":false");
            text_field(out, "code", outer.as_str());
            number_field(out, "status", outer.status());
            text_field(out, "reason", denial.as_str());
        }
        (Ok(()), _) | (_, None) => out.extend_from_slice(VALID),
    }
    if let Some(entry) = &verdict.entry {
        key(out, entry, verdict.outcome.is_ok());
    }
    if let Some(budget) = &verdict.budget {
        limits(out, budget, now);
    }
    number_field(out, "revision", verdict.revision);
    text_field(
        out,
        "source",
        match verdict.source {
            Source::Memory => "memory",
            Source::Store => "store",
        },
    );
    out.push(b'}');
}

/// Writes the fields of the key; for a denial only its id.
fn key(out: &mut Vec<u8>, entry: &Entry, is_valid: bool) {
    text_field(out, "tenant", entry.gate().slug().as_str());
    out.extend_from_slice(b",\"key_id\":\"");
    id(out, entry);
    out.push(b'"');
    if !is_valid {
        return;
    }
    escaped_field(out, "subject", entry.subject());
    escaped_field(out, "name", entry.name());
    out.extend_from_slice(b",\"scopes\":[");
    for (place, scope) in entry.scopes().split_ascii_whitespace().enumerate() {
        out.extend_from_slice(if place > 0 { b",\"" } else { b"\"" });
        out.extend_from_slice(scope.as_bytes());
        out.push(b'"');
    }
    out.push(b']');
    if let Some(claims) = entry.claims() {
        out.extend_from_slice(b",\"claims\":");
        out.extend_from_slice(claims.as_bytes());
    }
    if let Some(at) = entry.expires_at() {
        number_field(out, "expiration", at.millis());
    }
}

/// Writes the state of the limits. Keys with limits are few enough for serde.
fn limits(out: &mut Vec<u8>, budget: &Budget, now: Timestamp) {
    let standings = budget.standings.iter().map(|standing| LimitStanding {
        name: standing.limit.name.to_string(),
        limit: standing.limit.bound.limit(),
        remaining: standing.remaining,
        reset_seconds: standing.reset_seconds,
    });
    let fields = budget::fields(budget, now);
    let headers = LimitHeaders {
        rate_limit: fields.standing,
        rate_limit_policy: fields.policy,
        retry_after: fields.retry_after.map(|seconds| seconds.to_string()),
    };
    field(out, "limits");
    // Writing to a vector cannot fail.
    let _written = serde_json::to_writer(&mut *out, &standings.collect::<Vec<_>>());
    field(out, "headers");
    let _written = serde_json::to_writer(out, &headers);
}

fn id(out: &mut Vec<u8>, entry: &Entry) {
    out.extend_from_slice(keyreeve_core::KeyId::PREFIX.as_bytes());
    for byte in entry.key_id().bytes() {
        out.extend_from_slice(&hex_digits(byte));
    }
}

/// `,"name":"value"` for a value that needs no escaping.
fn text_field(out: &mut Vec<u8>, name: &str, value: &str) {
    field(out, name);
    out.push(b'"');
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
}

fn number_field(out: &mut Vec<u8>, name: &str, value: impl itoa::Integer) {
    field(out, name);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn field(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn escaped_field(out: &mut Vec<u8>, name: &str, value: &str) {
    field(out, name);
    if value.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    } else {
        // Rare: a name with quotation marks. Writing a string to a vector cannot fail.
        let _written = serde_json::to_writer(out, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_core::coherence::{Gate, NewEntry};
    use keyreeve_core::policy::Reveal;
    use keyreeve_core::text::Slug;
    use keyreeve_core::verdict::{Denial, KeyStanding, SecretStanding};
    use keyreeve_core::{Digest, KeyId, Timestamp};
    use std::sync::Arc;

    fn entry(claims: Option<&str>) -> Entry {
        let gate = Gate::new(
            Slug::parse("default").unwrap(),
            keyreeve_core::user::Status::Active,
            Reveal::OwnerSafe,
        );
        Entry::new(&NewEntry {
            digest: Digest::of(b"x"),
            key_id: KeyId::from_bytes([0xab; 16]),
            gate: Arc::new(gate),
            secret: SecretStanding::Live,
            key: KeyStanding::Active,
            expires_at: Some(Timestamp::from_millis(1_700_000_000_000)),
            subject: "user_1",
            name: "a \"quoted\" \\ name",
            scopes: "read write",
            limits: "",
            claims,
            is_presented: false,
        })
        .unwrap()
    }

    fn budget() -> Budget {
        use keyreeve_core::coherence::Moment;
        use keyreeve_core::limits::At;
        let now = Timestamp::from_millis(1_700_000_000_000);
        let meter = keyreeve_core::limits::Meter::new("rate:few,5,60,5,soft").unwrap();
        Budget {
            standings: meter.standings(At::new(now, Moment::default())),
            retry_seconds: None,
        }
    }

    fn rendered(one: &Verdict) -> serde_json::Value {
        let mut out = Vec::new();
        verdict(&mut out, one, Timestamp::from_millis(1_700_000_000_000));
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_valid_verdict_has_every_field_of_the_published_shape() {
        let one = Verdict {
            outcome: Ok(()),
            entry: Some(entry(Some(r#"{"a":1}"#))),
            revision: 7,
            source: Source::Memory,
            budget: Some(Box::new(budget())),
        };
        let published = keyreeve_api::verify::Verdict {
            valid: true,
            code: "VALID",
            status: 200,
            reason: "valid",
            tenant: Some("default".to_owned()),
            key_id: Some(format!("ak_{}", "ab".repeat(16))),
            subject: Some("user_1".to_owned()),
            name: Some("a \"quoted\" \\ name".to_owned()),
            scopes: Some(vec!["read".to_owned(), "write".to_owned()]),
            claims: serde_json::from_str(r#"{"a":1}"#).ok(),
            expiration: Some(1_700_000_000_000),
            limits: Some(vec![LimitStanding {
                name: "few".to_owned(),
                limit: 5,
                remaining: 5,
                reset_seconds: Some(0),
            }]),
            headers: Some(LimitHeaders {
                rate_limit: "\"few\";r=5;t=0".to_owned(),
                rate_limit_policy: "\"few\";q=5;w=60".to_owned(),
                retry_after: None,
            }),
            revision: 7,
            source: "memory",
        };
        assert_eq!(rendered(&one), serde_json::to_value(&published).unwrap());
    }

    /// Returns a denial; its secret is of a key, unless no key can be known by then.
    fn denied(denial: Denial) -> Verdict {
        let has_no_key = matches!(
            denial,
            Denial::Missing | Denial::Malformed | Denial::Unknown | Denial::Unavailable | Denial::Undecided
        );
        Verdict {
            outcome: Err(denial),
            entry: (!has_no_key).then(|| entry(Some(r#"{"a":1}"#))),
            revision: 7,
            source: Source::Store,
            budget: None,
        }
    }

    #[test]
    fn a_denial_has_the_key_but_nothing_of_its_holder() {
        let allowed = [
            "valid", "code", "status", "reason", "tenant", "key_id", "revision", "source",
        ];
        for &denial in Denial::ALL {
            let shown = rendered(&denied(denial));
            let fields = shown.as_object().unwrap().keys();
            let others: Vec<_> = fields.filter(|field| !allowed.contains(&field.as_str())).collect();
            assert!(others.is_empty(), "{}: {others:?}", denial.as_str());
        }
    }

    #[test]
    fn the_verdict_of_each_reason_is_as_reviewed() {
        let valid = Verdict {
            outcome: Ok(()),
            entry: Some(entry(Some(r#"{"a":1}"#))),
            revision: 7,
            source: Source::Memory,
            budget: Some(Box::new(budget())),
        };
        let all = [valid].into_iter().chain(Denial::ALL.iter().copied().map(denied));
        let texts = all.map(|one| {
            let mut out = Vec::new();
            verdict(&mut out, &one, Timestamp::from_millis(1_700_000_000_000));
            String::from_utf8(out).unwrap()
        });
        insta::assert_snapshot!(texts.collect::<Vec<_>>().join("\n"));
    }
}
