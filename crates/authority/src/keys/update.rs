//! Update: the fields of a key.

use super::KeyUseCases;
use super::change::{ChangedKey, Label, decide, decided_at};
use crate::memory::KeyOperation;
use crate::{Call, Failure};
use keyreeve_core::KeyId;
use keyreeve_core::access::Permission;
use keyreeve_core::audit::Action;
use keyreeve_core::lifecycle::Edit;
use keyreeve_core::limits::{self, LimitStanding};

impl KeyUseCases<'_> {
    /// Returns the state of a key's limits, in any state of the key, without its secret and without a charge.
    pub async fn limits(self, call: &Call, id: KeyId) -> Result<Vec<LimitStanding>, Failure> {
        let record = self.get(call, id).await?;
        let joined = record.key.limits.joined();
        if !limits::counts(&joined) {
            return Ok(Vec::new());
        }
        let unknown = || Failure::Unavailable("what is counted cannot be read now".to_owned());
        Ok(self.0.budget(id, &joined).await.ok_or_else(unknown)?.standings)
    }

    /// Resets what the limits of a key have counted, on every node when this returns.
    pub async fn reset_limits(self, call: &Call, id: KeyId) -> Result<ChangedKey, Failure> {
        call.require_to_limit()?;
        let now = decided_at(self.0);
        let label = Label {
            action: Action::KeyLimitsReset,
            reason: None,
        };
        self.change(call, id, label, move |key, _| key.reset_limits(now)).await
    }

    /// Changes name, description, claims, scopes or expiry of a key.
    pub async fn update(self, call: &Call, id: KeyId, edit: Edit) -> Result<ChangedKey, Failure> {
        self.0
            .counted(Some(KeyOperation::Update), self.update_key(call, id, edit))
            .await
    }

    async fn update_key(self, call: &Call, id: KeyId, edit: Edit) -> Result<ChangedKey, Failure> {
        call.require(Permission::KeysWrite)?;
        self.require_own(call, id).await?;
        if edit.counted.is_some() {
            call.require_to_limit()?;
        }
        let now = decided_at(self.0);
        let label = Label {
            action: Action::KeyUpdated,
            reason: None,
        };
        let new_name = edit.name.clone();
        let actor = call.caller.actor.clone();
        let decide = decide(label, new_name.clone(), move |key, policy| {
            let before = key.clone();
            let outcome = key.update(edit, policy, now)?;
            policy.check_grant(&actor, Some(&before), outcome.key())?;
            Ok(outcome)
        });
        self.change_unchecked(call, id, new_name, decide).await
    }
}
