//! A key as the audit log shows it: JSON without any secret or digest.

use keyreeve_core::lifecycle::State;
use keyreeve_core::text::Description;
use keyreeve_core::{Key, Timestamp};
use serde_json::{Value, json};

/// A key.
pub(crate) fn key(key: &Key) -> String {
    let scopes: Vec<_> = key.scopes.iter().collect();
    let claims = key
        .claims
        .as_ref()
        .map(|claims| serde_json::from_str::<Value>(claims.as_json()).unwrap_or_default());
    json!({
        "name": key.name.as_str(),
        "subject": key.subject.as_str(),
        "description": key.description.as_ref().map(Description::as_str),
        "scopes": scopes,
        "claims": claims,
        "state": state_word(&key.state),
        "reason_code": reason_code(&key.state),
        "prefix": key.secret.prefix.as_str(),
        "last_four": key.secret.last_four.as_str(),
        "expires_at": key.expires_at.map(Timestamp::millis),
        "retiring_until": key.retiring.as_ref().map(|old| old.until.millis()),
    })
    .to_string()
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
