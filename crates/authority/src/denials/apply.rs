//! Writes denials to a database again that has lost them, before any key is verified from it.

use super::fold::{End, Owed};
use super::{DeniedRecord, is_held_by_restore};
use crate::Failure;
use keyreeve_core::access::{Actor, Permissions};
use keyreeve_core::audit::Action;
use keyreeve_core::lifecycle::{Lock, Outcome, ReasonCode, Refusal, RevokeOrder};
use keyreeve_core::text::{Note, Slug};
use keyreeve_core::user::UserEdit;
use keyreeve_core::{Key, KeyId, Policy, RootKeyId, Timestamp, UserId};
use keyreeve_store::model::{
    AuditDraft, ChangeFacts, ChangeManyRequest, ChangedMany, DecideMany, TenantEdit, UserChange, WriteContext,
};
use keyreeve_store::{Store, WriteError, describe};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Keys changed in one transaction.
pub(crate) const AT_ONCE: usize = 500;
/// Most root keys that are read, the newest.
const ROOT_KEYS: u32 = 100_000;
/// The request id of what a restore writes.
pub(crate) const RESTORE_REQUEST: &str = "restore";
/// The reason in the audit log.
const WHY: &str = "denied again: the restored database had lost it";

/// How many records were denied again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reapplied {
    /// Keys.
    pub keys: u64,
    /// Users, whose keys are blocked or whose role was taken.
    pub users: u64,
    /// Tenants.
    pub tenants: u64,
    /// Root keys.
    pub root_keys: u64,
}

impl Reapplied {
    /// Returns the number of records.
    pub const fn total(&self) -> u64 {
        self.keys + self.users + self.tenants + self.root_keys
    }
}

/// Denies again what is owed and is not denied in the store. It may be repeated, and continued after an interruption.
pub(crate) async fn reapply(
    store: &dyn Store,
    owed: &BTreeMap<DeniedRecord, Owed>,
    now: Timestamp,
) -> Result<Reapplied, Failure> {
    let mut done = Reapplied {
        root_keys: root_keys(store, owed, now).await?,
        ..Reapplied::default()
    };
    let mut keys: BTreeMap<Slug, BTreeMap<KeyId, Owed>> = BTreeMap::new();
    for (record, owed) in owed {
        match record {
            DeniedRecord::Key(tenant, id) => drop(keys.entry(tenant.clone()).or_default().insert(*id, *owed)),
            DeniedRecord::User(tenant, id) => done.users += u64::from(user(store, tenant, *id, owed, now).await?),
            DeniedRecord::Tenant(_) | DeniedRecord::RootKey(_) => {}
        }
    }
    for (tenant, keys) in keys {
        let ids: Vec<_> = keys.keys().copied().collect();
        let keys = Arc::new(keys);
        for some in ids.chunks(AT_ONCE) {
            let owed = Arc::clone(&keys);
            let decide: DecideMany = Box::new(move |facts: ChangeFacts<'_>| {
                let owed = owed.get(&facts.key.id).copied().unwrap_or_default();
                decided(facts.key, facts.policy, owed, now)
            });
            done.keys += change_many(store, &tenant, some.to_vec(), decide, now).await?.changed;
        }
    }
    // Last, because nothing in a removed tenant can be changed.
    for (record, owed) in owed {
        if let DeniedRecord::Tenant(slug) = record {
            done.tenants += u64::from(tenant(store, slug, owed, now).await?);
        }
    }
    Ok(done)
}

/// Changes some keys of a tenant. Those that do not exist, or whose tenant does not, are not changed.
pub(crate) async fn change_many(
    store: &dyn Store,
    tenant: &Slug,
    ids: Vec<KeyId>,
    decide: DecideMany,
    now: Timestamp,
) -> Result<ChangedMany, Failure> {
    let request = ChangeManyRequest {
        tenant: tenant.clone(),
        ids,
        decide,
        notes: BTreeMap::new(),
    };
    match store.change_many(operator(now), request).await {
        Ok(changed) => Ok(changed),
        Err(WriteError::NotFound) => Ok(ChangedMany::default()),
        Err(other) => Err(other.into()),
    }
}

/// The write context of a restore.
pub(crate) fn operator(now: Timestamp) -> WriteContext {
    WriteContext {
        at: now,
        actor: Actor::Operator,
        acting: None,
        secret: None,
        address: None,
        request_id: RESTORE_REQUEST.into(),
        idempotency: None,
        only_if: None,
    }
}

/// Denies a key as it is owed. A key whose newest secret is lost is held for good, because its older secrets work
/// again; one that may do more again than it should is held until it is looked at.
fn decided(key: Key, policy: &Policy, owed: Owed, now: Timestamp) -> Result<(Outcome, AuditDraft), Refusal> {
    let before = describe::key(&key);
    let order = RevokeOrder {
        actor: Actor::Operator,
        code: ReasonCode::Unspecified,
        note: Note::parse(WHY).ok(),
    };
    let again = Note::parse(WHY).ok();
    let lost = Note::parse("denied again: the restored database has lost its newest secret").ok();
    let narrowed = Note::parse("it may do more again than before the restore: look at it, then re-activate it").ok();
    let is_denied_now = owed.end == Some(End::Held) || owed.is_narrowed;
    let renoted = is_denied_now && is_held_by_restore(&key.state);
    let mut steps = Steps::new(key);
    if renoted {
        // An earlier restore holds it, whose release must not lift this denial.
        let note = again.clone();
        steps.take(Action::KeyDisabled, |key| Ok(key.note_hold(note, now)))?;
    }
    match owed.end {
        Some(End::Final) => steps.take(Action::KeyRevoked, |key| Ok(key.end_again(order, policy, now)))?,
        Some(End::Withdrawn) => steps.take(Action::KeyRevoked, |key| key.revoke(order, policy, now))?,
        Some(End::Held) => steps.take(Action::KeyDisabled, |key| Ok(key.hold_again(Lock::Admin, again, now)))?,
        None => {}
    }
    if owed.is_rotated {
        steps.take(Action::KeyDisabled, |key| Ok(key.hold_again(Lock::System, lost, now)))?;
    } else if owed.is_finished {
        steps.take(Action::KeyRotationFinished, |key| Ok(key.finish_rotation(now)))?;
    }
    if owed.is_narrowed {
        steps.take(Action::KeyDisabled, |key| {
            Ok(key.hold_again(Lock::Admin, narrowed, now))
        })?;
    }
    Ok(steps.outcome(before))
}

/// Several transitions of a key that are stored as one.
struct Steps {
    outcome: Outcome,
    action: Option<Action>,
}

impl Steps {
    const fn new(key: Key) -> Self {
        Self {
            outcome: Outcome::Unchanged(key),
            action: None,
        }
    }

    fn take(&mut self, action: Action, step: impl FnOnce(Key) -> Result<Outcome, Refusal>) -> Result<(), Refusal> {
        let key = match &self.outcome {
            Outcome::Erased(_) => return Ok(()),
            Outcome::Unchanged(key) | Outcome::Changed(key) => key.clone(),
        };
        match step(key)? {
            Outcome::Unchanged(_) => {}
            changed => {
                self.outcome = changed;
                self.action.get_or_insert(action);
            }
        }
        Ok(())
    }

    fn outcome(self, before: String) -> (Outcome, AuditDraft) {
        let action = self.action.unwrap_or(Action::KeyDisabled);
        let (action, after) = match &self.outcome {
            Outcome::Unchanged(key) | Outcome::Changed(key) => (action, Some(describe::key(key))),
            Outcome::Erased(_) => (Action::KeyErased, None),
        };
        let draft = AuditDraft {
            action,
            reason: Some(WHY.into()),
            before: Some(before),
            after,
        };
        (self.outcome, draft)
    }
}

async fn root_keys(store: &dyn Store, owed: &BTreeMap<DeniedRecord, Owed>, now: Timestamp) -> Result<u64, Failure> {
    let ended: BTreeSet<RootKeyId> = owed
        .keys()
        .filter_map(|record| match record {
            DeniedRecord::RootKey(id) => Some(*id),
            _ => None,
        })
        .collect();
    if ended.is_empty() {
        return Ok(0);
    }
    let mut done = 0;
    for one in store.root_keys(None, ROOT_KEYS).await? {
        if ended.contains(&one.id) && one.revoked_at.is_none() {
            match store.revoke_root_key(operator(now), None, one.id).await {
                Ok(_) => done += 1,
                Err(WriteError::NotFound) => {}
                Err(other) => return Err(other.into()),
            }
        }
    }
    Ok(done)
}

async fn tenant(store: &dyn Store, slug: &Slug, owed: &Owed, now: Timestamp) -> Result<bool, Failure> {
    let Some(status) = owed.status else { return Ok(false) };
    let found = store.tenant(slug).await?;
    if found.is_none_or(|tenant| tenant.status >= status) {
        return Ok(false);
    }
    let edit = TenantEdit {
        status: Some(status),
        ..TenantEdit::default()
    };
    store.change_tenant(operator(now), slug.clone(), edit).await?;
    Ok(true)
}

async fn user(store: &dyn Store, tenant: &Slug, id: UserId, owed: &Owed, now: Timestamp) -> Result<bool, Failure> {
    let Some(found) = store.user(tenant, id).await? else {
        return Ok(false);
    };
    let role = owed
        .role
        .filter(|role| !role.permissions().covers(found.role.permissions()));
    let edit = UserEdit {
        status: owed.status.filter(|status| found.status < *status),
        role,
        ..UserEdit::default()
    };
    if edit.status.is_none() && edit.role.is_none() {
        return Ok(false);
    }
    let change = UserChange {
        tenant: tenant.clone(),
        id,
        edit,
        giver: Permissions::all(),
        is_forced: true,
    };
    match store.change_user(operator(now), change).await {
        Ok(_) => Ok(true),
        Err(WriteError::NotFound) => Ok(false),
        Err(other) => Err(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denials::HELD;
    use keyreeve_core::key::{Prefix, Secret};
    use keyreeve_core::lifecycle::{IssueFacts, IssueOrder, NewSecret};
    use keyreeve_core::limits::Limits;
    use keyreeve_core::policy::{ExpiryWish, Preset};
    use keyreeve_core::scope::Scopes;
    use keyreeve_core::text::{Name, Subject};

    fn held(policy: &Policy, now: Timestamp) -> Key {
        let order = IssueOrder {
            id: KeyId::from_bytes([1; 16]),
            tenant: Slug::parse("acme").unwrap(),
            subject: Subject::parse("user_1").unwrap(),
            name: Name::parse("ci").unwrap(),
            description: None,
            claims: None,
            scopes: Scopes::default(),
            limits: Limits::default(),
            created_by: None,
            expiry: ExpiryWish::Unsaid,
            secret: NewSecret::of(&Secret::mint(&Prefix::standard(), &[1; 32]), &Prefix::standard()),
        };
        let facts = IssueFacts {
            used: 0,
            name_taken: false,
            owner_blocked: false,
        };
        let key = Key::issue(order, facts, policy, now).unwrap();
        key.hold_again(Lock::Admin, Note::parse(HELD).ok(), now).key().clone()
    }

    #[test]
    fn a_key_on_restore_hold_that_is_denied_again_is_no_longer_selected_by_a_release() {
        let (policy, now) = (Preset::Standard.policy(), Timestamp::from_millis(1_000));
        let key = held(&policy, now);
        assert!(is_held_by_restore(&key.state));
        let disabled = Owed {
            end: Some(End::Held),
            ..Owed::default()
        };
        let narrowed = Owed {
            is_narrowed: true,
            ..Owed::default()
        };
        for owed in [disabled, narrowed] {
            let (outcome, _) = decided(key.clone(), &policy, owed, now).unwrap();
            assert!(!is_held_by_restore(&outcome.key().state), "{outcome:?}");
            let (again, _) = decided(outcome.key().clone(), &policy, owed, now).unwrap();
            assert!(matches!(again, Outcome::Unchanged(_)), "{again:?}");
        }
    }
}
