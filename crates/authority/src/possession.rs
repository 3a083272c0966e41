//! What a secret alone gives the right to: whoever holds one may end its key, whatever state it is in.

use crate::keys::{ChangedKey, RevokeCommand};
use crate::sign_in::Doorstep;
use crate::{Authority, Call, Failure};
use keyreeve_core::coherence::Entry;
use keyreeve_core::key::Presented;
use keyreeve_core::verdict::{KeyStanding, SecretStanding};

impl Authority {
    /// Ends the key that a secret belongs to, as the policy says; `None` if it is the secret of none that could still
    /// be used. One that was replaced for good gives no right any more. Of a key that was ended before, the end is
    /// waited for once more: it may be only just under way.
    pub async fn revoke_presented(
        &self,
        from: &Doorstep,
        secret: &str,
        command: RevokeCommand,
    ) -> Result<Option<ChangedKey>, Failure> {
        let began = self.now();
        let Ok(presented) = Presented::parse(secret) else {
            return Ok(None);
        };
        let (entry, revision) = self.entry_by(presented.digest()).await?;
        let Some(entry) = entry.filter(|entry| self.is_own_secret(entry)) else {
            return Ok(None);
        };
        if entry.facts().key == KeyStanding::Revoked {
            self.effect(revision, began, true).await?;
            return Ok(None);
        }
        let call = Call {
            caller: Self::caller_of_key(&entry),
            tenant: entry.gate().slug().clone(),
            address: from.address.clone(),
            request_id: from.request_id.clone(),
            idempotency: None,
            is_awaited: true,
        };
        match self.revoke_self(&call, command).await {
            Ok(changed) => Ok(Some(changed)),
            // Somebody else was faster.
            Err(Failure::CallerGone | Failure::NotFound) => {
                self.effect(self.verifier.applied(), began, true).await?;
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    /// Whether a secret is one that its key is used with.
    pub(crate) fn is_own_secret(&self, entry: &Entry) -> bool {
        match entry.facts().secret {
            SecretStanding::Live => true,
            SecretStanding::Retiring(until) => until > self.now(),
            SecretStanding::Retired | SecretStanding::Tombstone => false,
        }
    }
}
