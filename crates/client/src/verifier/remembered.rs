//! Converts answers of the node to entries of the memory.

use keyreeve_api::verifiers::RememberedSecret;
use keyreeve_core::coherence::child::Child;
use keyreeve_core::coherence::{Entry, NewEntry};
use keyreeve_core::policy::Reveal;
use keyreeve_core::text::Slug;
use keyreeve_core::verdict::{KeyStanding, SecretStanding};
use keyreeve_core::{Digest, KeyId, Timestamp};

/// `None` if a word is not known to this version: then nothing is remembered, and the key is not valid.
pub(super) fn entry(child: &Child, digest: Digest, remembered: &RememberedSecret) -> Option<Entry> {
    let time = |ms: Option<i64>| ms.map(Timestamp::from_millis);
    let secret = match (remembered.secret.as_str(), time(remembered.retires_at)) {
        ("live", _) => SecretStanding::Live,
        ("retiring", Some(until)) => SecretStanding::Retiring(until),
        ("retired", _) => SecretStanding::Retired,
        ("tombstone", _) => SecretStanding::Tombstone,
        _ => return None,
    };
    let key = match remembered.key.as_str() {
        "active" => KeyStanding::Active,
        "disabled" => KeyStanding::Disabled {
            finalize_at: time(remembered.finalize_at),
        },
        "revoked" => KeyStanding::Revoked,
        _ => return None,
    };
    let reveal = if remembered.reveals {
        Reveal::OwnerSafe
    } else {
        Reveal::None
    };
    Entry::new(&NewEntry {
        digest,
        key_id: KeyId::parse(&remembered.key_id).ok()?,
        gate: child.gate(Slug::parse(&remembered.tenant).ok()?, reveal, remembered.is_blocked),
        secret,
        key,
        expires_at: time(remembered.expires_at),
        subject: &remembered.subject,
        name: &remembered.name,
        scopes: &remembered.scopes,
        claims: remembered.claims.as_deref(),
        limits: &remembered.limits,
        is_presented: true,
    })
}
