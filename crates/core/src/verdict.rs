//! The verdict: whether a secret may be used for a request now.
//!
//! The order of checks is defined only here. Denials from "rotated" on are returned only to a caller who presented the
//! complete, correct secret, because only its digest finds a record.

use crate::access::words;
use crate::policy::Reveal;
use crate::time::Timestamp;
use crate::{limits, scope};
use std::net::IpAddr;

words!(
    /// The exact cause of a denial, for the relying service's own logs.
    Denial {
        /// No secret was presented.
        Missing => "missing",
        /// Not of the form of a key, or the checksum does not match. Known without a look-up.
        Malformed => "malformed",
        /// No key has this secret.
        Unknown => "unknown",
        /// The key was erased.
        Erased => "erased",
        /// The secret was replaced by a rotation.
        Rotated => "rotated",
        /// The key is revoked.
        Revoked => "revoked",
        /// The key's owner, or its tenant, is suspended.
        OwnerBlocked => "owner_blocked",
        /// The key is disabled.
        Disabled => "disabled",
        /// The key is not valid yet.
        NotYetValid => "not_yet_valid",
        /// The key has expired.
        Expired => "expired",
        /// Not accepted from this network address.
        Address => "address",
        /// The key lacks a scope.
        Scope => "scope",
        /// A limit is reached.
        Limited => "limited",
        /// This verifier cannot know: no lease, or no store. Never a guess.
        Unavailable => "unavailable",
        /// The database was restored, and the operator has not decided yet which keys may be used.
        Undecided => "restore_undecided",
    }
);

words!(
    /// The code that a relying service passes on to its own caller.
    Outer {
        /// 401: no key was presented.
        KeyRequired => "API_KEY_REQUIRED",
        /// 401: the key is not good.
        KeyInvalid => "API_KEY_INVALID",
        /// 401: the key has expired.
        KeyExpired => "API_KEY_EXPIRED",
        /// 403: the key is disabled.
        KeyDisabled => "API_KEY_DISABLED",
        /// 403: not accepted from this address.
        ContextDenied => "API_KEY_CONTEXT_DENIED",
        /// 403: a scope is missing.
        InsufficientScope => "INSUFFICIENT_SCOPE",
        /// 429: a limit is reached.
        RateLimited => "RATE_LIMITED",
        /// 503: retry.
        Unavailable => "SERVICE_UNAVAILABLE",
    }
);

impl Outer {
    /// Returns the HTTP status of the code.
    pub const fn status(self) -> u16 {
        match self {
            Self::KeyRequired | Self::KeyInvalid | Self::KeyExpired => 401,
            Self::KeyDisabled | Self::ContextDenied | Self::InsufficientScope => 403,
            Self::RateLimited => 429,
            Self::Unavailable => 503,
        }
    }
}

impl Denial {
    /// Whether no verdict can be given now: nothing is known of the key.
    pub const fn is_no_verdict(self) -> bool {
        matches!(self, Self::Unavailable | Self::Undecided)
    }

    /// Returns the code to pass on, which depends on what the tenant reveals.
    pub const fn outer(self, reveal: Reveal) -> Outer {
        match (self, reveal) {
            (Self::Missing, _) => Outer::KeyRequired,
            (Self::Disabled, Reveal::OwnerSafe) => Outer::KeyDisabled,
            (Self::Expired | Self::NotYetValid, Reveal::OwnerSafe) => Outer::KeyExpired,
            (
                Self::Malformed
                | Self::Unknown
                | Self::Erased
                | Self::Rotated
                | Self::Revoked
                | Self::OwnerBlocked
                | Self::Disabled
                | Self::Expired
                | Self::NotYetValid,
                _,
            ) => Outer::KeyInvalid,
            (Self::Address, _) => Outer::ContextDenied,
            (Self::Scope, _) => Outer::InsufficientScope,
            (Self::Limited, _) => Outer::RateLimited,
            (Self::Unavailable | Self::Undecided, _) => Outer::Unavailable,
        }
    }
}

/// The state of one secret within its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SecretStanding {
    /// The key's present secret.
    Live,
    /// The previous secret, accepted until then.
    Retiring(Timestamp),
    /// Replaced; not accepted any more.
    Retired,
    /// Its key is erased. Kept so that the secret is never valid or issued again.
    Tombstone,
}

/// The state of a key, as far as a verdict needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyStanding {
    /// Active.
    Active,
    /// On hold, perhaps until it becomes a revocation without a further call.
    Disabled {
        /// When it becomes final.
        finalize_at: Option<Timestamp>,
    },
    /// Revoked.
    Revoked,
}

/// What is known about a presented secret that was found by its digest.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The secret itself.
    pub secret: SecretStanding,
    /// Its key.
    pub key: KeyStanding,
    /// Whether the owner or the tenant is suspended.
    pub owner_blocked: bool,
    /// The key is not valid before this.
    pub not_before: Option<Timestamp>,
    /// The key is not valid from this on.
    pub expires_at: Option<Timestamp>,
    /// The key's scopes, joined by spaces. As bytes, so that a request without scopes does not load them into the
    /// cache.
    pub scopes: &'a [u8],
    /// The key's limits, joined by spaces ([`crate::Limits::joined`]).
    pub limits: &'a str,
}

/// Evaluates a secret whose facts are known. `needed` are the scopes that the relying service requires, all of them;
/// `address` is the end user's.
///
/// Limits with counters are not evaluated here: the caller charges them last, when everything else is good.
pub fn judge<'n>(
    facts: &Facts<'_>,
    needed: impl IntoIterator<Item = &'n str>,
    address: Option<IpAddr>,
    now: Timestamp,
) -> Result<(), Denial> {
    // The secret before its key: with an old secret, a caller learns nothing of the state of the key.
    match facts.secret {
        SecretStanding::Tombstone => return Err(Denial::Erased),
        SecretStanding::Retired => return Err(Denial::Rotated),
        SecretStanding::Retiring(until) if until <= now => return Err(Denial::Rotated),
        SecretStanding::Retiring(_) | SecretStanding::Live => {}
    }
    let disabled = match facts.key {
        KeyStanding::Revoked => return Err(Denial::Revoked),
        KeyStanding::Disabled { finalize_at: Some(end) } if end <= now => return Err(Denial::Revoked),
        KeyStanding::Disabled { .. } => true,
        KeyStanding::Active => false,
    };
    // Before the hold: a disabled key may have a code of its own, the block of an owner is not revealed.
    if facts.owner_blocked {
        return Err(Denial::OwnerBlocked);
    }
    if disabled {
        return Err(Denial::Disabled);
    }
    if facts.not_before.is_some_and(|start| now < start) {
        return Err(Denial::NotYetValid);
    }
    if facts.expires_at.is_some_and(|end| end <= now) {
        return Err(Denial::Expired);
    }
    if !limits::admits(facts.limits, address) {
        return Err(Denial::Address);
    }
    let holds = |scope| str::from_utf8(facts.scopes).is_ok_and(|held| scope::holds(held, scope));
    if needed.into_iter().all(holds) {
        Ok(())
    } else {
        Err(Denial::Scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000);
    const PAST: Timestamp = Timestamp::from_millis(999);
    const LATER: Timestamp = Timestamp::from_millis(1_001);

    fn good() -> Facts<'static> {
        Facts {
            secret: SecretStanding::Live,
            key: KeyStanding::Active,
            owner_blocked: false,
            not_before: None,
            expires_at: None,
            scopes: b"read",
            limits: "",
        }
    }

    /// Every check fails at first; each is fixed in turn, and the next one must be the denial.
    #[test]
    fn checks_come_in_the_fixed_order() {
        let mut facts = Facts {
            secret: SecretStanding::Tombstone,
            key: KeyStanding::Revoked,
            owner_blocked: true,
            not_before: Some(LATER),
            expires_at: Some(PAST),
            scopes: b"",
            limits: "net:192.0.2.0/24",
        };
        let judged = |facts: &Facts<'_>| judge(facts, ["read"], "198.51.100.1".parse().ok(), NOW);
        assert_eq!(judged(&facts), Err(Denial::Erased));
        facts.secret = SecretStanding::Retired;
        assert_eq!(judged(&facts), Err(Denial::Rotated));
        facts.secret = SecretStanding::Live;
        assert_eq!(judged(&facts), Err(Denial::Revoked));
        facts.key = KeyStanding::Disabled { finalize_at: None };
        assert_eq!(judged(&facts), Err(Denial::OwnerBlocked));
        facts.owner_blocked = false;
        assert_eq!(judged(&facts), Err(Denial::Disabled));
        facts.key = KeyStanding::Active;
        assert_eq!(judged(&facts), Err(Denial::NotYetValid));
        facts.not_before = None;
        assert_eq!(judged(&facts), Err(Denial::Expired));
        facts.expires_at = None;
        assert_eq!(judged(&facts), Err(Denial::Address));
        facts.limits = "net:198.51.100.0/24";
        assert_eq!(judged(&facts), Err(Denial::Scope));
        facts.scopes = b"read";
        assert_eq!(judged(&facts), Ok(()));
    }

    #[test]
    fn time_limits_end_exactly_at_their_moment() {
        let judged = |facts: Facts<'_>| judge(&facts, [], None, NOW);
        assert_eq!(
            judged(Facts {
                expires_at: Some(NOW),
                ..good()
            }),
            Err(Denial::Expired)
        );
        assert_eq!(
            judged(Facts {
                expires_at: Some(LATER),
                ..good()
            }),
            Ok(())
        );
        assert_eq!(
            judged(Facts {
                not_before: Some(NOW),
                ..good()
            }),
            Ok(())
        );
        let retiring = |until| Facts {
            secret: SecretStanding::Retiring(until),
            ..good()
        };
        assert_eq!(judged(retiring(LATER)), Ok(()));
        assert_eq!(judged(retiring(NOW)), Err(Denial::Rotated));
        let held = |end| Facts {
            key: KeyStanding::Disabled { finalize_at: Some(end) },
            ..good()
        };
        assert_eq!(judged(held(LATER)), Err(Denial::Disabled));
        assert_eq!(judged(held(NOW)), Err(Denial::Revoked));
    }

    #[test]
    fn all_needed_scopes_must_be_held() {
        let facts = Facts {
            scopes: b"read write",
            ..good()
        };
        assert_eq!(judge(&facts, ["read", "write"], None, NOW), Ok(()));
        assert_eq!(judge(&facts, ["read", "admin"], None, NOW), Err(Denial::Scope));
    }

    #[test]
    fn what_is_not_revealed_is_just_invalid() {
        assert_eq!(Denial::Disabled.outer(Reveal::OwnerSafe).status(), 403);
        assert_eq!(Denial::Expired.outer(Reveal::OwnerSafe), Outer::KeyExpired);
        for denial in [
            Denial::Disabled,
            Denial::Expired,
            Denial::Revoked,
            Denial::Rotated,
            Denial::Unknown,
        ] {
            assert_eq!(denial.outer(Reveal::None), Outer::KeyInvalid);
        }
        assert_eq!(Denial::Missing.outer(Reveal::None), Outer::KeyRequired);
        assert_eq!(Denial::Unavailable.outer(Reveal::None).status(), 503);
    }
}
