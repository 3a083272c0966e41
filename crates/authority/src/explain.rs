//! Explains a conflict: which changes were made since the version that the caller has seen, by whom and when.

use crate::conflict::{Conflict, FieldChange, Recorded};
use crate::{Authority, Call, Failure};
use keyreeve_core::CheckPolicy;
use keyreeve_core::check::DEFAULT_CHECK_POLICY;
use keyreeve_core::text::{CheckPolicyName, Slug};
use keyreeve_store::WriteError;
use keyreeve_store::describe;
use keyreeve_store::model::{AuditQuery, AuditRecord};
use keyreeve_store::version::{Condition, RecordKind, Version};
use serde_json::Value;

/// Entries about a record that are searched for the version that the caller has seen.
const ENTRIES_MAX: u32 = 200;
/// Most changes that a conflict reports.
const CHANGES_MAX: usize = 20;

impl Authority {
    /// Maps the error of a failed change. If the record has another version, the changes since are added. Entries about
    /// the record belong to `tenant`; `None` is the instance.
    pub(crate) async fn explained(
        &self,
        call: &Call,
        tenant: Option<&Slug>,
        about: (RecordKind, &str),
        error: WriteError,
    ) -> Failure {
        let WriteError::Outdated { present } = error else {
            return error.into();
        };
        let (kind, id) = about;
        let query = AuditQuery {
            tenant: tenant.cloned(),
            with_instance: tenant.is_none(),
            target_id: Some(id.to_owned()),
            limit: ENTRIES_MAX,
            ..AuditQuery::default()
        };
        match self.store.audit(query).await {
            Ok(entries) => {
                let about = About {
                    kind,
                    built_in: built_in(kind, id),
                };
                Failure::Outdated(Box::new(conflict(call.only_if.as_ref(), present, &about, entries)))
            }
            Err(error) => error.into(),
        }
    }
}

/// A record, as audit entries describe it.
struct About {
    kind: RecordKind,
    /// The value of the record where it is not stored.
    built_in: Option<Value>,
}

impl About {
    fn part(&self, text: Option<&str>) -> Option<Value> {
        let value = text.and_then(|text| serde_json::from_str(text).ok());
        let part = value.map(|value| self.kind.part_of(value));
        part.or_else(|| self.built_in.clone())
    }
}

/// Returns the check policy that every tenant has without storing it.
fn built_in(kind: RecordKind, id: &str) -> Option<Value> {
    let name = CheckPolicyName::parse(id).ok();
    let name = name.filter(|name| kind == RecordKind::CheckPolicy && name.as_str() == DEFAULT_CHECK_POLICY)?;
    serde_json::from_str(&describe::check_policy(&CheckPolicy::any(name))).ok()
}

/// `entries` are those about everything that has the id, the newest first.
fn conflict(seen: Option<&Condition>, present: Version, about: &About, entries: Vec<AuditRecord>) -> Conflict {
    let seen = match seen {
        Some(Condition::OneOf(versions)) => versions.as_slice(),
        Some(Condition::Any) | None => &[],
    };
    let mut conflict = Conflict {
        present,
        changes: Vec::new(),
        is_complete: false,
    };
    for entry in entries
        .into_iter()
        .filter(|entry| entry.target_type == about.kind.target_type())
    {
        let (before, after) = (about.part(entry.before.as_deref()), about.part(entry.after.as_deref()));
        let is_of_this = match (&before, &after) {
            (None, None) => false,
            (Some(before), Some(after)) => {
                before != after || !matches!(about.kind, RecordKind::Policy | RecordKind::Tenant)
            }
            (Some(_), None) | (None, Some(_)) => true,
        };
        if !is_of_this {
            continue;
        }
        let fields = match (&before, &after) {
            (Some(before), Some(after)) => FieldChange::between(before, after),
            _ => Vec::new(),
        };
        if conflict.changes.len() == CHANGES_MAX {
            return conflict;
        }
        conflict.changes.push(Recorded { entry, fields });
        if let Some(before) = before
            && seen.iter().any(|version| version.is_shown_as(&before))
        {
            conflict.is_complete = true;
            return conflict;
        }
    }
    conflict
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conflict::tests::changed;
    use keyreeve_core::policy::Preset;
    use serde_json::json;

    #[test]
    fn changes_are_reported_back_to_the_version_that_was_seen_and_no_further() {
        let slug = Slug::parse("acme").unwrap();
        let (old, mid, new) = (Preset::Keep.policy(), Preset::Hold.policy(), Preset::Standard.policy());
        let tenant = |policy: &keyreeve_core::Policy, name: &str| {
            let version: Value = serde_json::from_str(&describe::policy(policy)).unwrap();
            json!({"name": name, "status": "active", "policy": version})
        };
        let entries = || {
            vec![
                changed(4, &tenant(&mid, "b"), &tenant(&new, "b")),
                changed(3, &tenant(&mid, "a"), &tenant(&mid, "b")),
                changed(2, &tenant(&old, "a"), &tenant(&mid, "a")),
                changed(1, &tenant(&new, "a"), &tenant(&old, "a")),
            ]
        };
        let about = About {
            kind: RecordKind::Policy,
            built_in: None,
        };
        let present = Version::of_policy(&slug, &new);
        let reported_since = |seen: &keyreeve_core::Policy| {
            let seen = Condition::OneOf(vec![Version::of_policy(&slug, seen)]);
            let conflict = conflict(Some(&seen), present, &about, entries());
            let revisions: Vec<_> = conflict.changes.iter().map(|change| change.entry.revision).collect();
            (revisions, conflict.is_complete)
        };
        assert_eq!(
            reported_since(&mid),
            (vec![4], true),
            "a tenant's new name is no change of its policy"
        );
        assert_eq!(reported_since(&old), (vec![4, 2], true));
        assert_eq!(reported_since(&Preset::Erase.policy()), (vec![4, 2, 1], false));
    }
}
