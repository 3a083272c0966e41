//! Entries of the audit log in words.

use super::keys::limits::{lines_of, networks_of};
use super::moment::When;
use super::people::People;
use keyreeve_authority::FieldChange;
use keyreeve_authority::model::AuditRecord;
use keyreeve_core::{Limits, Timestamp};
use serde_json::Value;

/// An entry of the audit log.
#[derive(Clone, Debug)]
pub(super) struct EventEntry {
    pub(super) revision: u64,
    pub(super) at: When,
    pub(super) actor: String,
    pub(super) action: String,
    /// The action in words, without its actor.
    pub(super) words: String,
    pub(super) kind: &'static str,
    pub(super) target: String,
    /// The address of the target's page, if it has one.
    pub(super) link: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) address: Option<String>,
    pub(super) request_id: String,
    /// Changed fields: name, before, after.
    pub(super) changes: Vec<(String, String, String)>,
    /// The same in words, without fields that `words` implies and without placeholders for values that the log does not
    /// hold.
    pub(super) told: Vec<ChangedField>,
}

/// A changed field in words.
#[derive(Clone, Debug)]
pub(super) struct ChangedField {
    pub(super) name: String,
    /// The values before and after, if the log has them.
    pub(super) values: Option<(String, String)>,
}

/// Fields that the action implies, or that mean nothing to a reader.
const UNSAID: [&str; 5] = ["state", "reason_code", "last_four", "prefix", "retiring_until"];

/// Returns the changed fields in words.
pub(super) fn told(changes: &[FieldChange]) -> Vec<ChangedField> {
    let said = changes.iter().filter(|change| !UNSAID.contains(&change.name.as_str()));
    said.map(|change| {
        let readable = |value| readable(&change.name, value);
        ChangedField {
            name: label(&change.name),
            values: change
                .values
                .as_ref()
                .map(|(before, after)| (readable(before), readable(after))),
        }
    })
    .collect()
}

/// Returns the label of a field of the log.
fn label(field: &str) -> String {
    let label = match field {
        "expires_at" => "expiry",
        "key_headers" => "headers",
        "cache_max_age_seconds" => "seconds that an answer is kept",
        "gateway_credential" => "what the gateway shows",
        "meta" => "claims are handed on",
        "limit.keys_per_subject" => "keys of one owner",
        "limit.count_expired" => "expired keys count",
        "expiry.choices_days" => "expiry offered (days)",
        "expiry.custom" => "another expiry can be asked for",
        "expiry.default_days" => "expiry when not said (days)",
        "expiry.max_days" => "longest expiry (days)",
        "expiry.allow_never" => "keys may never expire",
        "expiry.editable" => "expiry can be changed",
        "expiry.renew_expired" => "expired keys can be renewed",
        "rotate.overlap_default_seconds" => "overlap when not said (seconds)",
        "rotate.overlap_max_seconds" => "longest overlap (seconds)",
        "revoke.undo" => "revoking can be undone",
        "revoke.after" => "after revoking",
        "revoke.confirm" => "asked before revoking",
        "revoke.reason" => "reason",
        "reactivate.sticky" => "an admin's hold is lifted by admins only",
        "list.default" => "lists show",
        "verify.reveal" => "a denial tells",
        "leaks.action" => "a leaked key",
        other => other,
    };
    label.replace(['_', '.'], " ")
}

fn readable(field: &str, value: &Value) -> String {
    match (field, value) {
        ("expires_at", Value::Null) => "never".to_owned(),
        ("expires_at", Value::Number(millis)) => {
            let at = Timestamp::from_millis(millis.as_i64().unwrap_or_default());
            When::new(at, at).exact
        }
        ("limits", Value::String(joined)) => match Limits::from_joined(joined) {
            Ok(limits) => {
                let mut parts = networks_of(&limits);
                parts.extend(lines_of(&limits));
                parts.join(", ")
            }
            Err(_) => joined.clone(),
        },
        (_, Value::Null) => "none".to_owned(),
        (_, Value::Bool(is_so)) => if *is_so { "yes" } else { "no" }.to_owned(),
        (_, Value::Array(items)) if items.is_empty() => "none".to_owned(),
        (_, value) => plain(value),
    }
}

/// Makes an entry readable.
pub(super) fn entry(record: &AuditRecord, people: &People, now: Timestamp) -> EventEntry {
    let (before, after) = (fields(record.before.as_deref()), fields(record.after.as_deref()));
    let name = [&after, &before].into_iter().find_map(|fields| {
        let named = fields.iter().find(|(field, _)| field == "name" || field == "email");
        named.map(|(_, value)| value.clone())
    });
    let target = match record.target_type.as_str() {
        "key" => name.unwrap_or_else(|| record.target_id.clone()),
        _ => people.name_of(&record.target_id),
    };
    EventEntry {
        revision: record.revision,
        at: When::new(record.at, now),
        actor: people.name_of(&record.actor_id),
        words: words(&record.action).to_owned(),
        kind: kind(&record.action),
        action: record.action.clone(),
        target,
        link: (record.target_type == "key" && record.action != "key.erased")
            .then(|| format!("/keys/{}", record.target_id)),
        reason: record.reason.clone(),
        address: record.address.clone(),
        request_id: record.request_id.clone(),
        changes: changes(&before, &after),
        told: told(&FieldChange::all_of(record)),
    }
}

fn fields(text: Option<&str>) -> Vec<(String, String)> {
    let Some(Value::Object(object)) = text.and_then(|text| serde_json::from_str(text).ok()) else {
        return Vec::new();
    };
    object.into_iter().map(|(name, value)| (name, plain(&value))).collect()
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn changes(before: &[(String, String)], after: &[(String, String)]) -> Vec<(String, String, String)> {
    let of = |fields: &[(String, String)], name: &str| {
        let found = fields.iter().find(|(field, _)| field == name);
        found.map_or_else(|| "–".to_owned(), |(_, value)| value.clone())
    };
    let mut names: Vec<&String> = before.iter().chain(after).map(|(name, _)| name).collect();
    names.dedup();
    names.sort();
    names.dedup();
    let all = names
        .into_iter()
        .map(|name| (name.clone(), of(before, name), of(after, name)));
    all.filter(|(_, before, after)| before != after).collect()
}

/// Returns an action in words, in the past tense.
pub(super) fn words(action: &str) -> &'static str {
    match action {
        "key.created" => "created the key",
        "key.updated" => "edited the key",
        "key.rotated" => "rotated the key",
        "key.rotation_finished" => "ended the old secret of",
        "key.limits_reset" => "set back the limits of",
        "key.disabled" => "disabled the key",
        "key.reactivated" => "re-activated the key",
        "key.revoked" => "revoked the key",
        "key.erased" => "deleted the key",
        "key.leaked" => "was told of a leaked secret of",
        "key.secret_reused" => "saw a replaced secret of",
        "policy.updated" => "changed the policy of",
        "check_policy.created" => "made the check policy",
        "check_policy.updated" => "changed the check policy",
        "check_policy.removed" => "removed the check policy",
        "tenant.created" => "made the tenant",
        "tenant.updated" => "changed the tenant",
        "tenant.removed" => "removed the tenant",
        "user.created" => "added the user",
        "user.updated" => "changed the user",
        "user.removed" => "removed the user",
        "user.signed_in" => "signed in as",
        "user.sign_in_refused" => "refused to sign in",
        "user.invited" => "invited",
        "root_key.created" => "made the root key",
        "root_key.revoked" => "revoked the root key",
        "verifier.disconnected" => "disconnected the verifier",
        "access.refused" => "was refused at",
        "instance.restore_accepted" => "accepted a restored database for",
        "instance.restore_begun" => "began to repair a restored database for",
        "instance.restored" => "repaired a restored database for",
        "instance.restore_decided" => "decided about a restored database for",
        _ => "changed",
    }
}

/// Returns the style (colour and icon) of an action.
fn kind(action: &str) -> &'static str {
    match action {
        "key.revoked" | "key.erased" | "root_key.revoked" | "user.removed" | "tenant.removed" => "ended",
        "key.disabled"
        | "access.refused"
        | "user.sign_in_refused"
        | "key.secret_reused"
        | "key.leaked"
        | "instance.restore_accepted"
        | "instance.restore_begun"
        | "instance.restored"
        | "instance.restore_decided" => "warned",
        "key.created" | "key.reactivated" | "user.created" => "begun",
        _ => "changed",
    }
}
