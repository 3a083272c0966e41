//! The verbs: disable, re-activate, revoke, finalize, rotate, delete. Each takes a key and returns the next state.
//!
//! Repeating a verb on its own target state is [`Outcome::Unchanged`]: it succeeds and leaves no audit entry.

use super::{Hold, HoldCause, Key, Lock, NewSecret, Outcome, ReasonCode, Refusal, Retiring, Revocation, State, Verb};
use crate::access::{Actor, Rank};
use crate::policy::{After, ExpiryWish, OverlapWish, Policy, Undo};
use crate::text::{Name, Note};
use crate::time::Timestamp;

/// An order to disable a key.
#[derive(Clone, Debug)]
pub struct HoldOrder {
    /// The actor.
    pub actor: Actor,
    /// The reason.
    pub note: Option<Note>,
}

/// An order to revoke a key.
#[derive(Clone, Debug)]
pub struct RevokeOrder {
    /// The actor.
    pub actor: Actor,
    /// The reason, as a code.
    pub code: ReasonCode,
    /// The reason, as free text.
    pub note: Option<Note>,
}

/// An order to give a key a new secret.
#[derive(Clone, Debug)]
pub struct RotateOrder {
    /// The new secret.
    pub secret: NewSecret,
    /// A new name; `None` keeps the old one.
    pub name: Option<Name>,
    /// A new expiry; unset keeps the old one.
    pub expiry: ExpiryWish,
    /// How long the old secret is still accepted.
    pub overlap: OverlapWish,
}

impl Key {
    fn refuse(&self, verb: Verb, now: Timestamp) -> Refusal {
        Refusal::InvalidTransition {
            from: self.standing(now),
            verb,
        }
    }

    pub(super) fn moved_to(mut self, state: State, now: Timestamp) -> Self {
        self.state = state;
        self.updated_at = now;
        self
    }

    /// Puts the key on hold. Where holds are sticky, only an administrator can lift an administrator's hold. A hold that
    /// the system has put on it after a restore becomes the actor's, with the harder lock.
    pub fn disable(self, order: HoldOrder, policy: &Policy, now: Timestamp) -> Result<Outcome, Refusal> {
        let key = self.settled(now);
        match &key.state {
            State::Revoked(_) => Err(key.refuse(Verb::Disable, now)),
            State::Disabled(before) if before.is_of_restore() && order.actor != Actor::System => {
                let hold = Hold {
                    lock: before.lock.max(lock_for(&order.actor, policy)),
                    by: order.actor.id().into(),
                    note: order.note,
                    ..before.clone()
                };
                Ok(Outcome::Changed(key.moved_to(State::Disabled(hold), now)))
            }
            State::Disabled(_) => Ok(Outcome::Unchanged(key)),
            State::Active => {
                let hold = Hold {
                    cause: HoldCause::Manual,
                    lock: lock_for(&order.actor, policy),
                    since: now,
                    by: order.actor.id().into(),
                    finalize_at: None,
                    code: ReasonCode::Unspecified,
                    note: order.note,
                };
                Ok(Outcome::Changed(key.moved_to(State::Disabled(hold), now)))
            }
        }
    }

    /// Lifts a hold, including that of a revocation that can still be undone. The same secrets work again.
    pub fn reactivate(self, rank: Rank, now: Timestamp) -> Result<Outcome, Refusal> {
        let key = self.settled(now);
        match &key.state {
            State::Active => Ok(Outcome::Unchanged(key)),
            State::Revoked(_) => Err(key.refuse(Verb::Reactivate, now)),
            State::Disabled(hold) if hold.lock == Lock::System => Err(Refusal::SecretLost),
            State::Disabled(hold) if !hold.lock.opens_for(rank) => Err(Refusal::Locked),
            State::Disabled(_) => Ok(Outcome::Changed(key.moved_to(State::Active, now))),
        }
    }

    /// Revokes the key as the policy requires. A compromise is final under every policy.
    pub fn revoke(self, order: RevokeOrder, policy: &Policy, now: Timestamp) -> Result<Outcome, Refusal> {
        if policy.lacks_reason(order.note.as_ref()) {
            return Err(Refusal::ReasonRequired);
        }
        let key = self.settled(now);
        let undo = if order.code.is_compromise() {
            Undo::Never
        } else {
            policy.revoke.undo
        };
        match (&key.state, undo) {
            // The first reason and time remain: a final revocation is never changed.
            (State::Revoked(_), _) => Ok(Outcome::Unchanged(key)),
            // A retry must neither shorten the window nor restart it.
            (State::Disabled(hold), Undo::Seconds(_) | Undo::Always) if hold.cause == HoldCause::RevokeHold => {
                Ok(Outcome::Unchanged(key))
            }
            (_, Undo::Never) => Ok(key.ended(order, policy, now)),
            (state, Undo::Seconds(_) | Undo::Always) => {
                let mut hold = revoke_hold(order, policy, now);
                // Revoking a key on hold must not let its owner lift an administrator's hold.
                if let State::Disabled(before) = state {
                    hold.lock = hold.lock.max(before.lock);
                }
                Ok(Outcome::Changed(key.moved_to(State::Disabled(hold), now)))
            }
        }
    }

    /// Ends the key for good, whatever undo window the policy has: a final end that a database has lost is written
    /// again.
    pub fn end_again(self, order: RevokeOrder, policy: &Policy, now: Timestamp) -> Outcome {
        let key = self.settled(now);
        match &key.state {
            State::Revoked(_) => Outcome::Unchanged(key),
            State::Active | State::Disabled(_) => key.ended(order, policy, now),
        }
    }

    /// Puts the key on hold under a lock: a hold that a database has lost is written again. An existing hold keeps its
    /// cause and gets the harder lock.
    pub fn hold_again(self, lock: Lock, note: Option<Note>, now: Timestamp) -> Outcome {
        let key = self.settled(now);
        let hold = match &key.state {
            State::Revoked(_) => return Outcome::Unchanged(key),
            State::Disabled(before) if before.lock >= lock => return Outcome::Unchanged(key),
            State::Disabled(before) => Hold {
                lock,
                note,
                ..before.clone()
            },
            State::Active => Hold {
                cause: HoldCause::Manual,
                lock,
                since: now,
                by: Actor::System.id().into(),
                finalize_at: None,
                code: ReasonCode::Unspecified,
                note,
            },
        };
        Outcome::Changed(key.moved_to(State::Disabled(hold), now))
    }

    /// Replaces the note of a hold: it has another reason now, and stays.
    pub fn note_hold(self, note: Option<Note>, now: Timestamp) -> Outcome {
        let key = self.settled(now);
        match &key.state {
            State::Active | State::Revoked(_) => Outcome::Unchanged(key),
            State::Disabled(before) if before.note == note => Outcome::Unchanged(key),
            State::Disabled(before) => {
                let hold = Hold { note, ..before.clone() };
                Outcome::Changed(key.moved_to(State::Disabled(hold), now))
            }
        }
    }

    /// Makes a revocation final that could be undone.
    pub fn finalize(self, order: RevokeOrder, policy: &Policy, now: Timestamp) -> Result<Outcome, Refusal> {
        let key = self.settled(now);
        match &key.state {
            State::Revoked(_) => Ok(Outcome::Unchanged(key)),
            State::Disabled(hold) if hold.cause == HoldCause::RevokeHold => Ok(key.ended(order, policy, now)),
            State::Active | State::Disabled(_) => Err(key.refuse(Verb::Finalize, now)),
        }
    }

    /// Records that the undo window of a revocation is over. It may run at any time, because every reading settles the
    /// key.
    pub fn lapse(self, policy: &Policy, now: Timestamp) -> Outcome {
        // Before the key is settled, which makes a revocation of a hold whose time is over.
        let was_final = matches!(self.state, State::Revoked(_));
        let mut key = self.settled(now);
        if was_final || !matches!(key.state, State::Revoked(_)) {
            return Outcome::Unchanged(key);
        }
        key.retiring = None;
        match policy.revoke.after {
            After::Erase => Outcome::Erased(key),
            After::Keep | After::Hide => Outcome::Changed(key),
        }
    }

    /// Returns the final state, or the erasure where the policy keeps no revoked records.
    pub(super) fn ended(mut self, order: RevokeOrder, policy: &Policy, now: Timestamp) -> Outcome {
        self.retiring = None;
        let revocation = Revocation {
            at: now,
            by: order.actor.id().into(),
            code: order.code,
            note: order.note,
        };
        let key = self.moved_to(State::Revoked(revocation), now);
        match policy.revoke.after {
            After::Erase => Outcome::Erased(key),
            After::Keep | After::Hide => Outcome::Changed(key),
        }
    }

    /// Deletes the record. Allowed in every state; the digests remain as tombstones.
    pub fn delete(self) -> Outcome {
        Outcome::Erased(self)
    }

    /// Gives the key a new secret; the old one is denied, or retiring for the overlap. The id and the place in the
    /// limit remain. Fails on a hold, which a rotation would circumvent, and on a revoked key.
    pub fn rotate(self, order: RotateOrder, policy: &Policy, now: Timestamp) -> Result<Outcome, Refusal> {
        let mut key = self.settled(now);
        if key.state != State::Active {
            return Err(key.refuse(Verb::Rotate, now));
        }
        let overlap = policy.overlap_for(order.overlap)?;
        // Before the expiry changes: the overlap ends no later than the expiry that the old secret was issued with.
        key.retiring = key.retiring_after(overlap, now);
        key.expires_at = match order.expiry {
            ExpiryWish::Unsaid if key.is_expired(now) => return Err(Refusal::ExpiryPast),
            ExpiryWish::Unsaid => key.expires_at,
            wish @ (ExpiryWish::Never | ExpiryWish::InSeconds(_)) => policy.expiry_for(wish, now)?,
        };
        if let Some(name) = order.name {
            key.name = name;
        }
        key.secret = order.secret;
        key.rotated_at = Some(now);
        key.updated_at = now;
        Ok(Outcome::Changed(key))
    }

    /// Returns what the current secret becomes. An overlap never extends it beyond the expiry it was issued with, nor
    /// makes a secret work again that had already expired.
    fn retiring_after(&self, overlap_seconds: u64, now: Timestamp) -> Option<Retiring> {
        let wished = now.plus_seconds(overlap_seconds);
        let until = self.expires_at.map_or(wished, |end| end.min(wished));
        (until > now).then_some(Retiring {
            digest: self.secret.digest,
            until,
        })
    }

    /// Replaces a secret that was not delivered (a retry of issue or rotate): the undelivered one is denied. A running
    /// overlap is neither ended nor restarted.
    pub fn replace_undelivered(self, secret: NewSecret, now: Timestamp) -> Result<Self, Refusal> {
        let mut key = self.settled(now);
        if key.state != State::Active {
            return Err(key.refuse(Verb::Rotate, now));
        }
        key.secret = secret;
        key.updated_at = now;
        Ok(key)
    }

    /// Ends the overlap of a rotation now.
    pub fn finish_rotation(self, now: Timestamp) -> Outcome {
        let mut key = self.settled(now);
        if key.retiring.take().is_none() {
            return Outcome::Unchanged(key);
        }
        key.updated_at = now;
        Outcome::Changed(key)
    }
}

fn lock_for(actor: &Actor, policy: &Policy) -> Lock {
    match actor.rank() {
        // Only where no actor may lift it, a hold gets the lock of the system: see `hold_again`.
        Rank::System => Lock::Admin,
        Rank::Admin if policy.reactivate.sticky => Lock::Admin,
        Rank::Admin | Rank::Owner => Lock::Anyone,
    }
}

fn revoke_hold(order: RevokeOrder, policy: &Policy, now: Timestamp) -> Hold {
    let finalize_at = match policy.revoke.undo {
        Undo::Seconds(seconds) => Some(now.plus_seconds(seconds)),
        Undo::Never | Undo::Always => None,
    };
    Hold {
        cause: HoldCause::RevokeHold,
        lock: lock_for(&order.actor, policy),
        since: now,
        by: order.actor.id().into(),
        finalize_at,
        code: order.code,
        note: order.note,
    }
}
