//! A form that was filled in on a version of a record which is not the present one: what has changed meanwhile, and which
//! fields were not touched.

use super::events::{Told, told, words};
use super::form::Fields;
use super::moment::When;
use super::people::People;
use keyreeve_authority::{Call, Conflict, Recorded};
use keyreeve_core::Timestamp;
use keyreeve_store::version::{Condition, Version};

/// The field of a form that says which version it was filled in on.
const VERSION: &str = "version";
/// What its fields held then.
const SHOWN: &str = "shown";

/// What has become of a record since a form was opened.
#[derive(Clone, Debug)]
pub(super) struct Stale {
    /// What was changed, the newest first.
    pub(super) changes: Vec<Made>,
    /// Whether that is all.
    pub(super) is_complete: bool,
}

/// A change.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) actor: String,
    pub(super) words: &'static str,
    pub(super) at: When,
    pub(super) told: Vec<Told>,
}

impl Stale {
    pub(super) fn of(conflict: &Conflict, people: &People, now: Timestamp) -> Self {
        let made = |change: &Recorded| Made {
            actor: people.name_of(&change.entry.actor_id),
            words: words(&change.entry.action),
            at: When::new(change.entry.at, now),
            told: told(&change.fields),
        };
        Self {
            changes: conflict.changes.iter().map(made).collect(),
            is_complete: conflict.is_complete,
        }
    }
}

/// The same call, for the version alone that a form was filled in on. Like a call without `If-Match`, a form that says nothing
/// of a version is carried out whatever there is; ours all do.
pub(super) fn on_version(call: &Call, fields: &Fields) -> Call {
    let seen = || Version::parse(fields.raw(VERSION)).into_iter().collect();
    Call {
        only_if: fields.has(VERSION).then(|| Condition::OneOf(seen())),
        ..call.clone()
    }
}

/// What the hidden fields of a form say.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The version that it is filled in on.
    pub(super) version: String,
    /// What its fields held when it was shown, as a query.
    pub(super) shown: String,
}

impl Seen {
    /// Of a form that shows `form`, a record in this version.
    pub(super) fn new(version: &Version, form: &Fields) -> Self {
        Self {
            version: version.to_tag(),
            shown: form.encoded(),
        }
    }

    /// The same, or what a form says that was sent before and is shown again.
    pub(super) fn kept(sent: &Fields, version: &Version, form: &Fields) -> Self {
        match sent.has(VERSION) {
            true => Self::sent(sent),
            false => Self::new(version, form),
        }
    }

    /// As a form says that was sent.
    pub(super) fn sent(fields: &Fields) -> Self {
        Self {
            version: fields.raw(VERSION).to_owned(),
            shown: fields.raw(SHOWN).to_owned(),
        }
    }
}

/// What the hidden field of a form without a version says: that of a form which was sent before and is shown again stays.
pub(super) fn shown(sent: &Fields, form: &Fields) -> String {
    match sent.has(SHOWN) {
        true => sent.raw(SHOWN).to_owned(),
        false => form.encoded(),
    }
}

/// Whether a field was sent as it was shown.
pub(super) fn is_untouched(sent: &Fields, name: &str) -> bool {
    let shown = Fields::parse(sent.raw(SHOWN).as_bytes());
    shown.has(name) && shown.raw(name) == sent.raw(name)
}

/// A form as it was sent, but where a field was not touched as the record is now. `present`: the form that the record would
/// be shown in. A box that is not ticked is no field.
pub(super) fn merged(sent: &Fields, present: &Fields) -> Fields {
    let shown = Fields::parse(sent.raw(SHOWN).as_bytes());
    let mut names: Vec<&str> = present.names().chain(shown.names()).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().fold(sent.clone(), |merged, name| {
        let of = |fields: &Fields| fields.has(name).then(|| fields.raw(name).to_owned());
        match of(sent) == of(&shown) {
            true => merged.set(name, of(present)),
            false => merged,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_stays_and_what_was_not_touched_is_as_it_is_now() {
        let fields = |text: &str| Fields::parse(text.as_bytes());
        let shown = fields("name=n&scopes=read+admin&description=&sticky=yes").encoded();
        let sent = fields("name=n&scopes=read+admin&description=typed&never=yes").with(SHOWN, &shown);
        let present = fields("name=n&scopes=read&description=other&sticky=yes&custom=yes");
        let merged = merged(&sent, &present);
        assert_eq!(merged.raw("scopes"), "read", "not touched");
        assert_eq!(merged.raw("description"), "typed");
        assert!(!merged.has("sticky"), "a box that was cleared");
        assert!(merged.has("never"), "a box that was ticked");
        assert!(merged.has("custom"), "a box that another has ticked");
    }
}
