//! Keeps how long the last changes took to be effective everywhere, whichever face made them. In memory, on the node
//! that made them.

use keyreeve_authority::Effect;
use keyreeve_authority::keys::{ChangedKey, RotatedKey};
use keyreeve_authority::model::Done;
use keyreeve_core::lifecycle::State;
use keyreeve_core::text::Slug;
use keyreeve_core::{Key, Timestamp};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most changes that are kept.
const KEPT: usize = 500;

/// A measured change.
#[derive(Clone, Debug)]
pub struct Measured {
    tenant: Slug,
    /// The key's id.
    pub id: String,
    /// The key's name.
    pub key: String,
    /// When the change was made.
    pub at: Timestamp,
    /// What was done, in one word.
    pub action: &'static str,
    /// How far the change had got, and how long that took.
    pub effect: Effect,
}

/// The last changes.
#[derive(Debug, Default)]
pub struct Effects(Mutex<VecDeque<Measured>>);

impl Effects {
    fn kept(&self) -> MutexGuard<'_, VecDeque<Measured>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a change of a key. One that changed nothing is not kept.
    pub fn changed(&self, changed: &ChangedKey, at: Timestamp) {
        let key = &changed.record.key;
        let action = match (changed.done, &key.state) {
            (Done::Nothing, _) => return,
            (Done::Erased, _) => "deleted",
            (Done::Stored, State::Revoked(_)) => "revoked",
            (Done::Stored, State::Disabled(_)) => "disabled",
            (Done::Stored, State::Active) => "changed",
        };
        self.note(key, at, action, changed.effect);
    }

    /// Keeps a rotation.
    pub fn rotated(&self, rotated: &RotatedKey, at: Timestamp) {
        self.note(&rotated.key.record.key, at, "rotated", rotated.effect);
    }

    fn note(&self, key: &Key, at: Timestamp, action: &'static str, effect: Effect) {
        let mut kept = self.kept();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Measured {
            tenant: key.tenant.clone(),
            id: key.id.to_string(),
            key: key.name.to_string(),
            at,
            action,
            effect,
        });
    }

    /// Returns the changes of a tenant, oldest first.
    pub fn of(&self, tenant: &Slug) -> Vec<Measured> {
        self.kept()
            .iter()
            .filter(|one| one.tenant == *tenant)
            .cloned()
            .collect()
    }

    /// Returns the newest change of a key.
    pub fn newest(&self, id: &str) -> Option<Measured> {
        self.kept().iter().rev().find(|one| one.id == id).cloned()
    }
}
