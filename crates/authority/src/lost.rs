//! A denial that a node has applied is not undone by a database that has lost it (rule R10).
//!
//! Until its next poll a node does not notice that a standby was promoted that lacks the newest changes. The revision
//! of a reading does not show it: after the loss, the same revisions are assigned to other changes. So a good reading
//! is compared with the denials that the node remembers. Where they disagree, the audit log decides which is newer.

use crate::memory::RootPass;
use crate::{Authority, Failure};
use keyreeve_core::coherence::{Cached as _, Entry};
use keyreeve_core::verdict::{Denial, judge};

impl Authority {
    /// Fails if the database has lost a denial of this secret. Call with what was read, before it is remembered or
    /// answered.
    pub(crate) async fn look_for_lost_denial(&self, entry: Option<&Entry>) -> Result<(), Failure> {
        let (Some(entry), Some(node)) = (entry, self.node()) else {
            return Ok(());
        };
        let is_denied = matches!(
            judge(&entry.facts(), [], None, self.now()),
            Err(Denial::Erased | Denial::Rotated | Denial::Revoked | Denial::OwnerBlocked | Denial::Disabled)
        );
        match !is_denied && self.verifier.tombstones().may_deny(entry) {
            true => node.must_follow_known_history().await,
            false => Ok(()),
        }
    }

    /// The same for a root key.
    pub(crate) async fn look_for_lost_revocation(&self, pass: Option<&RootPass>) -> Result<(), Failure> {
        let (Some(pass), Some(node)) = (pass, self.node()) else {
            return Ok(());
        };
        let tombstones = self.verifier.tombstones();
        match !pass.is_revoked() && tombstones.denies_root_key(pass.id(), pass.digest(), pass.is_present()) {
            true => node.must_follow_known_history().await,
            false => Ok(()),
        }
    }
}
