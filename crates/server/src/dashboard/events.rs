//! Entries of the audit log, as people read them.

use super::moment::When;
use super::people::People;
use keyreeve_core::Timestamp;
use keyreeve_store::model::AuditRecord;
use serde_json::Value;

/// An entry.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) revision: u64,
    pub(super) at: When,
    pub(super) actor: String,
    pub(super) action: String,
    /// What was done, as a sentence without its actor.
    pub(super) words: String,
    pub(super) kind: &'static str,
    pub(super) target: String,
    /// The page of the target, if it has one.
    pub(super) link: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) address: Option<String>,
    pub(super) request_id: String,
    /// Fields that changed: name, before, after.
    pub(super) changes: Vec<(String, String, String)>,
}

/// Makes an entry readable.
pub(super) fn entry(record: &AuditRecord, people: &People, now: Timestamp) -> Entry {
    let (before, after) = (fields(record.before.as_deref()), fields(record.after.as_deref()));
    let name = [&after, &before].into_iter().find_map(|fields| {
        let named = fields.iter().find(|(field, _)| field == "name" || field == "email");
        named.map(|(_, value)| value.clone())
    });
    let target = match record.target_type.as_str() {
        "key" => name.unwrap_or_else(|| record.target_id.clone()),
        _ => people.name_of(&record.target_id),
    };
    Entry {
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

/// An action as what somebody did.
fn words(action: &str) -> &'static str {
    match action {
        "key.created" => "created the key",
        "key.updated" => "edited the key",
        "key.rotated" => "rotated the key",
        "key.rotation_finished" => "ended the old secret of",
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
        "access.refused" => "was refused at",
        _ => "changed",
    }
}

/// Which colour and picture an action has.
fn kind(action: &str) -> &'static str {
    match action {
        "key.revoked" | "key.erased" | "root_key.revoked" | "user.removed" | "tenant.removed" => "ended",
        "key.disabled" | "access.refused" | "user.sign_in_refused" | "key.secret_reused" | "key.leaked" => "warned",
        "key.created" | "key.reactivated" | "user.created" => "begun",
        _ => "changed",
    }
}
