//! The ends of a key: revoke, as the policy requires, and delete.

use super::KeyUseCases;
use super::change::{ChangedKey, Label, decide, decide_many, decided_at};
use crate::caller::system;
use crate::memory::KeyOperation;
use crate::{Call, Effect, Failure};
use keyreeve_core::access::{Actor, Permission};
use keyreeve_core::audit::Action;
use keyreeve_core::lifecycle::{Outcome, ReasonCode, RevokeOrder, Standing, State};
use keyreeve_core::text::Note;
use keyreeve_core::{Key, KeyId, Timestamp};
use keyreeve_store::model::{ChangeManyRequest, Done, KeyQuery, PageStart};
use std::collections::BTreeMap;

/// Most records that one purge deletes.
const PURGED_MAX: u64 = 1_000;
/// Lapsed revocations recorded in one round.
const LAPSED_AT_ONCE: u32 = 500;
/// Keys read at a time by a purge.
const PURGE_PAGE: u32 = 200;

/// Which records to delete: those of keys that ended before these times.
#[derive(Clone, Copy, Debug)]
pub struct PurgeCommand {
    /// Revoked ones.
    pub revoked_before: Option<Timestamp>,
    /// Expired ones that are not on hold.
    pub expired_before: Option<Timestamp>,
}

/// A request to revoke a key.
#[derive(Clone, Debug)]
pub struct RevokeCommand {
    /// Why, as a code.
    pub code: ReasonCode,
    /// The note to it, as free text.
    pub note: Option<Note>,
}

impl KeyUseCases<'_> {
    /// Revokes a key, as the policy requires. When this returns, no verifier accepts the key.
    pub async fn revoke(self, call: &Call, id: KeyId, command: RevokeCommand) -> Result<ChangedKey, Failure> {
        let now = decided_at(self.0);
        let order = order(call, &command);
        let transition = move |key: Key, policy: &_| key.revoke(order, policy, now);
        self.change(call, id, label(&command), transition).await
    }

    /// Lets a key revoke itself: the holder of a secret may always end it. The store checks the key again inside the
    /// transaction, so a key that was just revoked cannot repeat this.
    pub async fn revoke_self(self, call: &Call, command: RevokeCommand) -> Result<ChangedKey, Failure> {
        let Actor::Key(id) = call.caller.actor else {
            return Err(Failure::NotFound);
        };
        let now = decided_at(self.0);
        let order = order(call, &command);
        let decide = decide(label(&command), None, move |key, policy| key.revoke(order, policy, now));
        let work = self.change_unchecked(call, id, None, decide);
        self.0.counted(Some(KeyOperation::Revoke), work).await
    }

    /// Makes a revocation final that can still be undone.
    pub async fn finalize(self, call: &Call, id: KeyId, command: RevokeCommand) -> Result<ChangedKey, Failure> {
        let now = decided_at(self.0);
        let order = order(call, &command);
        let transition = move |key: Key, policy: &_| key.finalize(order, policy, now);
        self.change(call, id, label(&command), transition).await
    }

    /// Records which revocations can no longer be undone, and erases the keys whose policy requires it. Called once a
    /// second; no verdict waits for it.
    pub async fn write_down_lapsed(self) -> Result<(), Failure> {
        let now = self.0.earliest();
        let mut lapsed: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (tenant, id) in self.0.store.lapsed(now, LAPSED_AT_ONCE).await? {
            lapsed.entry(tenant).or_default().push(id);
        }
        for (tenant, ids) in lapsed {
            let label = Label {
                action: Action::KeyRevoked,
                reason: Some("the time to undo the revocation is over".into()),
            };
            let decide = decide_many(label, move |key, policy| Ok(key.lapse(policy, now)));
            // Those that were re-activated or deleted since the reading are not changed.
            let request = ChangeManyRequest {
                tenant,
                ids,
                decide,
                notes: BTreeMap::new(),
            };
            self.0.store.change_many(system(now), request).await?;
        }
        Ok(())
    }

    /// Deletes the records of keys that were revoked, or that expired, before a time, at most 1 000. Returns how many,
    /// and whether there are more. An error after some were deleted is [`Failure::OutcomeUnknown`]; repeating the call is
    /// harmless.
    pub async fn purge(self, call: &Call, command: PurgeCommand) -> Result<(u64, bool), Failure> {
        call.require(Permission::KeysWrite)?;
        // An idempotency record is of one change. Repeating a purge is harmless without one.
        let call = &Call {
            idempotency: None,
            ..call.clone()
        };
        let mut purged = 0;
        match self.purge_both(call, command, &mut purged).await {
            Ok(has_more) => Ok((purged, has_more)),
            Err(failure) => Err(failure.after(purged, format_args!("{purged} keys were deleted"))),
        }
    }

    /// As `purge`. Returns whether there are more than one call may delete.
    async fn purge_both(&self, call: &Call, command: PurgeCommand, purged: &mut u64) -> Result<bool, Failure> {
        let standings = [
            (Standing::Revoked, command.revoked_before),
            (Standing::Expired, command.expired_before),
        ];
        for (standing, before) in standings {
            let Some(before) = before else { continue };
            if self.purge_of(call, standing, before, purged).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// As `purge`, for keys in one state. Returns whether there are more than one call may delete.
    async fn purge_of(
        self,
        call: &Call,
        standing: Standing,
        before: Timestamp,
        purged: &mut u64,
    ) -> Result<bool, Failure> {
        let mut start = PageStart::Offset(0);
        loop {
            let page = self
                .0
                .store
                .list(ended_keys(call, standing, start, self.0.now()))
                .await?;
            for record in page.keys {
                if !is_due(&record.key, before, self.0.now()) {
                    continue;
                }
                if *purged == PURGED_MAX {
                    return Ok(true);
                }
                match self.delete_due(call, record.key.id, standing, before).await {
                    Ok(changed) if changed.done == Done::Erased => *purged += 1,
                    // Another caller was first, or has renewed it.
                    Ok(_) | Err(Failure::NotFound) => {}
                    Err(other) => return Err(other),
                }
            }
            match page.next {
                Some(next) => start = PageStart::After(next),
                None => return Ok(false),
            }
        }
    }

    /// Deletes a key if it is still due inside the transaction: an expired one may have been renewed since.
    async fn delete_due(
        self,
        call: &Call,
        id: KeyId,
        standing: Standing,
        before: Timestamp,
    ) -> Result<ChangedKey, Failure> {
        let now = decided_at(self.0);
        let label = Label {
            action: Action::KeyErased,
            reason: Some(format!("purge of {standing} keys").into()),
        };
        self.change(call, id, label, move |key, _| {
            let key = key.settled(now);
            match is_due(&key, before, now) {
                true => Ok(key.delete()),
                false => Ok(Outcome::Unchanged(key)),
            }
        })
        .await
    }

    /// Deletes a key's record. Its digests remain as tombstones; the audit log is not changed.
    ///
    /// A retry with its idempotency key waits for the same effect, although the record is gone.
    pub async fn delete(self, call: &Call, id: KeyId, note: Option<Note>) -> Result<Effect, Failure> {
        let label = Label {
            action: Action::KeyErased,
            reason: note.map(|note| note.as_str().into()),
        };
        let operation = KeyOperation::of(label.action);
        let work = async {
            call.require(Permission::KeysWrite)?;
            self.require_own(call, id).await?;
            let decide = decide(label, None, |key, _| Ok(key.delete()));
            let (_, effect) = self.stored_change(call, id, None, decide).await?;
            Ok(effect)
        };
        self.0.counted(operation, work).await
    }
}

/// Whether a settled key was revoked, or expired, before a time.
fn is_due(key: &Key, before: Timestamp, now: Timestamp) -> bool {
    match &key.state {
        State::Revoked(ended) => ended.at < before,
        State::Active => key.is_expired(now) && key.expires_at.is_some_and(|end| end < before),
        State::Disabled(_) => false,
    }
}

fn ended_keys(call: &Call, standing: Standing, start: PageStart, now: Timestamp) -> KeyQuery {
    KeyQuery {
        subject: call.caller.own.clone(),
        standing: Some(standing),
        ..KeyQuery::all(call.tenant.clone(), start, PURGE_PAGE, now)
    }
}

pub(super) fn order(call: &Call, command: &RevokeCommand) -> RevokeOrder {
    RevokeOrder {
        actor: call.caller.actor.clone(),
        code: command.code,
        note: command.note.clone(),
    }
}

pub(super) fn label(command: &RevokeCommand) -> Label {
    Label {
        action: Action::KeyRevoked,
        reason: command.note.as_ref().map(|note| note.as_str().into()),
    }
}
