//! The ends of a key: revoke, as the policy says, and delete.

use super::change::{ChangedKey, Label, decide, decided_at};
use crate::{Authority, Call, Failure};
use keyreeve_core::KeyId;
use keyreeve_core::access::Actor;
use keyreeve_core::audit::Action;
use keyreeve_core::lifecycle::{ReasonCode, RevokeOrder};
use keyreeve_core::text::Note;

/// A wish to revoke a key.
#[derive(Clone, Debug)]
pub struct RevokeCommand {
    /// Why, as a code.
    pub code: ReasonCode,
    /// Why, in words.
    pub note: Option<Note>,
}

impl Authority {
    /// Revokes a key. The policy says where that leads; when this returns, no verifier accepts the key.
    pub async fn revoke(&self, call: &Call, id: KeyId, command: RevokeCommand) -> Result<ChangedKey, Failure> {
        let now = decided_at(self);
        let order = order(call, &command);
        let transition = move |key: keyreeve_core::Key, policy: &_| key.revoke(order, policy, now);
        self.change(call, id, label(&command), transition).await
    }

    /// A key revokes itself: whoever holds a secret may always end it. The store checks the key again inside the
    /// transaction, so a key that was just revoked cannot do even this twice.
    pub async fn revoke_self(&self, call: &Call, command: RevokeCommand) -> Result<ChangedKey, Failure> {
        let Actor::Key(id) = call.caller.actor else {
            return Err(Failure::NotFound);
        };
        let now = decided_at(self);
        let order = order(call, &command);
        let decide = decide(label(&command), None, move |key, policy| key.revoke(order, policy, now));
        self.change_unchecked(call, id, None, decide).await
    }

    /// Destroys a key's record. Its digests stay behind as tombstones; the audit log stays.
    pub async fn delete(&self, call: &Call, id: KeyId) -> Result<ChangedKey, Failure> {
        let label = Label {
            action: Action::KeyErased,
            reason: None,
        };
        self.change(call, id, label, |key, _| Ok(key.delete())).await
    }
}

fn order(call: &Call, command: &RevokeCommand) -> RevokeOrder {
    RevokeOrder {
        actor: call.caller.actor.clone(),
        code: command.code,
        note: command.note.clone(),
    }
}

fn label(command: &RevokeCommand) -> Label {
    Label {
        action: Action::KeyRevoked,
        reason: command.note.as_ref().map(|note| note.as_str().into()),
    }
}
