//! Reports of leaked secrets: the tenant's policy decides what happens to their keys.
//!
//! Knowing a secret is the only right that its reporter needs. The log has where it was found, never the secret. A
//! report and its consequence commit together.

pub use crate::memory::{LeakResult, LeakSource};

use crate::sign_in::AnonymousCaller;
use crate::{Authority, Failure};
use keyreeve_core::access::Actor;
use keyreeve_core::audit::Action;
use keyreeve_core::coherence::holding::{Awaited, Span};
use keyreeve_core::coherence::{Entry, Moment};
use keyreeve_core::key::Presented;
use keyreeve_core::lifecycle::{LeakOrder, Outcome};
use keyreeve_core::policy::LeakAction;
use keyreeve_core::text::{Note, Slug};
use keyreeve_core::verdict::{KeyStanding, SecretStanding};
use keyreeve_core::{KeyId, Timestamp};
use keyreeve_store::describe;
use keyreeve_store::model::{AuditDraft, ChangeFacts, ChangeManyRequest, DecideMany};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Keys changed in one transaction. Other changes wait for it, some tens of milliseconds.
const AT_ONCE: usize = 500;

/// A report of one secret.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "it holds a plaintext secret")]
pub struct LeakReport<'r> {
    /// The secret.
    pub secret: &'r str,
    /// Who found it and where, for the audit log. Must not contain the secret.
    pub found: Box<str>,
}

/// What to do for one key.
#[derive(Default)]
struct Plan {
    /// Reports to log.
    found: Vec<Box<str>>,
    /// All reports, logged or not.
    reports: u64,
    /// Whether one of them had a secret that is still accepted.
    is_open: bool,
}

/// What to do, by tenant.
type Plans = BTreeMap<Slug, BTreeMap<KeyId, Plan>>;

/// The use cases of leak reports.
#[derive(Clone, Copy, Debug)]
pub struct LeakUseCases<'a>(pub(crate) &'a Authority);

impl Authority {
    /// Returns the use cases of leak reports.
    pub fn leaks(&self) -> LeakUseCases<'_> {
        LeakUseCases(self)
    }
}

impl LeakUseCases<'_> {
    /// Carries out what the policies require for leaked secrets. Returns for each report, in order, whether a key has
    /// or had the secret. When this returns, the changes are effective everywhere. An error after some changes is
    /// [`Failure::OutcomeUnknown`]; repeating the report is harmless.
    pub async fn report(
        self,
        from: &AnonymousCaller,
        source: LeakSource,
        reports: &[LeakReport<'_>],
    ) -> Result<Vec<bool>, Failure> {
        let began = self.0.clock.moment();
        let (mut known, mut plans) = (Vec::with_capacity(reports.len()), Plans::new());
        let mut newest = 0;
        let mut named: BTreeMap<Slug, BTreeSet<KeyId>> = BTreeMap::new();
        for report in reports {
            let (entry, revision) = self.entry_of_secret(report.secret).await?;
            newest = newest.max(revision);
            known.push(entry.is_some());
            match entry {
                Some(entry) => {
                    let keys = named.entry(entry.gate().slug().clone()).or_default();
                    keys.insert(entry.key_id());
                    self.plan(&mut plans, &entry, report, began);
                }
                None => self.0.leaks.count(source, LeakResult::Unknown, 1),
            }
        }
        let (mut changed, planned) = (0, plans.values().map(BTreeMap::len).sum::<usize>());
        let work = async {
            let mut written: BTreeMap<Slug, Vec<Span>> = BTreeMap::new();
            for (tenant, keys) in plans {
                let spans = self.carry_out(from, source, tenant.clone(), keys, &mut changed).await?;
                newest = spans.iter().map(|span| span.last).fold(newest, u64::max);
                written.insert(tenant, spans);
            }
            newest = newest.max(self.0.store.head().await?.revision);
            for (tenant, keys) in named {
                // A key that was ended before may not be ended everywhere yet, so its end is waited for too.
                let keys: Vec<_> = keys.into_iter().collect();
                let mut spans = self.0.written_about_keys(&tenant, &keys, newest).await;
                spans.append(&mut written.remove(&tenant).unwrap_or_default());
                self.0.effect(Awaited::in_tenant(&tenant, spans), began, true).await?;
            }
            Ok(())
        };
        let worked: Result<(), Failure> = work.await;
        let what = format_args!("the reports of {changed} of {planned} keys were carried out");
        worked.map_err(|failure| failure.after(changed, what))?;
        Ok(known)
    }

    /// Counts a report that was refused.
    pub fn refuse(self, source: LeakSource) {
        self.0.leaks.count(source, LeakResult::Refused, 1);
    }

    /// Returns the number of reports by source and result.
    pub fn tallies(self) -> impl Iterator<Item = (LeakSource, LeakResult, u64)> {
        self.0.leaks.counts()
    }

    async fn entry_of_secret(self, secret: &str) -> Result<(Option<Entry>, u64), Failure> {
        match Presented::parse(secret) {
            Ok(presented) => self.0.entry_by(presented.digest()).await,
            Err(_) => Ok((None, 0)),
        }
    }

    fn plan(self, plans: &mut Plans, entry: &Entry, report: &LeakReport<'_>, now: Moment) {
        let keys = plans.entry(entry.gate().slug().clone()).or_default();
        let plan = keys.entry(entry.key_id()).or_default();
        plan.reports += 1;
        let facts = entry.facts();
        let is_open = self.0.is_own_secret(entry) && facts.key != KeyStanding::Revoked;
        plan.is_open |= is_open;
        // An erased key has no record that an entry could refer to.
        if facts.secret != SecretStanding::Tombstone && self.0.leaks.may_note(entry.key_id(), now) {
            plan.found.push(match is_open {
                true => report.found.clone(),
                false => format!("{}; the secret opened nothing any more", report.found).into(),
            });
        }
    }

    /// Returns what was written, and adds the number of keys that it was about to `changed`.
    async fn carry_out(
        self,
        from: &AnonymousCaller,
        source: LeakSource,
        tenant: Slug,
        keys: BTreeMap<KeyId, Plan>,
        changed: &mut u64,
    ) -> Result<Vec<Span>, Failure> {
        let action = self
            .0
            .store
            .tenant(&tenant)
            .await?
            .map(|tenant| tenant.policy.leaks.action);
        let mut written = Vec::new();
        let is_due = |plan: &Plan| plan.is_open || !plan.found.is_empty();
        let (due, done): (Vec<_>, Vec<_>) = keys.into_iter().partition(|(_, plan)| is_due(plan));
        for (_, plan) in done {
            self.0.leaks.count(source, LeakResult::Ended, plan.reports);
        }
        for some in due.chunks(AT_ONCE) {
            let now = self.0.earliest();
            let request = ChangeManyRequest {
                tenant: tenant.clone(),
                ids: some.iter().map(|(id, _)| *id).collect(),
                decide: decide(some, now),
                notes: notes(some),
            };
            let done = self
                .0
                .store
                .change_many(from.context(Actor::System, now), request)
                .await?;
            if done.first <= done.revision {
                *changed += u64::try_from(some.len()).unwrap_or(0);
                written.push(Span {
                    first: done.first,
                    last: done.revision,
                });
            }
            for (_, plan) in some {
                self.0.leaks.count(source, result(plan, action), plan.reports);
            }
        }
        Ok(written)
    }
}

/// Returns the result that a key's reports are counted as.
fn result(plan: &Plan, action: Option<LeakAction>) -> LeakResult {
    match action.filter(|_| plan.is_open) {
        Some(LeakAction::Revoke) => LeakResult::Revoked,
        Some(LeakAction::Hold) => LeakResult::Held,
        Some(LeakAction::Notify) => LeakResult::Noted,
        None => LeakResult::Ended,
    }
}

/// Returns the reports as audit entries.
fn notes(plans: &[(KeyId, Plan)]) -> BTreeMap<KeyId, Vec<AuditDraft>> {
    let draft = |found: &str| AuditDraft {
        action: Action::KeyLeaked,
        reason: Some(found.into()),
        before: None,
        after: None,
    };
    let drafts = |plan: &Plan| plan.found.iter().map(|found| draft(found)).collect();
    plans.iter().map(|(id, plan)| (*id, drafts(plan))).collect()
}

/// Applies the policy to each key. A key is unchanged if none of the reported secrets is accepted any more.
fn decide(plans: &[(KeyId, Plan)], now: Timestamp) -> DecideMany {
    let open: BTreeSet<_> = plans
        .iter()
        .filter(|(_, plan)| plan.is_open)
        .map(|(id, _)| *id)
        .collect();
    let first = |(id, plan): &(KeyId, Plan)| (*id, plan.found.first().cloned());
    let found: HashMap<_, _> = plans.iter().map(first).collect();
    Box::new(move |facts: ChangeFacts<'_>| {
        let id = facts.key.id;
        let before = describe::key(&facts.key);
        let reason = found.get(&id).cloned().flatten();
        let order = LeakOrder {
            by: Actor::System,
            note: reason.as_deref().and_then(|text| Note::parse(text).ok()),
        };
        let outcome = match open.contains(&id) {
            true => facts.key.leak(order, facts.policy, now),
            false => Outcome::Unchanged(facts.key),
        };
        let (action, after) = match &outcome {
            Outcome::Erased(_) => (Action::KeyErased, None),
            Outcome::Unchanged(key) | Outcome::Changed(key) => {
                let is_held = facts.policy.leaks.action == LeakAction::Hold;
                let action = if is_held {
                    Action::KeyDisabled
                } else {
                    Action::KeyRevoked
                };
                (action, Some(describe::key(key)))
            }
        };
        let draft = AuditDraft {
            action,
            reason,
            before: Some(before),
            after,
        };
        Ok((outcome, draft))
    })
}
