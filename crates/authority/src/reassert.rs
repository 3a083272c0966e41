//! Telling a database again what it has lost (rule R10).

use crate::Failure;
use crate::activity::system;
use crate::tombstones::{Denied, How};
use keyreeve_core::access::Actor;
use keyreeve_core::audit::Action;
use keyreeve_core::lifecycle::{HoldOrder, Outcome, ReasonCode, Refusal, RevokeOrder, State};
use keyreeve_core::text::{Note, Slug, Subject};
use keyreeve_core::user::{Status, UserEdit};
use keyreeve_core::{Key, KeyId, Policy, Timestamp};
use keyreeve_store::model::{AuditDraft, ChangeFacts, ChangeRequest, TenantEdit, UserChange};
use keyreeve_store::{Fate, Store, WriteError};

/// Why, in the audit log.
const WHY: &str = "reasserted: the database had lost it";
/// Users read at a time, to find the one that an owner is.
const USERS: u32 = 1_000;

/// Writes down again every denial that the store does not know. Gives how many it did not.
pub(crate) async fn reassert(store: &dyn Store, denied: Vec<(Denied, How)>, now: Timestamp) -> Result<u64, Failure> {
    let mut lost = 0;
    for (what, how) in denied {
        let was_lost = match (what, how) {
            (Denied::Key(tenant, id), How::Key(fate)) => key(store, tenant, id, fate, now).await?,
            (Denied::Tenant(slug), How::Blocked(status)) => tenant(store, slug, status, now).await?,
            (Denied::Owner(slug, subject), How::Blocked(_)) => owner(store, slug, subject, now).await?,
            (Denied::Key(..), How::Blocked(_)) | (Denied::Tenant(_) | Denied::Owner(..), How::Key(_)) => false,
        };
        lost += u64::from(was_lost);
    }
    Ok(lost)
}

/// A key that is active although it was denied. One whose rotation is lost is put on hold: its old secret is dead for
/// everybody who heard of it, and the new one is unknown here.
async fn key(store: &dyn Store, tenant: Slug, id: KeyId, fate: Fate, now: Timestamp) -> Result<bool, Failure> {
    let Some(record) = store.key(&tenant, id, now).await? else {
        return Ok(false);
    };
    let was_lost = match fate {
        Fate::Ended | Fate::Held => record.key.state == State::Active,
        Fate::Rotated => record.key.state == State::Active && record.key.rotated_at.is_none(),
        Fate::Live => false,
    };
    if !was_lost {
        return Ok(false);
    }
    let request = ChangeRequest {
        tenant,
        id,
        new_name: None,
        decide: Box::new(move |facts: ChangeFacts<'_>| decide(facts.key, facts.policy, fate, now)),
        replace: None,
    };
    match store.change(system(now), request).await {
        Ok(_) => Ok(true),
        // Somebody was faster.
        Err(WriteError::NotFound | WriteError::Refused { .. }) => Ok(false),
        Err(other) => Err(other.into()),
    }
}

fn decide(key: Key, policy: &Policy, fate: Fate, now: Timestamp) -> Result<(Outcome, AuditDraft), Refusal> {
    let note = Note::parse(WHY).ok();
    let (action, outcome) = match fate {
        Fate::Ended => {
            let order = RevokeOrder {
                actor: Actor::System,
                code: ReasonCode::Unspecified,
                note,
            };
            (Action::KeyRevoked, key.revoke(order, policy, now)?)
        }
        Fate::Held | Fate::Rotated | Fate::Live => {
            let order = HoldOrder {
                actor: Actor::System,
                note,
            };
            (Action::KeyDisabled, key.disable(order, policy, now)?)
        }
    };
    let draft = AuditDraft {
        action,
        reason: Some(WHY.into()),
        before: None,
        after: None,
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
                is_forced: true,
            };
            store.change_user(system(now), change).await?;
            return Ok(true);
        }
    }
}
