//! What a secret alone gives the right to: whoever holds one may end its key, whatever state it is in.

use crate::keys::{ChangedKey, RevokeCommand};
use crate::sign_in::Doorstep;
use crate::{Authority, Call, Failure};
use keyreeve_core::coherence::holding::Scope;
use keyreeve_core::coherence::{Entry, Moment};
use keyreeve_core::key::Presented;
use keyreeve_core::verdict::{KeyStanding, SecretStanding};

/// What became of a secret that was brought to end its key.
#[derive(Debug)]
pub enum Possession {
    /// Its key has ended.
    Ended(Box<ChangedKey>),
    /// Its key had ended before, and no verifier accepts it.
    EndedBefore,
    /// No key is used with it: nobody ever had it, or it was replaced.
    Unknown,
}

impl Authority {
    /// Ends the key that a secret belongs to, as the policy says. One that was replaced for good gives no right any more. Of
    /// a key that was ended before, the end is waited for once more: it may be only just under way.
    pub async fn revoke_presented(
        &self,
        from: &Doorstep,
        secret: &str,
        command: RevokeCommand,
    ) -> Result<Possession, Failure> {
        let began = self.clock.moment();
        let Ok(presented) = Presented::parse(secret) else {
            return Ok(Possession::Unknown);
        };
        let (entry, revision) = self.entry_by(presented.digest()).await?;
        let Some(entry) = entry.filter(|entry| self.is_own_secret(entry)) else {
            return Ok(Possession::Unknown);
        };
        if entry.facts().key == KeyStanding::Revoked {
            self.ended_before(&entry, revision, began).await?;
            return Ok(Possession::EndedBefore);
        }
        let call = Call {
            caller: Self::caller_of_key(&entry),
            tenant: entry.gate().slug().clone(),
            address: from.address.clone(),
            request_id: from.request_id.clone(),
            idempotency: None,
            only_if: None,
            is_awaited: true,
        };
        match self.revoke_self(&call, command).await {
            Ok(changed) => Ok(Possession::Ended(Box::new(changed))),
            // Somebody else was faster.
            Err(Failure::CallerGone | Failure::NotFound) => {
                self.ended_before(&entry, self.verifier.applied(), began).await?;
                Ok(Possession::EndedBefore)
            }
            Err(other) => Err(other),
        }
    }

    /// Waits for the end of a key that somebody else has ended.
    async fn ended_before(&self, entry: &Entry, revision: u64, began: Moment) -> Result<(), Failure> {
        let scope = Scope::Tenant(entry.gate().slug().clone());
        // The memory may be ahead of what it says that it covers.
        let newest = self.store.head().await?.revision.max(revision);
        let change = self.written_about(scope, &entry.key_id().to_string(), newest).await;
        self.effect(change, began, true).await.map(drop)
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
