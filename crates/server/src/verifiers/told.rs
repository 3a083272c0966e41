//! Encodes a remembered secret for the wire.

use keyreeve_api::verifiers::RememberedSecret;
use keyreeve_core::coherence::Entry;
use keyreeve_core::policy::Reveal;
use keyreeve_core::verdict::{KeyStanding, SecretStanding};

/// Returns what a verifier receives about a secret.
pub(super) fn told(entry: &Entry) -> RememberedSecret {
    let facts = entry.facts();
    let (secret, retires_at) = match facts.secret {
        SecretStanding::Live => ("live", None),
        SecretStanding::Retiring(until) => ("retiring", Some(until)),
        SecretStanding::Retired => ("retired", None),
        SecretStanding::Tombstone => ("tombstone", None),
    };
    let (key, finalize_at) = match facts.key {
        KeyStanding::Active => ("active", None),
        KeyStanding::Disabled { finalize_at } => ("disabled", finalize_at),
        KeyStanding::Revoked => ("revoked", None),
    };
    RememberedSecret {
        key_id: entry.key_id().to_string(),
        tenant: entry.gate().slug().to_string(),
        reveals: entry.gate().reveal() == Reveal::OwnerSafe,
        is_blocked: facts.owner_blocked,
        secret: secret.to_owned(),
        retires_at: retires_at.map(|at| at.millis()),
        key: key.to_owned(),
        finalize_at: finalize_at.map(|at| at.millis()),
        expires_at: facts.expires_at.map(|at| at.millis()),
        subject: entry.subject().to_owned(),
        name: entry.name().to_owned(),
        scopes: entry.scopes().to_owned(),
        claims: entry.claims().map(str::to_owned),
        limits: entry.limits().to_owned(),
    }
}
