//! A policy as JSON, in the form of http.md, section 3.

use crate::error::StoreError;
use keyreeve_core::key::Prefix;
use keyreeve_core::policy::{
    After, Confirm, Expiry, Limit, ListDefault, Names, Policy, Preset, Reactivate, ReasonRule, Reveal, Revoke, Rotate,
    Undo,
};
use serde_json::{Value, json};

/// The policy document.
pub(crate) fn to_json(policy: &Policy) -> Value {
    json!({
        "preset": policy.preset.as_str(),
        "prefix": policy.prefix.as_str(),
        "names": policy.names.as_str(),
        "limit": {
            "keys_per_subject": policy.limit.keys_per_subject,
            "count_expired": policy.limit.count_expired,
        },
        "expiry": {
            "choices_days": policy.expiry.choices_days,
            "default_days": policy.expiry.default_days,
            "max_days": policy.expiry.max_days,
            "allow_never": policy.expiry.allow_never,
            "editable": policy.expiry.editable,
            "renew_expired": policy.expiry.renew_expired,
        },
        "rotate": {
            "overlap_default_seconds": policy.rotate.overlap_default_seconds,
            "overlap_max_seconds": policy.rotate.overlap_max_seconds,
        },
        "revoke": {
            "undo": undo_to_json(policy.revoke.undo),
            "after": policy.revoke.after.as_str(),
            "confirm": policy.revoke.confirm.as_str(),
            "reason": policy.revoke.reason.as_str(),
        },
        "reactivate": { "sticky": policy.reactivate.sticky },
        "list": { "default": policy.list.as_str() },
        "verify": { "reveal": policy.reveal.as_str() },
    })
}

fn undo_to_json(undo: Undo) -> Value {
    match undo {
        Undo::Never => json!("never"),
        Undo::Always => json!("always"),
        Undo::Seconds(seconds) => json!(seconds),
    }
}

/// Reads back what [`to_json`] wrote.
pub(crate) fn from_json(text: &str) -> Result<Policy, StoreError> {
    let corrupt = || StoreError::Corrupt("a tenant's policy".to_owned());
    let value: Value = serde_json::from_str(text).map_err(|_| corrupt())?;
    read(&value).ok_or_else(corrupt)
}

fn read(value: &Value) -> Option<Policy> {
    let word = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    let flag = |pointer: &str| value.pointer(pointer).and_then(Value::as_bool);
    let number = |pointer: &str| value.pointer(pointer).and_then(Value::as_u64);
    Some(Policy {
        preset: Preset::parse(word("/preset")?)?,
        prefix: Prefix::parse(word("/prefix")?).ok()?,
        names: Names::parse(word("/names")?)?,
        limit: Limit {
            keys_per_subject: optional_u32(value.pointer("/limit/keys_per_subject")?)?,
            count_expired: flag("/limit/count_expired")?,
        },
        expiry: Expiry {
            choices_days: days(value.pointer("/expiry/choices_days")?)?,
            default_days: optional_u32(value.pointer("/expiry/default_days")?)?,
            max_days: optional_u32(value.pointer("/expiry/max_days")?)?,
            allow_never: flag("/expiry/allow_never")?,
            editable: flag("/expiry/editable")?,
            renew_expired: flag("/expiry/renew_expired")?,
        },
        rotate: Rotate {
            overlap_default_seconds: number("/rotate/overlap_default_seconds")?,
            overlap_max_seconds: number("/rotate/overlap_max_seconds")?,
        },
        revoke: Revoke {
            undo: undo(value.pointer("/revoke/undo")?)?,
            after: After::parse(word("/revoke/after")?)?,
            confirm: Confirm::parse(word("/revoke/confirm")?)?,
            reason: ReasonRule::parse(word("/revoke/reason")?)?,
        },
        reactivate: Reactivate {
            sticky: flag("/reactivate/sticky")?,
        },
        list: ListDefault::parse(word("/list/default")?)?,
        reveal: Reveal::parse(word("/verify/reveal")?)?,
    })
}

/// `Some(None)` is a null that was written; `None` is something that was not.
fn optional_u32(value: &Value) -> Option<Option<u32>> {
    match value {
        Value::Null => Some(None),
        other => other.as_u64().and_then(|number| u32::try_from(number).ok()).map(Some),
    }
}

fn days(value: &Value) -> Option<Vec<u32>> {
    let days = value.as_array()?.iter();
    days.map(|day| day.as_u64().and_then(|number| u32::try_from(number).ok()))
        .collect()
}

fn undo(value: &Value) -> Option<Undo> {
    match value.as_str() {
        Some("never") => Some(Undo::Never),
        Some("always") => Some(Undo::Always),
        Some(_) => None,
        None => value.as_u64().map(Undo::Seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_reads_back_as_it_was_written() {
        for &preset in Preset::ALL {
            for undo in [Undo::Never, Undo::Always, Undo::Seconds(3_600)] {
                let mut policy = preset.policy();
                policy.revoke.undo = undo;
                policy.limit.keys_per_subject = Some(7);
                assert_eq!(from_json(&to_json(&policy).to_string()).unwrap(), policy);
            }
        }
    }

    #[test]
    fn what_was_not_written_by_us_is_corrupt() {
        for text in ["", "{}", "null", r#"{"preset":"other"}"#] {
            assert!(matches!(from_json(text), Err(StoreError::Corrupt(_))), "{text}");
        }
    }
}
