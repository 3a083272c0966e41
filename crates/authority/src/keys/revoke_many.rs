//! Revokes every key that a filter selects.

use super::KeyUseCases;
use super::RevokeCommand;
use super::change::{decide_many, decided_at};
use super::end::{label, order};
use crate::memory::KeyOperation;
use crate::{Call, Caller, Effect, Failure};
use keyreeve_core::access::Permission;
use keyreeve_core::coherence::Moment;
use keyreeve_core::coherence::holding::{Awaited, Span};
use keyreeve_core::lifecycle::{Refusal, State};
use keyreeve_core::text::Subject;
use keyreeve_core::{Key, KeyId, Timestamp};
use keyreeve_store::model::{ChangeManyRequest, KeyQuery, KeyRecord, PageStart, WriteContext};
use std::collections::{BTreeMap, BTreeSet};

/// Keys revoked in one transaction. Other changes wait for it, some tens of milliseconds.
const AT_ONCE: usize = 500;
/// Keys read at a time.
const PAGE: u32 = 1_000;

/// The filter. An unset field selects every key.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Of this owner.
    pub subject: Option<Subject>,
    /// With one of these ids.
    pub ids: Option<Vec<KeyId>>,
    /// Created before this time.
    pub created_before: Option<Timestamp>,
    /// With this scope.
    pub scope: Option<Box<str>>,
}

impl Selection {
    fn takes(&self, key: &Key, caller: &Caller) -> bool {
        caller.owns(&key.subject)
            && self.subject.as_ref().is_none_or(|subject| key.subject == *subject)
            && self.created_before.is_none_or(|time| key.created_at < time)
            && self
                .scope
                .as_ref()
                .is_none_or(|scope| key.scopes.iter().any(|one| *one == **scope))
    }
}

/// The result.
#[derive(Clone, Debug, Default)]
pub struct ManyRevoked {
    /// Keys that were found and not revoked yet.
    pub matched: u64,
    /// Keys found of those named by id, revoked or not.
    pub named: u64,
    /// Keys that were revoked.
    pub revoked: u64,
    /// Keys that were not revoked: the policy did not allow it, or another caller was first.
    pub skipped: u64,
    /// How far the change has got; `None` in a dry run.
    pub effect: Option<Effect>,
    /// The revisions that it wrote.
    spans: Vec<Span>,
    /// Keys that were revoked shortly before.
    repeated: Vec<KeyId>,
}

impl KeyUseCases<'_> {
    /// Revokes every key that a selection matches. Returns when all of them are denied everywhere. An error after some
    /// were revoked is [`Failure::OutcomeUnknown`]; repeating the call is harmless.
    pub async fn revoke_many(
        self,
        call: &Call,
        selection: Selection,
        command: RevokeCommand,
        is_dry: bool,
    ) -> Result<ManyRevoked, Failure> {
        let operation = Some(KeyOperation::Revoke).filter(|_| !is_dry);
        let work = self.revoke_selected(call, selection, command, is_dry);
        self.0.counted(operation, work).await
    }

    async fn revoke_selected(
        self,
        call: &Call,
        selection: Selection,
        command: RevokeCommand,
        is_dry: bool,
    ) -> Result<ManyRevoked, Failure> {
        call.require(Permission::KeysWrite)?;
        let began = self.0.clock.moment();
        self.require_reason(call, &command).await?;
        let command = Some(command).filter(|_| !is_dry);
        let mut done = ManyRevoked::default();
        let work = async {
            self.revoke_matching(call, &selection, command.as_ref(), &mut done)
                .await?;
            if !is_dry {
                done.effect = Some(self.effect_of_many(call, &mut done, began).await?);
            }
            Ok(())
        };
        let worked: Result<(), Failure> = work.await;
        match worked {
            Ok(()) => Ok(done),
            Err(failure) => {
                let (revoked, matched) = (done.revoked, done.matched);
                Err(failure.after(revoked, format_args!("{revoked} of {matched} keys were revoked")))
            }
        }
    }

    /// Refuses a call without the reason that the policy requires, as for a single key.
    async fn require_reason(self, call: &Call, command: &RevokeCommand) -> Result<(), Failure> {
        let tenant = self.0.store.tenant(&call.tenant).await?.ok_or(Failure::NotFound)?;
        match tenant.policy.lacks_reason(command.note.as_ref()) {
            true => Err(Failure::Refused {
                item: 0,
                refusal: Refusal::ReasonRequired,
            }),
            false => Ok(()),
        }
    }

    /// Counts the keys that a selection matches, and revokes them if there is a command.
    async fn revoke_matching(
        self,
        call: &Call,
        selection: &Selection,
        command: Option<&RevokeCommand>,
        done: &mut ManyRevoked,
    ) -> Result<(), Failure> {
        let now = self.0.earliest();
        // A change that is older than this is effective, whether or not it was waited for.
        let since = Timestamp::from_millis(now.millis().saturating_sub(self.0.longest_wait_ms()));
        let mut next = Some(PageStart::Offset(0));
        while let Some(start) = next {
            let (records, following) = self.candidates(call, selection, start, now).await?;
            next = following;
            if selection.ids.is_some() {
                let is_within = |record: &&KeyRecord| call.caller.owns(&record.key.subject);
                done.named += u64::try_from(records.iter().filter(is_within).count()).unwrap_or(0);
            }
            let taken = records
                .iter()
                .filter(|record| selection.takes(&record.key, &call.caller));
            let mut ids = Vec::new();
            for key in taken.map(|record| &record.key) {
                match &key.state {
                    // An earlier call may have revoked it and not be effective yet: a repeat waits for it too (R8).
                    State::Revoked(ended) if ended.at >= since => done.repeated.push(key.id),
                    State::Revoked(_) => {}
                    _ => ids.push(key.id),
                }
            }
            done.matched += u64::try_from(ids.len()).unwrap_or(0);
            if let Some(command) = command {
                self.revoke_all(call, &ids, command, done).await?;
            }
        }
        Ok(())
    }

    /// Waits until the keys that were revoked now, or shortly before, are denied everywhere.
    async fn effect_of_many(self, call: &Call, done: &mut ManyRevoked, began: Moment) -> Result<Effect, Failure> {
        let head = self.0.store.head().await?.revision;
        let mut spans = self.0.written_about_keys(&call.tenant, &done.repeated, head).await;
        spans.append(&mut done.spans);
        if spans.is_empty() {
            spans.push(Span::one(self.0.verifier.applied()));
        }
        let change = Awaited::in_tenant(&call.tenant, spans);
        self.0.effect(change, began, call.is_awaited).await
    }

    /// Returns the keys that a selection may match: those it names, or a page of its owner's or the tenant's.
    async fn candidates(
        self,
        call: &Call,
        selection: &Selection,
        start: PageStart,
        now: Timestamp,
    ) -> Result<(Vec<KeyRecord>, Option<PageStart>), Failure> {
        let Some(ids) = &selection.ids else {
            let page = self.0.store.list(query(call, selection, start, now)).await?;
            return Ok((page.keys, page.next.map(PageStart::After)));
        };
        let mut records = Vec::new();
        for id in ids.iter().collect::<BTreeSet<_>>() {
            records.extend(self.0.store.key(&call.tenant, *id, now).await?);
        }
        Ok((records, None))
    }

    async fn revoke_all(
        self,
        call: &Call,
        ids: &[KeyId],
        command: &RevokeCommand,
        done: &mut ManyRevoked,
    ) -> Result<(), Failure> {
        let now = decided_at(self.0);
        for some in ids.chunks(AT_ONCE) {
            let order = order(call, command);
            let transition = move |key: Key, policy: &_| key.revoke(order.clone(), policy, now);
            let request = ChangeManyRequest {
                tenant: call.tenant.clone(),
                ids: some.to_vec(),
                decide: decide_many(label(command), transition),
                notes: BTreeMap::new(),
            };
            // Without the idempotency key: repeating the complete call is harmless, because a revoked key stays
            // revoked.
            let context = WriteContext {
                idempotency: None,
                only_if: None,
                ..call.context(now)
            };
            let changed = self.0.store.change_many(context, request).await?;
            let revoked = changed.changed + changed.unchanged;
            done.revoked += revoked;
            done.skipped += u64::try_from(some.len()).unwrap_or(0).saturating_sub(revoked);
            if changed.first <= changed.revision {
                done.spans.push(Span {
                    first: changed.first,
                    last: changed.revision,
                });
            }
        }
        Ok(())
    }
}

fn query(call: &Call, selection: &Selection, start: PageStart, now: Timestamp) -> KeyQuery {
    KeyQuery {
        subject: call.caller.own.clone().or_else(|| selection.subject.clone()),
        ..KeyQuery::all(call.tenant.clone(), start, PAGE, now)
    }
}
