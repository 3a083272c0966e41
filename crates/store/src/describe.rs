//! Records as the audit log has them: JSON without any secret or its digest.
//!
//! The log outlives the key, so it has no description and no claims, only a short hash by which a change can be seen:
//! erasing a key leaves its history without its data.

use crate::codec;
use crate::model::{RootKey, Tenant};
use keyreeve_core::access::Reach;
use keyreeve_core::lifecycle::State;
use keyreeve_core::text::Name;
use keyreeve_core::{CheckPolicy, Digest, Key, Policy, Timestamp, User};
use serde::Serialize;
use serde_json::json;

/// The description of a key, in alphabetical order.
#[derive(Serialize)]
struct Described<'k> {
    claims: Option<String>,
    description: Option<String>,
    expires_at: Option<i64>,
    last_four: &'k str,
    limits: Option<String>,
    name: &'k str,
    prefix: &'k str,
    reason_code: Option<&'static str>,
    retiring_until: Option<i64>,
    scopes: Vec<&'k str>,
    state: &'static str,
    subject: &'k str,
}

/// Describes a key.
pub fn key(key: &Key) -> String {
    let described = Described {
        claims: key.claims.as_ref().map(|claims| mark(claims.as_json())),
        description: key.description.as_ref().map(|text| mark(text.as_str())),
        expires_at: key.expires_at.map(Timestamp::millis),
        last_four: key.secret.last_four.as_str(),
        limits: Some(key.limits.joined()).filter(|limits| !limits.is_empty()),
        name: key.name.as_str(),
        prefix: key.secret.prefix.as_str(),
        reason_code: reason_code(&key.state),
        retiring_until: key.retiring.as_ref().map(|old| old.until.millis()),
        scopes: key.scopes.iter().collect(),
        state: state_word(&key.state),
        subject: key.subject.as_str(),
    };
    // Texts, numbers and a list: serializing them cannot fail.
    serde_json::to_string(&described).unwrap_or_default()
}

/// Returns 32 bits of a digest: enough to see that a text changed, too few to confirm what it was.
fn mark(text: &str) -> String {
    let [a, b, c, d, ..] = *Digest::of(text.as_bytes()).bytes();
    format!("sha256:{a:02x}{b:02x}{c:02x}{d:02x}")
}

fn state_word(state: &State) -> &'static str {
    match state {
        State::Active => "active",
        State::Disabled(_) => "disabled",
        State::Revoked(_) => "revoked",
    }
}

fn reason_code(state: &State) -> Option<&'static str> {
    match state {
        State::Active => None,
        State::Disabled(hold) => Some(hold.code.as_str()),
        State::Revoked(revocation) => Some(revocation.code.as_str()),
    }
}

/// Describes a user.
pub(crate) fn user(user: &User) -> String {
    json!({
        "email": user.email.as_str(),
        "name": user.name.as_ref().map(Name::as_str),
        "role": user.role.as_str(),
        "status": user.status.as_str(),
    })
    .to_string()
}

/// Describes a tenant with its policy.
pub(crate) fn tenant(tenant: &Tenant) -> String {
    json!({
        "name": tenant.name.as_str(),
        "status": tenant.status.as_str(),
        "policy": codec::policy::to_json(&tenant.policy),
    })
    .to_string()
}

/// Describes a policy.
pub fn policy(policy: &Policy) -> String {
    codec::policy::to_json(policy).to_string()
}

/// Describes a check policy.
pub fn check_policy(policy: &CheckPolicy) -> String {
    codec::check_policy::to_json(policy).to_string()
}

/// Describes a root key.
pub(crate) fn root_key(root_key: &RootKey) -> String {
    let tenant = match &root_key.reach {
        Reach::Instance => None,
        Reach::Tenant(slug) => Some(slug.as_str()),
    };
    let permissions: Vec<_> = root_key
        .permissions
        .iter()
        .map(|permission| permission.as_str())
        .collect();
    let mut described = json!({
        "name": root_key.name.as_str(),
        "tenant": tenant,
        "permissions": permissions,
        "last_four": root_key.last_four.as_str(),
        "revoked": root_key.revoked_at.is_some(),
    });
    // Only what is set, so that the description of a root key from before these fields is the same.
    let times = [
        ("expires_at", root_key.expires_at),
        ("retiring_until", root_key.retiring.as_ref().map(|old| old.until)),
        ("rotated_at", root_key.rotated_at),
    ];
    if let Some(fields) = described.as_object_mut() {
        let set = times
            .into_iter()
            .filter_map(|(name, at)| Some((name.to_owned(), json!(at?.millis()))));
        fields.extend(set);
        if !root_key.networks.is_any() {
            fields.insert("networks".to_owned(), json!(root_key.networks.joined()));
        }
    }
    described.to_string()
}
