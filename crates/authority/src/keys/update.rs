//! Update: what is written about a key.

use super::change::{ChangedKey, Label, decide, decided_at};
use crate::operations::Operation;
use crate::{Authority, Call, Failure};
use keyreeve_core::KeyId;
use keyreeve_core::access::Permission;
use keyreeve_core::audit::Action;
use keyreeve_core::lifecycle::Edit;

impl Authority {
    /// Changes name, description, claims, scopes or expiry of a key.
    pub async fn update(&self, call: &Call, id: KeyId, edit: Edit) -> Result<ChangedKey, Failure> {
        self.counted(Some(Operation::Update), self.update_key(call, id, edit))
            .await
    }

    async fn update_key(&self, call: &Call, id: KeyId, edit: Edit) -> Result<ChangedKey, Failure> {
        call.require(Permission::KeysWrite)?;
        self.require_own(call, id).await?;
        if edit.counted.is_some() {
            call.require_to_limit()?;
        }
        let now = decided_at(self);
        let label = Label {
            action: Action::KeyUpdated,
            reason: None,
        };
        let new_name = edit.name.clone();
        let decide = decide(label, new_name.clone(), move |key, policy| {
            key.update(edit, policy, now)
        });
        self.change_unchecked(call, id, new_name, decide).await
    }
}
