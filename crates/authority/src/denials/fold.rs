//! What remains of many changes of one record: later ones supersede earlier ones, except where both matter.

use super::{DenialChange, DeniedRecord, RecordedDenial};
use keyreeve_core::access::Role;
use keyreeve_core::user::Status;
use std::collections::BTreeMap;

/// What a record must be denied, after all changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Owed {
    pub(crate) end: Option<End>,
    pub(crate) is_rotated: bool,
    pub(crate) is_finished: bool,
    pub(crate) is_narrowed: bool,
    pub(crate) status: Option<Status>,
    pub(crate) role: Option<Role>,
}

/// How a key is denied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Held,
    Withdrawn,
    Final,
}

impl Owed {
    fn add(&mut self, change: DenialChange) {
        match change {
            DenialChange::Ended => self.end = Some(End::Final),
            _ if self.end == Some(End::Final) => {}
            DenialChange::Withdrawn => self.end = Some(End::Withdrawn),
            DenialChange::Held => self.end = self.end.or(Some(End::Held)),
            DenialChange::GivenBack => self.end = None,
            DenialChange::Rotated => self.is_rotated = true,
            DenialChange::Finished => self.is_finished = true,
            DenialChange::Narrowed => self.is_narrowed = true,
            DenialChange::Suspended => self.status = Some(Status::Suspended),
            DenialChange::Removed => self.status = Some(Status::Removed),
            DenialChange::Opened => self.status = None,
            DenialChange::Demoted(role) => self.role = Some(role),
        }
    }
}

/// Folds denials, which must be in the order in which they happened. Records that are owed nothing are left out.
pub(crate) fn fold(denials: &[RecordedDenial]) -> BTreeMap<DeniedRecord, Owed> {
    let mut owed: BTreeMap<DeniedRecord, Owed> = BTreeMap::new();
    for denial in denials {
        owed.entry(denial.target.clone()).or_default().add(denial.change);
    }
    owed.retain(|_, owed| *owed != Owed::default());
    owed
}

/// What a change is about: of two changes of a record with the same aspect, the later one is enough.
fn aspect(change: DenialChange) -> u8 {
    match change {
        DenialChange::Ended | DenialChange::Withdrawn | DenialChange::GivenBack => 0,
        DenialChange::Rotated => 1,
        DenialChange::Finished => 2,
        DenialChange::Narrowed => 3,
        DenialChange::Suspended | DenialChange::Removed | DenialChange::Opened => 4,
        DenialChange::Demoted(_) => 5,
        // A harder lock on a revocation that can be undone is an entry of this kind too.
        DenialChange::Held => 6,
    }
}

/// Removes the denials of one history that later ones of it supersede, and keeps the order. For every copy of the
/// database the remaining ones have the same effect.
pub fn compact(denials: Vec<RecordedDenial>) -> Vec<RecordedDenial> {
    let mut seen = std::collections::BTreeSet::new();
    let mut kept: Vec<_> = denials
        .into_iter()
        .rev()
        .filter(|one| seen.insert((one.target.clone(), aspect(one.change))))
        .collect();
    kept.reverse();
    kept
}
