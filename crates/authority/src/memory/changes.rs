//! Changes whose operation may be queried later.

use keyreeve_core::coherence::holding::{Awaited, ChangeScope};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most changes that are remembered for later queries.
const REMEMBERED_MAX: usize = 10_000;

/// Changes whose operation may be queried later, by their newest revision and their tenant: a repeated request changes
/// nothing, and its newest revision may be that of another caller's change.
///
/// After an older copy of the database, revisions are assigned a second time. So all changes of an earlier history are
/// forgotten; a history is the number of forks that this process has seen before it.
#[derive(Debug, Default)]
pub(crate) struct Remembered(Mutex<(u64, ChangesOfHistory)>);

type ChangesOfHistory = BTreeMap<(u64, Box<str>), Awaited>;

impl Remembered {
    fn of(&self, history: u64) -> MutexGuard<'_, (u64, ChangesOfHistory)> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 != history {
            *state = (history, ChangesOfHistory::new());
        }
        state
    }

    pub(crate) fn note(&self, history: u64, change: &Awaited) {
        let mut state = self.of(history);
        let known = &mut state.1;
        let tenant = match &change.scope {
            Some(ChangeScope::Tenant(slug)) => slug.as_str(),
            Some(ChangeScope::Instance) | None => "",
        };
        known.insert((change.newest(), tenant.into()), change.clone());
        if known.len() > REMEMBERED_MAX {
            known.pop_first();
        }
    }

    pub(crate) fn get(&self, history: u64, revision: u64, tenant: &str) -> Option<Awaited> {
        self.of(history).1.get(&(revision, tenant.into())).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_core::text::Slug;

    #[test]
    fn changes_of_two_tenants_with_one_newest_revision_are_both_remembered() {
        let remembered = Remembered::default();
        let slug = |name| Slug::parse(name).unwrap();
        for tenant in ["acme", "other"] {
            remembered.note(0, &Awaited::one(&slug(tenant), 7));
        }
        assert_eq!(remembered.get(0, 7, "acme"), Some(Awaited::one(&slug("acme"), 7)));
        assert_eq!(remembered.get(0, 7, "other"), Some(Awaited::one(&slug("other"), 7)));
        assert_eq!((remembered.get(0, 7, ""), remembered.get(0, 8, "acme")), (None, None));
    }

    #[test]
    fn a_change_of_an_earlier_history_is_not_taken_for_another_one_of_its_revision() {
        let remembered = Remembered::default();
        let slug = Slug::parse("acme").unwrap();
        remembered.note(0, &Awaited::one(&slug, 7));
        assert_eq!(remembered.get(1, 7, "acme"), None);
        remembered.note(1, &Awaited::one(&slug, 8));
        assert_eq!(remembered.get(1, 8, "acme"), Some(Awaited::one(&slug, 8)));
    }
}
