//! Puts keys on hold after a restore, and releases them by a filter.

use crate::denials::{AT_ONCE, HELD, change_many, is_held_by_restore};
use crate::{Authority, Failure};
use keyreeve_core::access::Rank;
use keyreeve_core::audit::Action;
use keyreeve_core::lifecycle::{Lock, Outcome, Refusal, State};
use keyreeve_core::text::{Note, Slug, Subject};
use keyreeve_core::{Key, KeyId, Timestamp};
use keyreeve_store::describe;
use keyreeve_store::model::{AuditDraft, ChangeFacts, DecideMany, KeyQuery, KeyRecord, PageStart};
use std::sync::atomic::{AtomicU64, Ordering};

/// Keys read at a time.
const PAGE: u32 = 1_000;
/// Tenants read at a time.
const TENANTS: u32 = 100;

/// How many keys were changed so far. Shared with the caller, who may report it.
#[derive(Debug, Default)]
pub struct HoldProgress(AtomicU64);

impl HoldProgress {
    /// Returns the number of keys.
    pub fn done(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, keys: u64) {
        self.0.fetch_add(keys, Ordering::Relaxed);
    }
}

/// Which held keys to release. An unset field selects every key.
#[derive(Clone, Debug, Default)]
pub struct Release {
    /// Of this tenant.
    pub tenant: Option<Slug>,
    /// Of this owner.
    pub subject: Option<Subject>,
    /// This key.
    pub id: Option<KeyId>,
    /// With this scope.
    pub scope: Option<Box<str>>,
    /// Issued before this time.
    pub created_before: Option<Timestamp>,
}

impl Release {
    fn takes(&self, record: &KeyRecord) -> bool {
        let key = &record.key;
        is_held_by_restore(&key.state)
            && self.id.is_none_or(|id| key.id == id)
            && self.subject.as_ref().is_none_or(|subject| key.subject == *subject)
            && self.created_before.is_none_or(|time| key.created_at < time)
            && self
                .scope
                .as_ref()
                .is_none_or(|scope| key.scopes.iter().any(|one| *one == **scope))
    }
}

/// The result of a release.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Released {
    /// Keys that the filter selects.
    pub matched: u64,
    /// Keys that are accepted again.
    pub released: u64,
}

/// Puts keys on hold: with `since`, those that were issued, changed or last used at or after it. A key that is on
/// hold already stays on hold under a lock that only administrators lift, and no release selects it.
pub(super) async fn hold(
    authority: &Authority,
    since: Option<Timestamp>,
    progress: &HoldProgress,
) -> Result<u64, Failure> {
    let now = authority.earliest();
    let mut done = 0;
    let mut pages = KeyPages::all(None, None);
    while let Some((tenant, records)) = pages.next(authority).await? {
        let concerned = records.iter().filter(|one| is_concerned(one, since));
        let ids: Vec<_> = concerned.map(|one| one.key.id).collect();
        for some in ids.chunks(AT_ONCE) {
            let changed = change_many(&*authority.store, &tenant, some.to_vec(), holding(now), now).await?;
            done += changed.changed;
            progress.add(changed.changed);
        }
    }
    Ok(done)
}

/// Re-activates keys that a restore has put on hold and that a filter selects. With `is_dry` they are only counted.
pub(super) async fn release(
    authority: &Authority,
    filter: &Release,
    is_dry: bool,
    progress: &HoldProgress,
) -> Result<Released, Failure> {
    let now = authority.earliest();
    let mut done = Released::default();
    let mut pages = KeyPages::all(filter.tenant.clone(), filter.subject.clone());
    while let Some((tenant, records)) = pages.next(authority).await? {
        let taken = records.iter().filter(|one| filter.takes(one));
        let ids: Vec<_> = taken.map(|one| one.key.id).collect();
        done.matched += u64::try_from(ids.len()).unwrap_or(0);
        for some in ids.chunks(AT_ONCE).filter(|_| !is_dry) {
            let changed = change_many(&*authority.store, &tenant, some.to_vec(), releasing(now), now).await?;
            done.released += changed.changed;
            progress.add(changed.changed);
        }
    }
    Ok(done)
}

/// Whether a hold since a time, or of all keys, concerns a key.
fn is_concerned(record: &KeyRecord, since: Option<Timestamp>) -> bool {
    let is_recent = |time: Timestamp| since.is_none_or(|since| time >= since);
    match &record.key.state {
        State::Revoked(_) => false,
        State::Disabled(hold) if hold.lock >= Lock::Admin => false,
        State::Active | State::Disabled(_) => {
            is_recent(record.key.updated_at)
                || is_recent(record.key.created_at)
                || record.last_used_at.is_some_and(is_recent)
        }
    }
}

fn holding(now: Timestamp) -> DecideMany {
    let held = Note::parse(&format!("{HELD}: release it when it was looked at")).ok();
    Box::new(move |facts: ChangeFacts<'_>| {
        let note = match &facts.key.state {
            State::Disabled(hold) => hold.note.clone(),
            State::Active | State::Revoked(_) => held.clone(),
        };
        let step = |key: Key| Ok(key.hold_again(Lock::Admin, note, now));
        drafted(facts, Action::KeyDisabled, "the database was restored", step)
    })
}

fn releasing(now: Timestamp) -> DecideMany {
    Box::new(move |facts: ChangeFacts<'_>| {
        let step = |key: Key| match is_held_by_restore(&key.state) {
            true => key.reactivate(Rank::Admin, now),
            // It was revoked, or released, since it was read.
            false => Ok(Outcome::Unchanged(key)),
        };
        drafted(facts, Action::KeyReactivated, "released after the restore", step)
    })
}

/// Reads the keys of all tenants, or of one, a page at a time.
struct KeyPages {
    only: Option<Slug>,
    subject: Option<Subject>,
    /// Tenants to be read, the last one first.
    tenants: Vec<Slug>,
    after: Option<Slug>,
    start: Option<PageStart>,
    is_begun: bool,
}

impl KeyPages {
    const fn all(only: Option<Slug>, subject: Option<Subject>) -> Self {
        Self {
            only,
            subject,
            tenants: Vec::new(),
            after: None,
            start: None,
            is_begun: false,
        }
    }

    /// Returns the next page, which may be empty; `None` after the last.
    async fn next(&mut self, authority: &Authority) -> Result<Option<(Slug, Vec<KeyRecord>)>, Failure> {
        let store = &authority.store;
        if self.tenants.is_empty() {
            self.tenants = match (&self.only, self.is_begun) {
                (Some(_), true) => Vec::new(),
                (Some(slug), false) => {
                    let tenant = store.tenant(slug).await?.ok_or(Failure::NotFound)?;
                    vec![tenant.slug]
                }
                (None, _) => {
                    let tenants = store.tenants(self.after.take(), TENANTS).await?;
                    self.after = tenants.last().map(|tenant| tenant.slug.clone());
                    tenants.into_iter().rev().map(|tenant| tenant.slug).collect()
                }
            };
            self.is_begun = true;
        }
        let Some(tenant) = self.tenants.last().cloned() else {
            return Ok(None);
        };
        let start = self.start.take().unwrap_or(PageStart::Offset(0));
        let query = KeyQuery {
            subject: self.subject.clone(),
            ..KeyQuery::all(tenant.clone(), start, PAGE, authority.earliest())
        };
        let page = store.list(query).await?;
        match page.next {
            Some(next) => self.start = Some(PageStart::After(next)),
            None => drop(self.tenants.pop()),
        }
        Ok(Some((tenant, page.keys)))
    }
}

fn drafted(
    facts: ChangeFacts<'_>,
    action: Action,
    reason: &str,
    step: impl FnOnce(Key) -> Result<Outcome, Refusal>,
) -> Result<(Outcome, AuditDraft), Refusal> {
    let before = describe::key(&facts.key);
    let outcome = step(facts.key)?;
    let draft = AuditDraft {
        action,
        reason: Some(reason.into()),
        before: Some(before),
        after: Some(describe::key(outcome.key())),
    };
    Ok((outcome, draft))
}
