//! A denial that a node has applied is not undone by a database that has lost it (rule R10).
//!
//! Until its next poll a node does not see that a standby has taken over which lacks the newest changes. The revision of a
//! reading does not show it either: there, lost revisions are given to other changes. So what is read as good is held
//! against what the node remembers as denied, and where they disagree, the log decides which of them is newer.

use crate::verifier::RootPass;
use crate::{Authority, Failure};
use keyreeve_core::coherence::Entry;
use keyreeve_core::verdict::{Denial, judge};

impl Authority {
    /// To be called with what was read of a secret, before it is remembered or answered. An error if the database has
    /// lost that it is denied.
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
        match !pass.is_revoked() && self.verifier.tombstones().denies_root_key(pass.id()) {
            true => node.must_follow_known_history().await,
            false => Ok(()),
        }
    }
}
