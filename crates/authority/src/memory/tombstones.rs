//! Recent denials, remembered apart from the database.
//!
//! A failover to a standby without synchronous replication can lose an acknowledged revocation. Every node that applied
//! it still has it here, and writes it again (rule R10).

use keyreeve_core::coherence::{Cached as _, Entry};
use keyreeve_core::text::{Slug, Subject};
use keyreeve_core::user::Status;
use keyreeve_core::{Digest, KeyId, RootKeyId};
use keyreeve_store::{Commit, KeyNews, KeyOutcome};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most denials that are remembered. Beyond it the oldest are dropped.
const REMEMBERED: usize = 100_000;

/// Most secrets of one key that are remembered, the newest.
const SECRETS: usize = 16;
/// The same of a root key: as many as a database keeps of those that were replaced.
const ROOT_SECRETS: usize = 256;

/// What is denied.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Denied {
    /// A key.
    Key(Slug, KeyId),
    /// The replaced secrets of a key.
    Secrets(Slug, KeyId),
    /// All keys of an owner.
    Owner(Slug, Subject),
    /// All keys of a tenant.
    Tenant(Slug),
    /// A root key.
    RootKey(RootKeyId),
    /// The replaced secrets of a root key: those that are no longer accepted.
    RootSecrets(RootKeyId),
    /// The secrets of a root key that a rotation has made retiring ones: none is accepted as the present one again.
    RootRotated(RootKeyId),
}

/// How it is denied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum How {
    /// For good.
    Final,
    /// By a revocation that the policy lets be undone; for a root key, which is always revoked for good; and in notes of
    /// older versions for every end of a key.
    Ended,
    /// Until it is re-activated.
    Held,
    /// By the status of an owner or a tenant.
    Blocked(Status),
    /// By rotation: `known` has all secrets of the key that this process has seen. With `is_finished` the overlap of
    /// the previous one was ended.
    Replaced {
        /// The secrets.
        known: Vec<Digest>,
        /// Whether only the newest is accepted.
        is_finished: bool,
    },
}

/// All denials that are remembered.
#[derive(Debug, Default)]
pub(crate) struct Tombstones(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Each with its number in `by_age`.
    denied: BTreeMap<Denied, (How, u64)>,
    /// The denials in the order in which they were last added: the oldest is dropped first.
    by_age: BTreeMap<u64, Denied>,
    next_age: u64,
    /// What has changed since it was last written to the notebook.
    unwritten: BTreeSet<Denied>,
}

impl Tombstones {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what a change denied, and removes what it re-activated.
    pub(crate) fn note(&self, commit: &Commit) {
        let is_nothing = commit.keys.is_empty()
            && commit.owners.is_empty()
            && commit.tenants.is_empty()
            && commit.revoked_root_keys.is_empty()
            && commit.replaced_root_secrets.is_empty()
            && commit.rotated_root_secrets.is_empty();
        if is_nothing {
            return;
        }
        let mut inner = self.lock();
        for news in &commit.keys {
            inner.note_key(news, &commit.secrets);
        }
        for owner in &commit.owners {
            let place = Denied::Owner(owner.tenant.clone(), owner.subject.clone());
            match owner.is_blocked {
                true => inner.put(place, How::Blocked(Status::Suspended)),
                false => inner.forget(&place),
            }
        }
        for tenant in &commit.tenants {
            let place = Denied::Tenant(tenant.slug.clone());
            match tenant.status {
                Status::Active => inner.forget(&place),
                status @ (Status::Suspended | Status::Removed) => inner.put(place, How::Blocked(status)),
            }
        }
        for (id, secrets) in &commit.replaced_root_secrets {
            inner.note_replaced(Denied::RootSecrets(*id), *id, secrets);
        }
        for (id, secrets) in &commit.rotated_root_secrets {
            inner.note_replaced(Denied::RootRotated(*id), *id, secrets);
        }
        for id in &commit.revoked_root_keys {
            inner.forget(&Denied::RootSecrets(*id));
            inner.forget(&Denied::RootRotated(*id));
            inner.put(Denied::RootKey(*id), How::Ended);
        }
    }

    /// Returns all denials.
    pub(crate) fn all(&self) -> Vec<(Denied, How)> {
        let inner = self.lock();
        let pairs = inner.denied.iter().map(|(what, (how, _))| (what.clone(), how.clone()));
        pairs.collect()
    }

    /// Whether a known denial applies to a secret: of its key, the secret itself, its owner or its tenant. True is only
    /// a possibility for a key that was rotated: the secret may be the new one, and the log must be compared.
    pub(crate) fn may_deny(&self, entry: &Entry) -> bool {
        let slug = entry.gate().slug();
        let inner = self.lock();
        if inner.denied.is_empty() {
            return false;
        }
        let has = |what: Denied| inner.denied.contains_key(&what);
        let is_replaced = match inner.how(&Denied::Secrets(slug.clone(), entry.key_id())) {
            Some(How::Replaced { known, .. }) => known.contains(entry.digest()),
            Some(_) | None => false,
        };
        let is_owner_denied = || {
            let subject = Subject::parse(entry.subject());
            subject.is_ok_and(|subject| has(Denied::Owner(slug.clone(), subject)))
        };
        is_replaced
            || has(Denied::Key(slug.clone(), entry.key_id()))
            || has(Denied::Tenant(slug.clone()))
            || is_owner_denied()
    }

    /// Whether a root key is known to be revoked, or this secret of it to be replaced. `is_present` is whether the store
    /// has it as the present one: then it may not have been a retiring one before.
    pub(crate) fn denies_root_key(&self, id: RootKeyId, secret: &Digest, is_present: bool) -> bool {
        let inner = self.lock();
        let is_known = |place: Denied| match inner.how(&place) {
            Some(How::Replaced { known, .. }) => known.contains(secret),
            Some(_) | None => false,
        };
        is_known(Denied::RootSecrets(id))
            || is_present && is_known(Denied::RootRotated(id))
            || inner.denied.contains_key(&Denied::RootKey(id))
    }

    /// Returns the number of denials.
    pub(crate) fn len(&self) -> usize {
        self.lock().denied.len()
    }

    /// Takes what has changed since the last call; `None` where it is no longer denied.
    pub(crate) fn take_unwritten(&self) -> Vec<(Denied, Option<How>)> {
        let mut inner = self.lock();
        let unwritten = std::mem::take(&mut inner.unwritten);
        let now = |what: Denied| {
            let how = inner.how(&what).cloned();
            (what, how)
        };
        unwritten.into_iter().map(now).collect()
    }

    /// Puts back what could not be written.
    pub(crate) fn give_back(&self, unwritten: Vec<(Denied, Option<How>)>) {
        self.lock()
            .unwritten
            .extend(unwritten.into_iter().map(|(what, _)| what));
    }

    /// Adds what was written before this start.
    pub(crate) fn remember(&self, what: &Denied, how: Option<How>) {
        let mut inner = self.lock();
        match how {
            Some(how) => inner.put(what.clone(), how),
            None => inner.forget(what),
        }
        inner.unwritten.remove(what);
    }
}

impl Inner {
    fn note_key(&mut self, news: &KeyNews, secrets: &[Digest]) {
        let key = Denied::Key(news.tenant.clone(), news.id);
        let replaced = Denied::Secrets(news.tenant.clone(), news.id);
        match news.outcome {
            KeyOutcome::Live => self.forget(&key),
            KeyOutcome::Changed => {}
            KeyOutcome::Ended | KeyOutcome::Withdrawn => {
                // A denial of the key covers its secrets.
                self.forget(&replaced);
                let is_final = news.outcome == KeyOutcome::Ended;
                self.put(key, if is_final { How::Final } else { How::Ended });
            }
            KeyOutcome::Held => self.put(key, How::Held),
            KeyOutcome::Rotated | KeyOutcome::Finished if matches!(self.how(&key), Some(How::Ended | How::Final)) => {}
            KeyOutcome::Rotated | KeyOutcome::Finished => {
                let mut known = match self.how(&replaced) {
                    Some(How::Replaced { known, .. }) => known.clone(),
                    Some(_) | None => Vec::new(),
                };
                known.retain(|one| !secrets.contains(one));
                known.extend_from_slice(secrets);
                known.drain(..known.len().saturating_sub(SECRETS));
                let is_finished = news.outcome == KeyOutcome::Finished;
                self.put(replaced, How::Replaced { known, is_finished });
            }
        }
    }

    fn note_replaced(&mut self, place: Denied, id: RootKeyId, secrets: &[Digest]) {
        let mut known = match self.how(&place) {
            Some(How::Replaced { known, .. }) => known.clone(),
            Some(_) | None => Vec::new(),
        };
        let before = known.len();
        for secret in secrets {
            if !known.contains(secret) {
                known.push(*secret);
            }
        }
        if known.len() > before && self.how(&Denied::RootKey(id)).is_none() {
            known.drain(..known.len().saturating_sub(ROOT_SECRETS));
            let is_finished = true;
            self.put(place, How::Replaced { known, is_finished });
        }
    }

    fn how(&self, what: &Denied) -> Option<&How> {
        self.denied.get(what).map(|(how, _)| how)
    }

    fn put(&mut self, what: Denied, how: How) {
        self.unwritten.insert(what.clone());
        // A denial that is added again is as fresh as a new one: a revocation after a disablement is not dropped as old.
        if let Some((_, age)) = self.denied.insert(what.clone(), (how, self.next_age)) {
            self.by_age.remove(&age);
        }
        self.by_age.insert(self.next_age, what);
        self.next_age += 1;
        while self.by_age.len() > REMEMBERED {
            if let Some((_, oldest)) = self.by_age.pop_first() {
                self.denied.remove(&oldest);
                self.unwritten.insert(oldest);
            }
        }
    }

    fn forget(&mut self, what: &Denied) {
        if let Some((_, age)) = self.denied.remove(what) {
            self.by_age.remove(&age);
            self.unwritten.insert(what.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(outcome: KeyOutcome) -> Commit {
        Commit {
            keys: vec![KeyNews {
                tenant: Slug::parse("acme").unwrap(),
                id: KeyId::from_bytes([1; 16]),
                outcome,
            }],
            secrets: vec![Digest::of(b"x")],
            ..Commit::default()
        }
    }

    fn after(outcomes: &[KeyOutcome]) -> Vec<How> {
        let tombstones = Tombstones::default();
        for outcome in outcomes {
            tombstones.note(&key(*outcome));
        }
        tombstones.all().into_iter().map(|(_, how)| how).collect()
    }

    fn replaced(is_finished: bool) -> How {
        How::Replaced {
            known: vec![Digest::of(b"x")],
            is_finished,
        }
    }

    #[test]
    fn what_was_given_back_is_no_longer_denied_and_the_harder_denial_stays() {
        assert_eq!(after(&[KeyOutcome::Ended]), [How::Final]);
        assert_eq!(after(&[KeyOutcome::Withdrawn]), [How::Ended]);
        assert_eq!(after(&[KeyOutcome::Withdrawn, KeyOutcome::Live]), []);
        assert_eq!(after(&[KeyOutcome::Withdrawn, KeyOutcome::Ended]), [How::Final]);
        assert_eq!(after(&[KeyOutcome::Held, KeyOutcome::Live]), []);
        assert_eq!(after(&[KeyOutcome::Ended, KeyOutcome::Rotated]), [How::Final]);
        assert_eq!(after(&[KeyOutcome::Rotated, KeyOutcome::Ended]), [How::Final]);
        assert_eq!(
            after(&[KeyOutcome::Held, KeyOutcome::Live, KeyOutcome::Rotated]),
            [replaced(false)]
        );
        assert_eq!(after(&[KeyOutcome::Rotated, KeyOutcome::Finished]), [replaced(true)]);
    }

    /// A re-activated key does not get its replaced secret back.
    #[test]
    fn a_replaced_secret_stays_replaced_when_the_key_is_held_and_given_back() {
        assert_eq!(
            after(&[KeyOutcome::Rotated, KeyOutcome::Held, KeyOutcome::Live]),
            [replaced(false)]
        );
    }

    #[test]
    fn a_denial_that_is_added_again_is_not_dropped_as_the_oldest() {
        let mut inner = Inner::default();
        let key = |number: u32| {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&number.to_be_bytes());
            Denied::Key(Slug::parse("acme").unwrap(), KeyId::from_bytes(id))
        };
        let remembered = u32::try_from(REMEMBERED).unwrap();
        for number in 0..remembered {
            inner.put(key(number), How::Held);
        }
        inner.put(key(0), How::Ended);
        inner.put(key(remembered), How::Ended);
        assert_eq!(inner.how(&key(0)), Some(&How::Ended));
        assert_eq!(inner.how(&key(1)), None);
        inner.forget(&key(0));
        assert_eq!(
            (inner.by_age.len(), inner.denied.len()),
            (REMEMBERED - 1, REMEMBERED - 1)
        );
    }

    #[test]
    fn replaced_secrets_of_a_root_key_are_remembered_until_it_is_revoked() {
        let tombstones = Tombstones::default();
        let id = RootKeyId::from_bytes([3; 16]);
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        let commit = Commit {
            replaced_root_secrets: vec![(id, vec![old])],
            ..Commit::default()
        };
        tombstones.note(&commit);
        assert!(tombstones.denies_root_key(id, &old, false) && !tombstones.denies_root_key(id, &new, true));
        tombstones.take_unwritten();
        tombstones.note(&commit);
        assert_eq!(tombstones.take_unwritten(), [], "the same secrets again");
        tombstones.note(&Commit {
            revoked_root_keys: vec![id],
            ..Commit::default()
        });
        assert_eq!(tombstones.all(), [(Denied::RootKey(id), How::Ended)]);
        assert!(tombstones.denies_root_key(id, &new, true));
    }

    #[test]
    fn a_secret_that_was_retiring_is_never_the_present_one_again() {
        let tombstones = Tombstones::default();
        let id = RootKeyId::from_bytes([3; 16]);
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        tombstones.note(&Commit {
            rotated_root_secrets: vec![(id, vec![old])],
            ..Commit::default()
        });
        let denies = |secret: &Digest, is_present| tombstones.denies_root_key(id, secret, is_present);
        assert!(denies(&old, true) && !denies(&old, false) && !denies(&new, true));
        tombstones.note(&Commit {
            revoked_root_keys: vec![id],
            ..Commit::default()
        });
        assert_eq!(tombstones.all(), [(Denied::RootKey(id), How::Ended)]);
    }

    #[test]
    fn a_revoked_root_key_is_remembered() {
        let tombstones = Tombstones::default();
        let id = RootKeyId::from_bytes([3; 16]);
        tombstones.note(&Commit {
            revoked_root_keys: vec![id],
            ..Commit::default()
        });
        assert_eq!(tombstones.all(), [(Denied::RootKey(id), How::Ended)]);
        assert_eq!(tombstones.take_unwritten(), [(Denied::RootKey(id), Some(How::Ended))]);
        assert_eq!(tombstones.take_unwritten(), []);
    }
}
