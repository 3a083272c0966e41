//! What possession of a secret alone permits: ending its key, whatever the state of the key.

use crate::keys::KeyUseCases;
use crate::keys::{ChangedKey, RevokeCommand};
use crate::sign_in::AnonymousCaller;
use crate::{Authority, Call, Failure};
use keyreeve_core::coherence::holding::ChangeScope;
use keyreeve_core::coherence::{Entry, Moment};
use keyreeve_core::key::Presented;
use keyreeve_core::verdict::{KeyStanding, SecretStanding};

/// The result of a request to end the key of a secret.
#[derive(Debug)]
pub enum Possession {
    /// The key has ended now.
    Ended(Box<ChangedKey>),
    /// The key had ended before, and no verifier accepts it.
    EndedBefore,
    /// No key is used with this secret: it never existed, or was replaced.
    Unknown,
}

impl KeyUseCases<'_> {
    /// Ends the key that a secret belongs to, as the policy requires. A secret that was replaced for good gives no
    /// right. If the key had ended before, its end is waited for again, because it may not be effective yet.
    pub async fn revoke_presented(
        self,
        from: &AnonymousCaller,
        secret: &str,
        command: RevokeCommand,
    ) -> Result<Possession, Failure> {
        let began = self.0.clock.moment();
        let Ok(presented) = Presented::parse(secret) else {
            return Ok(Possession::Unknown);
        };
        let (entry, revision) = self.0.entry_by(presented.digest()).await?;
        let Some(entry) = entry.filter(|entry| self.0.is_own_secret(entry)) else {
            return Ok(Possession::Unknown);
        };
        if entry.facts().key == KeyStanding::Revoked {
            self.ended_before(&entry, revision, began).await?;
            return Ok(Possession::EndedBefore);
        }
        let call = Call {
            caller: Authority::caller_of_key(&entry),
            tenant: entry.gate().slug().clone(),
            address: from.address.clone(),
            request_id: from.request_id.clone(),
            idempotency: None,
            only_if: None,
            is_awaited: true,
        };
        match self.revoke_self(&call, command).await {
            Ok(changed) => Ok(Possession::Ended(Box::new(changed))),
            // Another caller ended it first.
            Err(Failure::CallerGone | Failure::NotFound) => {
                self.ended_before(&entry, self.0.verifier.applied(), began).await?;
                Ok(Possession::EndedBefore)
            }
            Err(other) => Err(other),
        }
    }

    /// Waits for the end of a key that another caller has ended.
    async fn ended_before(self, entry: &Entry, revision: u64, began: Moment) -> Result<(), Failure> {
        let scope = ChangeScope::Tenant(entry.gate().slug().clone());
        // The memory may have changes that are newer than `applied`.
        let newest = self.0.store.head().await?.revision.max(revision);
        let change = self.0.written_about(scope, &entry.key_id().to_string(), newest).await;
        self.0.effect(change, began, true).await.map(drop)
    }
}

impl Authority {
    /// Whether a secret is accepted for its key.
    pub(crate) fn is_own_secret(&self, entry: &Entry) -> bool {
        match entry.facts().secret {
            SecretStanding::Live => true,
            SecretStanding::Retiring(until) => until > self.now(),
            SecretStanding::Retired | SecretStanding::Tombstone => false,
        }
    }
}
