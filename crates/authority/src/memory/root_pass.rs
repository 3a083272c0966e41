//! A root key as it is remembered.

use keyreeve_core::access::{Permissions, Reach};
use keyreeve_core::coherence::Cached;
use keyreeve_core::{Digest, RootKeyId};
use keyreeve_store::model::RootKey;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A root key as it is remembered.
#[derive(Clone, Debug)]
pub struct RootPass(Arc<RootPassInner>);

#[derive(Debug)]
struct RootPassInner {
    digest: Digest,
    id: RootKeyId,
    reach: Reach,
    permissions: Permissions,
    is_revoked: bool,
    is_recent: AtomicBool,
}

impl RootPass {
    pub(crate) fn of(root_key: &RootKey) -> Self {
        Self(Arc::new(RootPassInner {
            digest: root_key.digest,
            id: root_key.id,
            reach: root_key.reach.clone(),
            permissions: root_key.permissions,
            is_revoked: root_key.revoked_at.is_some(),
            is_recent: AtomicBool::new(false),
        }))
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.0.is_revoked
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
