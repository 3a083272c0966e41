//! Changing the fields of a key: name, description, claims, scopes, limits, expiry.

use super::{Key, Outcome, Refusal, State, Verb};
use crate::limits::{CountedLimits, Networks};
use crate::policy::{ExpiryWish, Policy, Violation};
use crate::scope::Scopes;
use crate::text::{Claims, Description, Name, Subject};
use crate::time::Timestamp;

/// Fields to change. An outer `None` leaves a field unchanged.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    /// A new name.
    pub name: Option<Name>,
    /// A new description, or none.
    pub description: Option<Option<Description>>,
    /// New claims, or none.
    pub claims: Option<Option<Claims>>,
    /// New scopes.
    pub scopes: Option<Scopes>,
    /// The networks that it may be used from, as a new list.
    pub networks: Option<Networks>,
    /// The limits that are counted, as a new list.
    pub counted: Option<CountedLimits>,
    /// The owner. Only the present one is accepted: Clerk's callers send it too (clerk-wire, section 3).
    pub subject: Option<Subject>,
    /// A new expiry.
    pub expiry: ExpiryWish,
}

impl Key {
    /// Changes fields of the key. Never makes a key work again as a side effect: a revoked key keeps its expiry, and an
    /// expired one gets a new one only where the policy allows renewal.
    pub fn update(self, edit: Edit, policy: &Policy, now: Timestamp) -> Result<Outcome, Refusal> {
        // Settled first, as in other verbs: a hold whose undo window is over is a revocation for this change too.
        let before = self.settled(now);
        if edit.subject.as_ref().is_some_and(|subject| *subject != before.subject) {
            return Err(Refusal::OwnershipMove);
        }
        let mut key = before.clone();
        key.expires_at = before.edited_expiry(edit.expiry, policy, now)?;
        if let Some(name) = edit.name {
            key.name = name;
        }
        if let Some(description) = edit.description {
            key.description = description;
        }
        if let Some(claims) = edit.claims {
            key.claims = claims;
        }
        if let Some(scopes) = edit.scopes {
            key.scopes = scopes;
        }
        key.limits = key.limits.replaced(edit.networks, edit.counted);
        if key == before {
            return Ok(Outcome::Unchanged(key));
        }
        key.updated_at = now;
        Ok(Outcome::Changed(key))
    }

    /// Resets the counts of its limits. Fails for a revoked key, which is not used again.
    pub fn reset_limits(self, now: Timestamp) -> Result<Outcome, Refusal> {
        let mut key = self.settled(now);
        if matches!(key.state, State::Revoked(_)) {
            return Err(key.refused_update(now));
        }
        if key.limits.counted.as_slice().is_empty() {
            return Ok(Outcome::Unchanged(key));
        }
        // Compared for equality only, so it may wrap.
        key.limits.resets = key.limits.resets.wrapping_add(1);
        key.updated_at = now;
        Ok(Outcome::Changed(key))
    }

    fn edited_expiry(&self, wish: ExpiryWish, policy: &Policy, now: Timestamp) -> Result<Option<Timestamp>, Refusal> {
        if wish == ExpiryWish::Unsaid || (wish == ExpiryWish::Never && self.expires_at.is_none()) {
            return Ok(self.expires_at);
        }
        if matches!(self.state, State::Revoked(_)) {
            return Err(self.refused_update(now));
        }
        if !policy.expiry.editable {
            return Err(Violation::ExpiryFixed.into());
        }
        if self.is_expired(now) && !policy.expiry.renew_expired {
            return Err(Violation::ExpiredStays.into());
        }
        Ok(policy.expiry_for(wish, now)?)
    }

    fn refused_update(&self, now: Timestamp) -> Refusal {
        Refusal::InvalidTransition {
            from: self.standing(now),
            verb: Verb::Update,
        }
    }
}
