//! The verdict: may this secret be used for this, now?
//!
//! The order of checks is fixed here and nowhere else. Everything from "rotated" on is only ever told to someone who
//! presented the full, correct secret, because only the digest of that finds a record.

use crate::access::words;
use crate::policy::Reveal;
use crate::time::Timestamp;
use crate::{limits, scope};
use std::net::IpAddr;

words!(
    /// Why a secret is denied: the exact cause, for the relying service's own logs.
    Denial {
        /// No secret was presented.
        Missing => "missing",
        /// Not of the form of a key, or its checksum does not fit. Known without a look-up.
        Malformed => "malformed",
        /// No key has this secret.
        Unknown => "unknown",
        /// The key was erased.
        Erased => "erased",
        /// The secret was replaced by a rotation.
        Rotated => "rotated",
        /// The key is revoked.
        Revoked => "revoked",
        /// The key's owner, or its whole tenant, is suspended.
        OwnerBlocked => "owner_blocked",
        /// The key is on hold.
        Disabled => "disabled",
        /// The key's time has not come.
        NotYetValid => "not_yet_valid",
        /// The key's time is over.
        Expired => "expired",
        /// Not from this network address.
        Address => "address",
        /// Not for this scope.
        Scope => "scope",
        /// Too many uses.
        Limited => "limited",
        /// This verifier cannot know: no lease, or no store. Never a guess.
        Unavailable => "unavailable",
    }
);

words!(
    /// What a relying service passes on to its own caller.
    Outer {
        /// 401: no key was given.
        KeyRequired => "API_KEY_REQUIRED",
        /// 401: the key is no good.
        KeyInvalid => "API_KEY_INVALID",
        /// 401: the key is over.
        KeyExpired => "API_KEY_EXPIRED",
        /// 403: the key is on hold.
        KeyDisabled => "API_KEY_DISABLED",
        /// 403: not from here.
        ContextDenied => "API_KEY_CONTEXT_DENIED",
        /// 403: not for this.
        InsufficientScope => "INSUFFICIENT_SCOPE",
        /// 429: too often.
        RateLimited => "RATE_LIMITED",
        /// 503: ask again.
        Unavailable => "SERVICE_UNAVAILABLE",
    }
);

impl Outer {
    /// The HTTP status that goes with it.
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
    /// What the outside is told, as far as the tenant reveals it.
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
            (Self::Unavailable, _) => Outer::Unavailable,
        }
    }
}

/// How one secret stands to its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SecretStanding {
    /// The key's present secret.
    Live,
    /// The one before, good until then.
    Retiring(Timestamp),
    /// Replaced for good.
    Retired,
    /// Its key is erased; kept so that the value is never valid or issued again.
    Tombstone,
}

/// How a key stands, as far as a verdict needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyStanding {
    /// Active.
    Active,
    /// On hold, perhaps until it becomes a revocation by itself.
    Disabled {
        /// When it becomes final.
        finalize_at: Option<Timestamp>,
    },
    /// Revoked.
    Revoked,
}

/// What is known about a presented secret whose digest was found.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The secret itself.
    pub secret: SecretStanding,
    /// Its key.
    pub key: KeyStanding,
    /// Whether the owner or the tenant is suspended.
    pub owner_blocked: bool,
    /// Before this the key is not valid.
    pub not_before: Option<Timestamp>,
    /// From this on the key is not valid.
    pub expires_at: Option<Timestamp>,
    /// The key's scopes, joined by spaces. As bytes: whoever needs none does not read them from a memory far away.
    pub scopes: &'a [u8],
    /// What limits the key, joined by spaces ([`crate::Limits::joined`]).
    pub limits: &'a str,
}

/// Judges a secret whose facts are known. `needed` are the scopes the relying service asks for, all of them; `address` is
/// the end user's.
///
/// What is counted is not judged here: whoever has the meters does it last, when everything else is good.
pub fn judge<'n>(
    facts: &Facts<'_>,
    needed: impl IntoIterator<Item = &'n str>,
    address: Option<IpAddr>,
    now: Timestamp,
) -> Result<(), Denial> {
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

    /// Everything is wrong at once; each check is mended in turn, and the next one must answer.
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
