//! What was denied of late, remembered apart from the database.
//!
//! A database whose standby was not waited for can lose an acknowledged revocation with its primary. Every node that
//! heard of it still knows, and says it again (coherence.md, section 2.7).

use keyreeve_core::KeyId;
use keyreeve_core::text::{Slug, Subject};
use keyreeve_core::user::Status;
use keyreeve_store::{Commit, Fate};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most denials that are remembered; of more, the oldest are forgotten.
const REMEMBERED: usize = 100_000;

/// What is denied.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Denied {
    /// A key.
    Key(Slug, KeyId),
    /// All keys of an owner.
    Owner(Slug, Subject),
    /// All keys of a tenant.
    Tenant(Slug),
}

/// How.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum How {
    /// A key, in one of these ways.
    Key(Fate),
    /// An owner or a tenant.
    Blocked(Status),
}

/// All that is remembered.
#[derive(Debug, Default)]
pub(crate) struct Tombstones(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    denied: BTreeMap<Denied, How>,
    oldest_first: VecDeque<Denied>,
}

impl Tombstones {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what a change denied or gave back.
    pub(crate) fn note(&self, commit: &Commit) {
        if commit.keys.is_empty() && commit.owners.is_empty() && commit.tenants.is_empty() {
            return;
        }
        let mut inner = self.lock();
        for news in &commit.keys {
            let key = Denied::Key(news.tenant.clone(), news.id);
            match news.fate {
                Fate::Live => inner.forget(&key),
                // A rotation of a key that is denied anyway says nothing new.
                Fate::Rotated if inner.denied.contains_key(&key) => {}
                fate @ (Fate::Ended | Fate::Held | Fate::Rotated) => inner.put(key, How::Key(fate)),
            }
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
    }

    /// All of it.
    pub(crate) fn all(&self) -> Vec<(Denied, How)> {
        self.lock()
            .denied
            .iter()
            .map(|(what, how)| (what.clone(), *how))
            .collect()
    }
}

impl Inner {
    fn put(&mut self, what: Denied, how: How) {
        if self.denied.insert(what.clone(), how).is_none() {
            self.oldest_first.push_back(what);
        }
        while self.oldest_first.len() > REMEMBERED {
            if let Some(oldest) = self.oldest_first.pop_front() {
                self.denied.remove(&oldest);
            }
        }
    }

    fn forget(&mut self, what: &Denied) {
        if self.denied.remove(what).is_some() {
            self.oldest_first.retain(|one| one != what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_store::KeyNews;

    fn key(fate: Fate) -> Commit {
        Commit {
            keys: vec![KeyNews {
                tenant: Slug::parse("acme").unwrap(),
                id: KeyId::from_bytes([1; 16]),
                fate,
            }],
            ..Commit::default()
        }
    }

    fn after(fates: &[Fate]) -> Vec<How> {
        let tombstones = Tombstones::default();
        for fate in fates {
            tombstones.note(&key(*fate));
        }
        tombstones.all().into_iter().map(|(_, how)| how).collect()
    }

    #[test]
    fn what_was_given_back_is_no_longer_denied_and_the_harder_denial_stays() {
        assert_eq!(after(&[Fate::Ended]), [How::Key(Fate::Ended)]);
        assert_eq!(after(&[Fate::Held, Fate::Live]), []);
        assert_eq!(after(&[Fate::Ended, Fate::Rotated]), [How::Key(Fate::Ended)]);
        assert_eq!(after(&[Fate::Rotated, Fate::Ended]), [How::Key(Fate::Ended)]);
        assert_eq!(
            after(&[Fate::Held, Fate::Live, Fate::Rotated]),
            [How::Key(Fate::Rotated)]
        );
    }
}
