//! What all changes of one key have in common: decide inside the transaction, describe before and after, answer when
//! effective.

use super::KeyUseCases;
use crate::memory::KeyOperation;
use crate::{Authority, Call, Effect, Failure};
use keyreeve_core::access::Permission;
use keyreeve_core::audit::Action;
use keyreeve_core::coherence::holding::{Awaited, ChangeScope};
use keyreeve_core::coherence::rules::{Rule, keeps};
use keyreeve_core::lifecycle::{Outcome, Refusal};
use keyreeve_core::policy::{Names, Policy};
use keyreeve_core::text::Name;
use keyreeve_core::{Key, KeyId, Timestamp};
use keyreeve_store::model::{
    AuditDraft, ChangeFacts, ChangeRequest, Changed, DecideChange, DecideMany, Done, KeyRecord,
};
use keyreeve_store::version::RecordKind;
use keyreeve_store::{WriteError, describe};

/// A changed key and how far the change has got.
#[derive(Debug)]
pub struct ChangedKey {
    /// The key after the change, or before it if the change erased the key.
    pub record: KeyRecord,
    /// What was done.
    pub done: Done,
    /// How far the change has got.
    pub effect: Effect,
}

/// The action and the reason in the audit log.
#[derive(Clone)]
pub(super) struct Label {
    pub(super) action: Action,
    pub(super) reason: Option<Box<str>>,
}

impl KeyUseCases<'_> {
    /// Runs a transition on one key.
    pub(super) async fn change(
        self,
        call: &Call,
        id: KeyId,
        label: Label,
        transition: impl FnOnce(Key, &Policy) -> Result<Outcome, Refusal> + Send + 'static,
    ) -> Result<ChangedKey, Failure> {
        let operation = KeyOperation::of(label.action);
        let work = async {
            call.require(Permission::KeysWrite)?;
            self.require_own(call, id).await?;
            self.change_unchecked(call, id, None, decide(label, None, transition))
                .await
        };
        self.0.counted(operation, work).await
    }

    /// Maps the error of a change of a key.
    pub(super) async fn key_failure(self, call: &Call, id: KeyId, error: WriteError) -> Failure {
        let about = (RecordKind::Key, &*id.to_string());
        self.0.explained(call, Some(&call.tenant), about, error).await
    }

    /// As `change`, for a caller whose right was checked otherwise (a key that revokes itself).
    pub(super) async fn change_unchecked(
        self,
        call: &Call,
        id: KeyId,
        new_name: Option<Name>,
        decide: DecideChange,
    ) -> Result<ChangedKey, Failure> {
        let (changed, effect) = self.stored_change(call, id, new_name, decide).await?;
        let record = changed.record.ok_or(Failure::NotFound)?;
        Ok(ChangedKey {
            record: self.0.with_pending_use(record),
            done: changed.done,
            effect,
        })
    }

    /// Stores a change and waits for its effect. The record is `None` if this is a retry and the key is deleted by now.
    pub(super) async fn stored_change(
        self,
        call: &Call,
        id: KeyId,
        new_name: Option<Name>,
        decide: DecideChange,
    ) -> Result<(Changed, Effect), Failure> {
        let began = self.0.clock.moment();
        let request = ChangeRequest {
            tenant: call.tenant.clone(),
            id,
            new_name,
            decide,
            replace: None,
        };
        let changed = match self.0.store.change(call.context(self.0.earliest()), request).await {
            Ok(changed) => changed,
            Err(error) => return Err(self.key_failure(call, id, error).await),
        };
        let effect = match changed.done {
            Done::Nothing if !keeps(Rule::NoShortcutOnRepeat) => self.0.effect_at_once(changed.revision, began),
            // Also a change that was made before waits until it is effective: it may be only just under way (R8).
            Done::Nothing => {
                let scope = ChangeScope::Tenant(call.tenant.clone());
                let change = self.0.written_about(scope, &id.to_string(), changed.revision).await;
                self.0.effect(change, began, call.is_awaited).await?
            }
            Done::Stored | Done::Erased => {
                let change = Awaited::one(&call.tenant, changed.revision);
                self.0.effect(change, began, call.is_awaited).await?
            }
        };
        Ok((changed, effect))
    }
}

/// Turns a transition into the decision that the store runs. A key that takes `new_name` must not clash with another
/// one where the policy requires unique names.
pub(super) fn decide(
    label: Label,
    new_name: Option<Name>,
    transition: impl FnOnce(Key, &Policy) -> Result<Outcome, Refusal> + Send + 'static,
) -> DecideChange {
    Box::new(move |facts: ChangeFacts<'_>| {
        let is_renamed = new_name.as_ref().is_some_and(|name| *name != facts.key.name);
        if is_renamed && facts.name_taken && facts.policy.names == Names::Unique {
            return Err(Refusal::NameTaken);
        }
        decided(label, facts, transition)
    })
}

/// As `decide`, for many keys.
pub(super) fn decide_many(
    label: Label,
    mut transition: impl FnMut(Key, &Policy) -> Result<Outcome, Refusal> + Send + 'static,
) -> DecideMany {
    Box::new(move |facts: ChangeFacts<'_>| decided(label.clone(), facts, &mut transition))
}

fn decided(
    label: Label,
    facts: ChangeFacts<'_>,
    transition: impl FnOnce(Key, &Policy) -> Result<Outcome, Refusal>,
) -> Result<(Outcome, AuditDraft), Refusal> {
    let before = describe::key(&facts.key);
    let outcome = transition(facts.key, facts.policy)?;
    let audit = audit_of(label, before, &outcome);
    Ok((outcome, audit))
}

fn audit_of(label: Label, before: String, outcome: &Outcome) -> AuditDraft {
    let (action, after) = match outcome {
        Outcome::Unchanged(key) | Outcome::Changed(key) => (label.action, Some(describe::key(key))),
        Outcome::Erased(_) => (Action::KeyErased, None),
    };
    AuditDraft {
        action,
        reason: label.reason,
        before: Some(before),
        after,
    }
}

/// Returns the time that a decision made now is recorded with.
pub(super) fn decided_at(authority: &Authority) -> Timestamp {
    authority.earliest()
}
