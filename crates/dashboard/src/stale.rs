//! Forms based on an outdated version of a record: what has changed since, and which fields the user did not touch.

use super::events::{ChangedField, told, words};
use super::fields::FormFields;
use super::moment::When;
use super::people::People;
use keyreeve_authority::model::{Condition, Version};
use keyreeve_authority::{Call, Conflict, Recorded};
use keyreeve_core::Timestamp;

/// The form field with the version on which the form is based.
const VERSION: &str = "version";
/// The form field with the values that the form was shown with.
const SHOWN: &str = "shown";

/// What happened to a record since a form was opened.
#[derive(Clone, Debug)]
pub(super) struct Stale {
    /// The changes, newest first.
    pub(super) changes: Vec<Made>,
    /// Whether these are all changes.
    pub(super) is_complete: bool,
}

/// A change.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) actor: String,
    pub(super) words: &'static str,
    pub(super) at: When,
    pub(super) told: Vec<ChangedField>,
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

/// Returns the call with the form's version as a condition. A form without a version is unconditional, like a call
/// without `If-Match`; all of our forms have one.
pub(super) fn on_version(call: &Call, fields: &FormFields) -> Call {
    let seen = || Version::parse(fields.raw(VERSION)).into_iter().collect();
    Call {
        only_if: fields.has(VERSION).then(|| Condition::OneOf(seen())),
        ..call.clone()
    }
}

/// The hidden fields of a form.
#[derive(Clone, Debug)]
pub(super) struct SeenFields {
    /// The version on which the form is based.
    pub(super) version: String,
    /// The values that the form was shown with, as a query.
    pub(super) shown: String,
}

impl SeenFields {
    /// For a form with the values `form` of a record in this version.
    pub(super) fn new(version: &Version, form: &FormFields) -> Self {
        Self {
            version: version.to_tag(),
            shown: form.encoded(),
        }
    }

    /// Keeps the hidden fields of a form that was sent and is shown again; otherwise as [`SeenFields::new`].
    pub(super) fn kept(sent: &FormFields, version: &Version, form: &FormFields) -> Self {
        match sent.has(VERSION) {
            true => Self::sent(sent),
            false => Self::new(version, form),
        }
    }

    /// Returns the hidden fields as they were sent.
    pub(super) fn sent(fields: &FormFields) -> Self {
        Self {
            version: fields.raw(VERSION).to_owned(),
            shown: fields.raw(SHOWN).to_owned(),
        }
    }
}

/// Returns the hidden field of a form without a version. A form that is shown again keeps the one that was sent.
pub(super) fn shown(sent: &FormFields, form: &FormFields) -> String {
    match sent.has(SHOWN) {
        true => sent.raw(SHOWN).to_owned(),
        false => form.encoded(),
    }
}

/// Whether a field was sent as it was shown.
pub(super) fn is_untouched(sent: &FormFields, name: &str) -> bool {
    let shown = FormFields::parse(sent.raw(SHOWN).as_bytes());
    shown.has(name) && shown.raw(name) == sent.raw(name)
}

/// Merges: a touched field has the value that was sent, an untouched one that of the record now. `present` is the form
/// of the record now. A box that is not ticked is not among the fields.
pub(super) fn merged(sent: &FormFields, present: &FormFields) -> FormFields {
    let shown = FormFields::parse(sent.raw(SHOWN).as_bytes());
    let mut names: Vec<&str> = present.names().chain(shown.names()).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().fold(sent.clone(), |merged, name| {
        let of = |fields: &FormFields| fields.has(name).then(|| fields.raw(name).to_owned());
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
        let fields = |text: &str| FormFields::parse(text.as_bytes());
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
