//! Root keys, and the request to give one a new secret.

use super::Replay;
use keyreeve_core::access::{Permissions, Reach};
use keyreeve_core::key::LastFour;
use keyreeve_core::lifecycle::Retiring;
use keyreeve_core::limits::Networks;
use keyreeve_core::text::{Name, Slug};
use keyreeve_core::{Digest, RootKeyId, Timestamp};
use std::fmt;

/// A credential for the management API.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RootKey {
    /// Its id.
    pub id: RootKeyId,
    /// Its display name.
    pub name: Name,
    /// What it can reach.
    pub reach: Reach,
    /// What it may do.
    pub permissions: Permissions,
    /// The networks that it may be used from.
    pub networks: Networks,
    /// The digest of its secret.
    pub digest: Digest,
    /// The last four characters of its secret.
    pub last_four: LastFour,
    /// The secret before the last rotation. It stays here after its end, until the next rotation.
    pub retiring: Option<Retiring>,
    /// Whether its present secret was ever accepted, as far as stored.
    pub is_presented: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was rotated last.
    pub rotated_at: Option<Timestamp>,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// When a call with it was last accepted, as far as stored.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl RootKey {
    /// Whether its expiry is past.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// Returns the end of the overlap that is running.
    pub fn overlap_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.retiring.as_ref().map(|old| old.until).filter(|until| *until > now)
    }

    /// Returns when one of its secrets stops being accepted: at the root key's expiry, and a replaced secret at the end
    /// of its overlap.
    pub fn end_of(&self, secret: &Digest) -> Option<Timestamp> {
        let overlap = match &self.retiring {
            Some(old) if old.digest == *secret => Some(old.until),
            Some(_) | None => None,
        };
        self.expires_at.into_iter().chain(overlap).min()
    }

    /// Whether a call with a secret may change anything: it is one of its own, and neither replaced nor expired; without
    /// a secret, whether it is neither revoked nor expired.
    pub(crate) fn is_good(&self, secret: Option<&Digest>, now: Timestamp) -> bool {
        let is_accepted = |secret: &Digest| {
            let is_own = *secret == self.digest || self.retiring.as_ref().is_some_and(|old| old.digest == *secret);
            is_own && self.end_of(secret).is_none_or(|end| end > now)
        };
        self.revoked_at.is_none() && !self.is_expired(now) && secret.is_none_or(is_accepted)
    }
}

/// Whether the caller could be given a root key as it is after the change.
pub type MayHold = Box<dyn Fn(&RootKey) -> bool + Send>;

/// A request to give a root key a new secret.
pub struct RootKeyRotation {
    /// Only a root key that is bound to this tenant is found; `None` is any.
    pub tenant: Option<Slug>,
    /// The root key.
    pub id: RootKeyId,
    /// The digest of the new secret.
    pub digest: Digest,
    /// Its last four characters.
    pub last_four: LastFour,
    /// How long the present secret is still accepted, in seconds.
    pub overlap_seconds: u64,
    /// The new expiry; the outer `None` keeps the present one.
    pub expires_at: Option<Option<Timestamp>>,
    /// The secret is given to the caller, who must not get more by it than it has.
    pub may_hold: MayHold,
}

/// The result of a rotation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RotatedRootKey {
    /// The root key after it.
    pub root_key: RootKey,
    /// The newest revision after it.
    pub revision: u64,
    /// Whether it was a retry. If [`Replay::Completed`], the secret of the request was not stored.
    pub replay: Replay,
}

impl fmt::Debug for RootKeyRotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootKeyRotation")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
