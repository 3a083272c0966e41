//! A key as the audit log shows it: JSON without any secret or digest of one.
//!
//! The log outlives the key, so it holds no description and no claims, only a mark by which a change can be seen:
//! erasing a key leaves its history without its data.

use keyreeve_core::lifecycle::State;
use keyreeve_core::{Digest, Key, Timestamp};
use serde::Serialize;

/// What is told of a key, in the order of the alphabet.
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

/// A key.
pub(crate) fn key(key: &Key) -> String {
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
    // Texts, numbers and a list: nothing here that JSON could not say.
    serde_json::to_string(&described).unwrap_or_default()
}

/// 32 bits of a digest: enough to see that a text changed, too few to confirm what it was.
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
