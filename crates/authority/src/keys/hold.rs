//! Disable and re-activate: the reversible pair.

use super::KeyUseCases;
use super::change::{ChangedKey, Label, decided_at};
use crate::{Call, Failure};
use keyreeve_core::audit::Action;
use keyreeve_core::lifecycle::HoldOrder;
use keyreeve_core::text::Note;
use keyreeve_core::{Key, KeyId};

impl KeyUseCases<'_> {
    /// Disables a key.
    pub async fn disable(self, call: &Call, id: KeyId, note: Option<Note>) -> Result<ChangedKey, Failure> {
        let now = decided_at(self.0);
        let label = label(Action::KeyDisabled, note.as_ref());
        let order = HoldOrder {
            actor: call.caller.actor.clone(),
            note,
        };
        self.change(call, id, label, move |key: Key, policy| key.disable(order, policy, now))
            .await
    }

    /// Re-activates a key: the same secrets work again.
    pub async fn reactivate(self, call: &Call, id: KeyId, note: Option<Note>) -> Result<ChangedKey, Failure> {
        let now = decided_at(self.0);
        let label = label(Action::KeyReactivated, note.as_ref());
        let rank = call.caller.actor.rank();
        self.change(call, id, label, move |key: Key, _| key.reactivate(rank, now))
            .await
    }
}

fn label(action: Action, note: Option<&Note>) -> Label {
    Label {
        action,
        reason: note.map(|note| note.as_str().into()),
    }
}
