//! Rotate: a new secret for the same key. The end of the old one and the new one are one transaction.

use super::KeyUseCases;
use super::change::{Label, decide};
use super::issue::replaced;
use super::minting::{KeyWithSecret, Mint};
use crate::memory::KeyOperation;
use crate::{Call, Effect, Failure};
use keyreeve_core::access::Permission;
use keyreeve_core::audit::Action;
use keyreeve_core::coherence::holding::Awaited;
use keyreeve_core::lifecycle::{Refusal, RotateOrder};
use keyreeve_core::policy::{ExpiryWish, OverlapWish};
use keyreeve_core::text::Name;
use keyreeve_core::{Key, KeyId, Timestamp};
use keyreeve_store::model::{ChangeRequest, Replay};

/// A request to rotate a key.
#[derive(Clone, Debug)]
pub struct RotateCommand {
    /// A new name; `None` keeps the old one.
    pub name: Option<Name>,
    /// A new expiry; unset keeps the old one.
    pub expiry: ExpiryWish,
    /// How long the old secret is still accepted.
    pub overlap: OverlapWish,
}

/// A rotated key with its new secret.
#[derive(Debug)]
pub struct RotatedKey {
    /// The key.
    pub key: KeyWithSecret,
    /// How far the change has got.
    pub effect: Effect,
}

impl KeyUseCases<'_> {
    /// Gives a key a new secret. A retry with the same idempotency key whose secret was never presented gets another
    /// one in its place. If it was presented, the error is [`Failure::AlreadyCompleted`].
    pub async fn rotate(self, call: &Call, id: KeyId, command: RotateCommand) -> Result<RotatedKey, Failure> {
        self.0
            .counted(Some(KeyOperation::Rotate), self.rotate_key(call, id, command))
            .await
    }

    async fn rotate_key(self, call: &Call, id: KeyId, command: RotateCommand) -> Result<RotatedKey, Failure> {
        let began = self.0.clock.moment();
        call.require(Permission::KeysWrite)?;
        self.require_own(call, id).await?;
        if call.idempotency.is_some() {
            self.0.flush_first_uses().await;
        }
        let now = self.0.earliest();
        let mint = Mint::new([self.0.secret_entropy()?]);
        let request = request(call, id, command, &mint, now);
        let changed = match self.0.store.change(call.context(now), request).await {
            Ok(changed) => changed,
            Err(error) => return Err(self.key_failure(call, id, error).await),
        };
        let record = self.0.with_pending_use(changed.record.ok_or(Failure::NotFound)?);
        if changed.replay == Replay::Completed {
            return Err(Failure::AlreadyCompleted(vec![record]));
        }
        let secret = mint
            .take(0)
            .ok_or_else(|| Failure::Internal("a secret was not minted".to_owned()))?;
        // Also for a caller who does not wait: the secret is returned only when the old one is denied everywhere.
        let effect = self
            .0
            .effect(Awaited::one(&call.tenant, changed.revision), began, true)
            .await?;
        Ok(RotatedKey {
            key: KeyWithSecret { record, secret },
            effect,
        })
    }

    /// Ends the overlap of a rotation now.
    pub async fn finish_rotation(self, call: &Call, id: KeyId) -> Result<super::ChangedKey, Failure> {
        let now = super::change::decided_at(self.0);
        let label = Label {
            action: Action::KeyRotationFinished,
            reason: None,
        };
        self.change(call, id, label, move |key: Key, _| Ok(key.finish_rotation(now)))
            .await
    }
}

fn request(call: &Call, id: KeyId, command: RotateCommand, mint: &Mint, now: Timestamp) -> ChangeRequest {
    let (rotating, replacing) = (mint.clone(), mint.clone());
    let new_name = command.name.clone();
    let label = Label {
        action: Action::KeyRotated,
        reason: None,
    };
    let decide = decide(label, new_name.clone(), move |key, policy| {
        let secret = rotating.mint(0, &policy.prefix).ok_or(Refusal::OutOfStep)?;
        let order = RotateOrder {
            secret,
            name: command.name,
            expiry: command.expiry,
            overlap: command.overlap,
        };
        key.rotate(order, policy, now)
    });
    ChangeRequest {
        tenant: call.tenant.clone(),
        id,
        new_name,
        decide,
        replace: Some(Box::new(move |place, key| replaced(&replacing, place, key, now))),
    }
}
