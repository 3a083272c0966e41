//! A conflict as data: a change was based on a version that is not the present one.

use keyreeve_store::model::AuditRecord;
use keyreeve_store::version::Version;
use serde_json::{Map, Value};

/// A value that is longer as JSON is not reported, only the fact that it changed.
const VALUE_BYTES_MAX: usize = 2_048;
/// The prefix of a text that the log has only the digest of.
const MARK: &str = "sha256:";

/// The changes of a record since the caller has read it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conflict {
    /// The present version.
    pub present: Version,
    /// What was changed since, the newest first.
    pub changes: Vec<Recorded>,
    /// Whether these are all. If not, the version that the caller has seen is not in the audit log, or too long ago.
    pub is_complete: bool,
}

/// A change as the audit log has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recorded {
    /// The entry.
    pub entry: AuditRecord,
    /// Which fields changed.
    pub fields: Vec<FieldChange>,
}

/// A field that changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldChange {
    /// The field. Within a document it is the path, with dots.
    pub name: String,
    /// The values before and after; `None` where the log does not have them, or they are too long.
    pub values: Option<(Value, Value)>,
}

impl FieldChange {
    /// Returns the fields that changed, by the `before` and `after` of an audit entry.
    pub fn all_of(entry: &AuditRecord) -> Vec<Self> {
        let read = |text: &Option<String>| text.as_deref().and_then(|text| serde_json::from_str(text).ok());
        match (read(&entry.before), read(&entry.after)) {
            (Some(before), Some(after)) => Self::between(&before, &after),
            _ => Vec::new(),
        }
    }

    /// Returns the fields that differ between two values of a record.
    pub(crate) fn between(before: &Value, after: &Value) -> Vec<Self> {
        let (mut old, mut new) = (Map::new(), Map::new());
        flatten("", before, &mut old);
        flatten("", after, &mut new);
        let mut names: Vec<_> = old.keys().chain(new.keys()).cloned().collect();
        names.sort();
        names.dedup();
        let value = |fields: &Map<String, Value>, name: &str| fields.get(name).cloned().unwrap_or(Value::Null);
        let all = names.into_iter().map(|name| {
            let values = (value(&old, &name), value(&new, &name));
            (name, values)
        });
        all.filter(|(_, (before, after))| before != after)
            .map(|(name, values)| {
                let is_reported = is_reported(&values.0) && is_reported(&values.1);
                let values = is_reported.then_some(values);
                Self { name, values }
            })
            .collect()
    }
}

/// Replaces nested documents by their fields, named by their paths.
fn flatten(path: &str, value: &Value, into: &mut Map<String, Value>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                flatten(&path, value, into);
            }
        }
        other => drop(into.insert(path.to_owned(), other.clone())),
    }
}

fn is_reported(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.starts_with(MARK) && text.len() <= VALUE_BYTES_MAX,
        other => other.to_string().len() <= VALUE_BYTES_MAX,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use keyreeve_core::Timestamp;
    use keyreeve_core::audit::Action;
    use serde_json::json;

    /// Returns an entry about the policy of a tenant.
    pub(crate) fn changed(revision: u64, before: &Value, after: &Value) -> AuditRecord {
        AuditRecord {
            revision,
            at: Timestamp::from_millis(5),
            tenant: "acme".to_owned(),
            actor_type: "operator".to_owned(),
            actor_id: "operator".to_owned(),
            action: Action::PolicyUpdated.as_str().to_owned(),
            target_type: "tenant".to_owned(),
            target_id: "acme".to_owned(),
            subject: None,
            reason: None,
            address: None,
            request_id: "req".to_owned(),
            before: Some(before.to_string()),
            after: Some(after.to_string()),
            chain: [0; 32],
        }
    }

    #[test]
    fn a_field_within_a_document_has_its_path_and_marks_are_not_reported() {
        let before = json!({"limit": {"max": null}, "description": "sha256:01", "scopes": ["a"], "same": 1});
        let after = json!({"limit": {"max": 3}, "description": "sha256:02", "scopes": [], "same": 1});
        let entry = changed(1, &before, &after);
        let fields = FieldChange::all_of(&entry);
        let expected = [
            ("description", None),
            ("limit.max", Some((json!(null), json!(3)))),
            ("scopes", Some((json!(["a"]), json!([])))),
        ];
        let expected = expected.map(|(name, values)| FieldChange {
            name: name.to_owned(),
            values,
        });
        assert_eq!(fields, expected);
    }
}
