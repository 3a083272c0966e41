//! Changes whose operation may be queried later.

use keyreeve_core::coherence::holding::{Awaited, Scope};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Most changes that are remembered for later queries.
const REMEMBERED_MAX: usize = 10_000;

/// Changes whose operation may be queried later, by their newest revision and their tenant: a repeated request changes
/// nothing, and its newest revision may be that of another caller's change.
#[derive(Debug, Default)]
pub(crate) struct Remembered(Mutex<BTreeMap<(u64, Box<str>), Awaited>>);

impl Remembered {
    pub(crate) fn note(&self, change: &Awaited) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tenant = match &change.scope {
            Some(Scope::Tenant(slug)) => slug.as_str(),
            Some(Scope::Instance) | None => "",
        };
        known.insert((change.newest(), tenant.into()), change.clone());
        if known.len() > REMEMBERED_MAX {
            known.pop_first();
        }
    }

    pub(crate) fn get(&self, revision: u64, tenant: &str) -> Option<Awaited> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(revision, tenant.into())).cloned()
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
            remembered.note(&Awaited::one(&slug(tenant), 7));
        }
        assert_eq!(remembered.get(7, "acme"), Some(Awaited::one(&slug("acme"), 7)));
        assert_eq!(remembered.get(7, "other"), Some(Awaited::one(&slug("other"), 7)));
        assert_eq!((remembered.get(7, ""), remembered.get(8, "acme")), (None, None));
    }
}
