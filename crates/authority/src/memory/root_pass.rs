//! A root key as it is remembered, by one of its secrets.

use crate::caller::{Caller, PresentedRootKey};
use keyreeve_core::access::{Permissions, Reach};
use keyreeve_core::coherence::Cached;
use keyreeve_core::limits::Networks;
use keyreeve_core::{Digest, RootKeyId, Timestamp};
use keyreeve_store::model::RootKey;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A root key as it is remembered, by one of its secrets.
#[derive(Clone, Debug)]
pub struct RootPass(Arc<RootPassInner>);

#[derive(Debug)]
struct RootPassInner {
    digest: Digest,
    id: RootKeyId,
    reach: Reach,
    permissions: Permissions,
    networks: Networks,
    is_revoked: bool,
    /// Whether the secret is the present one of the root key, not a retiring one.
    is_present: bool,
    /// The end of this secret of it.
    ends_at: Option<Timestamp>,
    is_recent: AtomicBool,
    /// Whether a use within the last minute is noted.
    is_noted: AtomicBool,
}

impl RootPass {
    /// Remembers a root key by the secret with this digest.
    pub(crate) fn of(digest: Digest, root_key: &RootKey) -> Self {
        Self(Arc::new(RootPassInner {
            digest,
            id: root_key.id,
            reach: root_key.reach.clone(),
            permissions: root_key.permissions,
            networks: root_key.networks.clone(),
            is_revoked: root_key.revoked_at.is_some(),
            is_present: digest == root_key.digest,
            ends_at: root_key.end_of(&digest),
            is_recent: AtomicBool::new(false),
            is_noted: AtomicBool::new(false),
        }))
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.0.is_revoked
    }

    pub(crate) fn is_present(&self) -> bool {
        self.0.is_present
    }

    /// Returns when this secret stops being accepted: at the end of the root key or of the secret's overlap.
    pub(crate) fn ends_at(&self) -> Option<Timestamp> {
        self.0.ends_at
    }

    /// Returns its id.
    pub fn id(&self) -> RootKeyId {
        self.0.id
    }

    /// Returns the tenants that it reaches.
    pub fn reach(&self) -> &Reach {
        &self.0.reach
    }

    /// Returns its permissions.
    pub fn permissions(&self) -> Permissions {
        self.0.permissions
    }

    /// Whether it may be used from any address.
    pub fn is_for_any_address(&self) -> bool {
        self.0.networks.is_any()
    }

    /// Whether it may be used from an address; `None` is a connection without one.
    pub fn admits(&self, address: Option<IpAddr>) -> bool {
        self.0.networks.admits(address)
    }

    /// Returns the root key as a caller.
    pub fn caller(&self) -> Caller {
        let presented = PresentedRootKey {
            digest: self.0.digest,
            networks: self.0.networks.clone(),
            expires_at: self.0.ends_at,
        };
        let caller = Caller::root_key(self.0.id, self.0.reach.clone(), self.0.permissions);
        caller.presenting(presented)
    }

    /// Whether a use of it is to be noted. At most one use is, until [`RootPass::forget_use`].
    pub(super) fn begin_use(&self) -> bool {
        !self.0.is_noted.load(Ordering::Relaxed) && !self.0.is_noted.swap(true, Ordering::Relaxed)
    }

    pub(super) fn forget_use(&self) {
        self.0.is_noted.store(false, Ordering::Relaxed);
    }
}

impl Cached for RootPass {
    fn digest(&self) -> &Digest {
        &self.0.digest
    }

    fn touch(&self) {
        if !self.0.is_recent.load(Ordering::Relaxed) {
            self.0.is_recent.store(true, Ordering::Relaxed);
        }
    }

    fn forget_touch(&self) -> bool {
        self.0.is_recent.swap(false, Ordering::Relaxed)
    }
}
