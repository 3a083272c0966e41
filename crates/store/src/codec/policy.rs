//! A policy as JSON, in the form of the API.

use crate::error::StoreError;
use keyreeve_core::Limits;
use keyreeve_core::key::Prefix;
use keyreeve_core::limits::CountedLimits;
use keyreeve_core::policy::{
    After, Confirm, Expiry, Grant, LeakAction, Leaks, ListDefault, MemberGrant, Names, OwnerKeyLimit, Policy, Preset,
    Reactivate, ReasonRule, Reveal, Revoke, Rotate, Undo,
};
use keyreeve_core::scope::Scopes;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

/// Returns the policy document.
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
            "custom": policy.expiry.custom,
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
        "leaks": { "action": policy.leaks.action.as_str() },
        "grant": {
            "member": { "scopes": policy.grant.member.scopes.joined(), "claims": policy.grant.member.claims },
            "admin": { "scopes": policy.grant.admin_scopes.joined() },
        },
        "new_keys": { "limits": limits_to_text(&policy.default_limits) },
    })
}

/// Returns limits in the form in which those of a key are stored.
fn limits_to_text(counted: &CountedLimits) -> String {
    let limits = Limits {
        counted: counted.clone(),
        ..Limits::default()
    };
    limits.joined()
}

fn undo_to_json(undo: Undo) -> Value {
    match undo {
        Undo::Never => json!("never"),
        Undo::Always => json!("always"),
        Undo::Seconds(seconds) => json!(seconds),
    }
}

/// The document, parsed without an intermediate tree: every change of a tenant's keys reads it.
#[derive(Deserialize)]
struct PolicyDocument<'t> {
    preset: &'t str,
    prefix: &'t str,
    names: &'t str,
    limit: LimitPart,
    expiry: ExpiryPart,
    rotate: RotatePart,
    #[serde(borrow)]
    revoke: RevokePart<'t>,
    reactivate: ReactivatePart,
    #[serde(borrow)]
    list: ListPart<'t>,
    #[serde(borrow)]
    verify: VerifyPart<'t>,
    /// Missing in documents that were written before this was a setting.
    #[serde(borrow)]
    leaks: Option<LeaksPart<'t>>,
    /// The same.
    #[serde(borrow)]
    grant: Option<GrantPart<'t>>,
    /// The same.
    #[serde(borrow)]
    new_keys: Option<NewKeysPart<'t>>,
}

/// Scopes are joined by spaces.
#[derive(Deserialize)]
struct GrantPart<'t> {
    #[serde(borrow)]
    member: MemberPart<'t>,
    #[serde(borrow)]
    admin: AdminPart<'t>,
}

#[derive(Deserialize)]
struct MemberPart<'t> {
    scopes: &'t str,
    claims: bool,
}

#[derive(Deserialize)]
struct AdminPart<'t> {
    scopes: &'t str,
}

#[derive(Deserialize)]
struct NewKeysPart<'t> {
    limits: &'t str,
}

fn grant(part: &GrantPart<'_>) -> Option<Grant> {
    Some(Grant {
        member: MemberGrant {
            scopes: Scopes::from_joined(part.member.scopes).ok()?,
            claims: part.member.claims,
        },
        admin_scopes: Scopes::from_joined(part.admin.scopes).ok()?,
    })
}

#[derive(Deserialize)]
struct LimitPart {
    #[serde(deserialize_with = "written")]
    keys_per_subject: Option<u32>,
    count_expired: bool,
}

#[derive(Deserialize)]
struct ExpiryPart {
    choices_days: Vec<u32>,
    /// Missing in documents that were written before this was a setting: then the preset decides.
    custom: Option<bool>,
    #[serde(deserialize_with = "written")]
    default_days: Option<u32>,
    #[serde(deserialize_with = "written")]
    max_days: Option<u32>,
    allow_never: bool,
    editable: bool,
    renew_expired: bool,
}

#[derive(Deserialize)]
struct RotatePart {
    overlap_default_seconds: u64,
    overlap_max_seconds: u64,
}

#[derive(Deserialize)]
struct RevokePart<'t> {
    #[serde(borrow)]
    undo: UndoPart<'t>,
    after: &'t str,
    confirm: &'t str,
    reason: &'t str,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum UndoPart<'t> {
    Word(&'t str),
    Seconds(u64),
}

#[derive(Deserialize)]
struct ReactivatePart {
    sticky: bool,
}

#[derive(Deserialize)]
struct ListPart<'t> {
    default: &'t str,
}

#[derive(Deserialize)]
struct VerifyPart<'t> {
    reveal: &'t str,
}

#[derive(Deserialize)]
struct LeaksPart<'t> {
    action: &'t str,
}

/// Parses a number or null. A missing field is an error: this program always writes it.
fn written<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    Option::deserialize(deserializer)
}

/// Parses what [`to_json`] returned.
pub(crate) fn from_json(text: &str) -> Result<Policy, StoreError> {
    let corrupt = || StoreError::Corrupt("a tenant's policy".to_owned());
    let document = serde_json::from_str(text).map_err(|_| corrupt())?;
    read(document).ok_or_else(corrupt)
}

fn read(document: PolicyDocument<'_>) -> Option<Policy> {
    let preset = Preset::parse(document.preset)?;
    Some(Policy {
        preset,
        prefix: Prefix::parse(document.prefix).ok()?,
        names: Names::parse(document.names)?,
        limit: OwnerKeyLimit {
            keys_per_subject: document.limit.keys_per_subject,
            count_expired: document.limit.count_expired,
        },
        expiry: Expiry {
            choices_days: document.expiry.choices_days,
            custom: document.expiry.custom.unwrap_or_else(|| preset.policy().expiry.custom),
            default_days: document.expiry.default_days,
            max_days: document.expiry.max_days,
            allow_never: document.expiry.allow_never,
            editable: document.expiry.editable,
            renew_expired: document.expiry.renew_expired,
        },
        rotate: Rotate {
            overlap_default_seconds: document.rotate.overlap_default_seconds,
            overlap_max_seconds: document.rotate.overlap_max_seconds,
        },
        revoke: Revoke {
            undo: match document.revoke.undo {
                UndoPart::Word("never") => Undo::Never,
                UndoPart::Word("always") => Undo::Always,
                UndoPart::Word(_) => return None,
                UndoPart::Seconds(seconds) => Undo::Seconds(seconds),
            },
            after: After::parse(document.revoke.after)?,
            confirm: Confirm::parse(document.revoke.confirm)?,
            reason: ReasonRule::parse(document.revoke.reason)?,
        },
        reactivate: Reactivate {
            sticky: document.reactivate.sticky,
        },
        list: ListDefault::parse(document.list.default)?,
        reveal: Reveal::parse(document.verify.reveal)?,
        leaks: match document.leaks {
            None => Leaks::STANDARD,
            Some(leaks) => Leaks {
                action: LeakAction::parse(leaks.action)?,
            },
        },
        grant: match document.grant {
            None => Grant::default(),
            Some(part) => grant(&part)?,
        },
        default_limits: match document.new_keys {
            None => CountedLimits::default(),
            Some(part) => Limits::from_joined(part.limits).ok()?.counted,
        },
    })
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
                policy.leaks.action = LeakAction::Notify;
                policy.grant.member.scopes = Scopes::parse(["repo:*", "a/b.c_d-e"]).unwrap();
                policy.grant.member.claims = true;
                policy.grant.admin_scopes = Scopes::default();
                policy.default_limits = Limits::from_joined("rate:per-minute,60,60,10,soft quota:monthly,9,month")
                    .unwrap()
                    .counted;
                assert_eq!(from_json(&to_json(&policy).to_string()).unwrap(), policy);
            }
        }
    }

    #[test]
    fn a_document_that_is_older_than_a_rule_reads_with_its_default() {
        let policy = Preset::Standard.policy();
        let mut old = to_json(&policy);
        for rule in ["leaks", "grant", "new_keys"] {
            assert!(old.as_object_mut().unwrap().remove(rule).is_some(), "{rule}");
        }
        let old = old.to_string();
        assert_eq!(from_json(&old).unwrap(), policy);
    }

    #[test]
    fn what_was_not_written_by_us_is_corrupt() {
        let good = to_json(&Preset::Standard.policy()).to_string();
        let without = good.replace(r#","keys_per_subject":null"#, "");
        let strange = good.replace(r#""names":"unique""#, r#""names":"odd""#);
        let odd = good.replace(r#""action":"revoke""#, r#""action":"sing""#);
        assert!(odd != good && without != good && strange != good, "{good}");
        for text in ["", "{}", "null", r#"{"preset":"other"}"#, &without, &strange, &odd] {
            assert!(matches!(from_json(text), Err(StoreError::Corrupt(_))), "{text}");
        }
    }
}
