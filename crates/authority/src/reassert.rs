//! Writes denials again that a database has lost (rule R10).

use crate::Failure;
use crate::caller::system;
use crate::denials::is_held_by_restore;
use crate::memory::{Denied, How};
use keyreeve_core::access::{Actor, Permissions};
use keyreeve_core::audit::Action;
use keyreeve_core::lifecycle::{Lock, Outcome, ReasonCode, Refusal, RevokeOrder, State};
use keyreeve_core::text::{Note, Slug, Subject};
use keyreeve_core::user::{Status, UserEdit};
use keyreeve_core::{Digest, Key, KeyId, Policy, RootKeyId, Timestamp};
use keyreeve_store::model::{
    AuditDraft, ChangeFacts, ChangeRequest, Done, RootKey, TenantEdit, UserChange, WriteContext,
};
use keyreeve_store::{Store, WriteError, describe};

/// The reason in the audit log.
const WHY: &str = "reasserted: the database had lost it";
/// Users read at a time, to find the one that an owner is.
const USERS: u32 = 1_000;
/// Most root keys that are read, the newest: as many as are remembered.
const ROOT_KEYS: u32 = 100_000;

/// Writes every denial again that the store does not have. Returns how many it did not have.
pub(crate) async fn reassert(store: &dyn Store, denied: Vec<(Denied, How)>, now: Timestamp) -> Result<u64, Failure> {
    let mut lost = 0;
    for (what, how) in denied {
        let was_lost = match (what, how) {
            (Denied::Key(tenant, id), How::Final) => key(store, tenant, id, Again::End, now).await?,
            (Denied::Key(tenant, id), How::Ended) => key(store, tenant, id, Again::Revoke, now).await?,
            (Denied::Key(tenant, id), How::Held) => key(store, tenant, id, Again::Hold, now).await?,
            (Denied::Secrets(tenant, id), How::Replaced { known, is_finished }) => {
                secrets(store, tenant, id, &known, is_finished, now).await?
            }
            (Denied::Tenant(slug), How::Blocked(status)) => tenant(store, slug, status, now).await?,
            (Denied::Owner(slug, subject), How::Blocked(_)) => owner(store, slug, subject, now).await?,
            (Denied::RootKey(id), How::Ended) => root_key(store, id, now).await?,
            (Denied::RootSecrets(id), How::Replaced { known, .. }) => {
                root_secrets(store, id, &known, Accepted::AtAll, now).await?
            }
            (Denied::RootRotated(id), How::Replaced { known, .. }) => {
                root_secrets(store, id, &known, Accepted::AsPresent, now).await?
            }
            // Other combinations are not written.
            (
                Denied::Key(..)
                | Denied::Secrets(..)
                | Denied::Tenant(_)
                | Denied::Owner(..)
                | Denied::RootKey(_)
                | Denied::RootSecrets(_)
                | Denied::RootRotated(_),
                _,
            ) => false,
        };
        lost += u64::from(was_lost);
    }
    Ok(lost)
}

/// What is written again for a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    /// The final end, also under a policy that lets revocations be undone.
    End,
    /// A revocation, as the policy requires.
    Revoke,
    Hold,
    /// A hold that no actor may lift: the newest secret is lost.
    Lock,
    FinishRotation,
}

/// Denies a key again that can be used, or be re-activated, although it was denied.
async fn key(store: &dyn Store, tenant: Slug, id: KeyId, again: Again, now: Timestamp) -> Result<bool, Failure> {
    let Some(record) = store.key(&tenant, id, now).await? else {
        return Ok(false);
    };
    let was_lost = match again {
        Again::End | Again::Revoke | Again::Lock => !matches!(record.key.state, State::Revoked(_)),
        Again::Hold => record.key.state == State::Active,
        Again::FinishRotation => record.key.retiring.is_some(),
    };
    if !was_lost {
        return Ok(false);
    }
    let request = ChangeRequest {
        tenant,
        id,
        new_name: None,
        decide: Box::new(move |facts: ChangeFacts<'_>| decide(facts.key, facts.policy, again, now)),
        replace: None,
    };
    match store.change(system(now), request).await {
        // The state that the denial needs, for instance a revocation that can still be undone.
        Ok(changed) => Ok(changed.done != Done::Nothing),
        // Another node wrote it first.
        Err(WriteError::NotFound | WriteError::Refused { .. }) => Ok(false),
        Err(other) => Err(other.into()),
    }
}

/// Holds a key of which the store has lost a secret: its older secrets are denied on every node that applied the
/// rotation, and the newest is not known here.
async fn secrets(
    store: &dyn Store,
    tenant: Slug,
    id: KeyId,
    known: &[Digest],
    is_finished: bool,
    now: Timestamp,
) -> Result<bool, Failure> {
    for digest in known {
        if store.find_credential(digest).await?.value.is_none() {
            return key(store, tenant, id, Again::Lock, now).await;
        }
    }
    match is_finished {
        true => key(store, tenant, id, Again::FinishRotation, now).await,
        false => Ok(false),
    }
}

async fn root_key(store: &dyn Store, id: RootKeyId, now: Timestamp) -> Result<bool, Failure> {
    let all = store.root_keys(None, ROOT_KEYS).await?;
    let is_lost = all.iter().any(|one| one.id == id && one.revoked_at.is_none());
    if !is_lost {
        return Ok(false);
    }
    // As the operator, who may also revoke the last root key that can create others: it was revoked.
    let context = WriteContext {
        actor: Actor::Operator,
        ..system(now)
    };
    match store.revoke_root_key(context, None, id).await {
        Ok(_) => Ok(true),
        Err(WriteError::NotFound) => Ok(false),
        Err(other) => Err(other.into()),
    }
}

/// How a store accepts a secret of a root key that it must not accept so.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Accepted {
    /// In any way: it was replaced.
    AtAll,
    /// As the present one: it was a retiring one.
    AsPresent,
}

/// Revokes a root key of which the store accepts a secret again that was replaced: its newest secret is lost.
async fn root_secrets(
    store: &dyn Store,
    id: RootKeyId,
    known: &[Digest],
    accepted: Accepted,
    now: Timestamp,
) -> Result<bool, Failure> {
    for digest in known {
        let found = store.find_root_key(digest).await?.value;
        let is_lost = |found: &RootKey| {
            found.id == id
                && (accepted == Accepted::AtAll || found.digest == *digest)
                && found.end_of(digest).is_none_or(|end| end > now)
        };
        if found.as_ref().is_some_and(is_lost) {
            return root_key(store, id, now).await;
        }
    }
    Ok(false)
}

fn decide(key: Key, policy: &Policy, again: Again, now: Timestamp) -> Result<(Outcome, AuditDraft), Refusal> {
    let note = Note::parse(WHY).ok();
    let before = describe::key(&key);
    let order = RevokeOrder {
        actor: Actor::System,
        code: ReasonCode::Unspecified,
        note: note.clone(),
    };
    let (action, outcome) = match again {
        Again::End => (Action::KeyRevoked, key.end_again(order, policy, now)),
        Again::Revoke => (Action::KeyRevoked, key.revoke(order, policy, now)?),
        // The release after a restore must not lift this denial.
        Again::Hold if is_held_by_restore(&key.state) => (Action::KeyDisabled, key.note_hold(note, now)),
        Again::Hold => (Action::KeyDisabled, key.hold_again(Lock::Admin, note, now)),
        Again::Lock => (Action::KeyDisabled, key.hold_again(Lock::System, note, now)),
        Again::FinishRotation => (Action::KeyRotationFinished, key.finish_rotation(now)),
    };
    let (action, after) = match &outcome {
        Outcome::Unchanged(key) | Outcome::Changed(key) => (action, Some(describe::key(key))),
        Outcome::Erased(_) => (Action::KeyErased, None),
    };
    let draft = AuditDraft {
        action,
        reason: Some(WHY.into()),
        before: Some(before),
        after,
    };
    Ok((outcome, draft))
}

async fn tenant(store: &dyn Store, slug: Slug, status: Status, now: Timestamp) -> Result<bool, Failure> {
    let found = store.tenant(&slug).await?;
    if found.is_none_or(|tenant| tenant.is_blocked()) {
        return Ok(false);
    }
    let edit = TenantEdit {
        status: Some(status),
        ..TenantEdit::default()
    };
    store.change_tenant(system(now), slug, edit).await?;
    Ok(true)
}

async fn owner(store: &dyn Store, tenant: Slug, subject: Subject, now: Timestamp) -> Result<bool, Failure> {
    let mut after = None;
    loop {
        let users = store.users(&tenant, after, USERS).await?;
        let Some(last) = users.last() else {
            return Ok(false);
        };
        after = Some(last.id);
        let lost = users
            .iter()
            .find(|user| user.subject().as_ref() == Some(&subject) && !user.is_blocked());
        if let Some(user) = lost {
            let change = UserChange {
                tenant,
                id: user.id,
                edit: UserEdit {
                    status: Some(Status::Suspended),
                    ..UserEdit::default()
                },
                giver: Permissions::NONE,
                is_forced: true,
            };
            store.change_user(system(now), change).await?;
            return Ok(true);
        }
    }
}
