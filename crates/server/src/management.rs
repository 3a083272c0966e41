//! What an endpoint of the management API needs: the use cases, and the record of how long their changes took.

use crate::numbers::Numbers;
use keyreeve_authority::keys::{ChangedKey, RotatedKey};
use keyreeve_authority::{Authority, Effect};
use keyreeve_web::effects::Effects;
use std::sync::Arc;

/// Shared by all endpoints.
#[derive(Debug)]
pub(crate) struct Management {
    authority: Arc<Authority>,
    numbers: Arc<Numbers>,
    last_effects: Effects,
}

impl Management {
    pub(crate) fn new(authority: Arc<Authority>, numbers: Arc<Numbers>) -> Self {
        Self {
            authority,
            numbers,
            last_effects: Effects::default(),
        }
    }

    /// Returns the use cases.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Records how long a change took to be effective everywhere.
    pub(crate) fn note_effect(&self, effect: &Effect) {
        self.numbers.note_effect(effect);
    }

    /// Keeps how long a change of a key took to be effective everywhere.
    pub(crate) fn note_change(&self, changed: &ChangedKey) {
        self.last_effects.changed(changed, self.authority.now());
    }

    /// The same for a rotation.
    pub(crate) fn note_rotation(&self, rotated: &RotatedKey) {
        self.last_effects.rotated(rotated, self.authority.now());
    }

    /// Records and keeps a change whose effect was awaited.
    pub(crate) fn note_done(&self, changed: &ChangedKey) {
        self.note_effect(&changed.effect);
        self.note_change(changed);
    }

    /// Records that a verification of the complete audit log has found no error.
    pub(crate) fn note_audit_verified(&self) {
        self.numbers.note_audit_verified(self.authority.now());
    }

    /// Returns the last changes that this node made.
    pub(crate) fn last_effects(&self) -> &Effects {
        &self.last_effects
    }
}
