//! Denials as they are kept outside the database, so that a restored one gets back what it has lost.
//!
//! Each is derived from one entry of the audit log, and has that entry's revision and chain hash: a database that has
//! this entry has the denial. No secret and no digest of one is in it. The server keeps the file.

mod apply;
mod fold;
mod text;

pub use apply::Reapplied;
pub(crate) use apply::{AT_ONCE, RESTORE_REQUEST, change_many, operator, reapply};
pub use fold::compact;
pub(crate) use fold::fold as owed_by;
pub use text::LedgerLine;

use keyreeve_core::access::Role;
use keyreeve_core::audit::{ChainHash, Milestone};
use keyreeve_core::lifecycle::State;
use keyreeve_core::text::Slug;
use keyreeve_core::user::Status;
use keyreeve_core::{KeyId, RootKeyId, Timestamp, UserId};
use keyreeve_store::model::AuditRecord;
use serde_json::Value;

/// What an entry of the audit log denied, or gave back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordedDenial {
    /// The entry.
    pub entry: Milestone,
    /// Its time.
    pub at: Timestamp,
    /// What it was about.
    pub target: DeniedRecord,
    /// What it did.
    pub change: DenialChange,
}

/// A record that can be denied.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DeniedRecord {
    /// A key.
    Key(Slug, KeyId),
    /// A user, who owns keys.
    User(Slug, UserId),
    /// A tenant.
    Tenant(Slug),
    /// A root key.
    RootKey(RootKeyId),
}

/// What was done to a record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DenialChange {
    /// Revoked for good, or erased.
    Ended,
    /// Revoked in a way that can be undone.
    Withdrawn,
    /// Disabled.
    Held,
    /// Re-activated.
    GivenBack,
    /// Its secret was replaced.
    Rotated,
    /// The overlap of the replaced secret was ended.
    Finished,
    /// Changed so that it may do less: an earlier expiry, fewer scopes, other limits or claims.
    Narrowed,
    /// A user or a tenant was suspended.
    Suspended,
    /// A user or a tenant was removed.
    Removed,
    /// A user or a tenant is active again.
    Opened,
    /// A user got a role without some of the permissions of the role before.
    Demoted(Role),
}

impl RecordedDenial {
    /// Returns what an entry denied or gave back; empty for most entries.
    pub fn of(record: &AuditRecord) -> Vec<Self> {
        let Some((target, changes)) = changes_of(record) else {
            return Vec::new();
        };
        let entry = Milestone {
            revision: record.revision,
            chain: record.chain,
        };
        let one = |change| Self {
            entry,
            at: record.at,
            target: target.clone(),
            change,
        };
        changes.into_iter().map(one).collect()
    }
}

/// Returns an entry as a position in the log.
pub fn milestone_of(record: &AuditRecord) -> Milestone {
    let (revision, chain): (u64, ChainHash) = (record.revision, record.chain);
    Milestone { revision, chain }
}

/// The actions after which a root key of a database without them is revoked.
const ENDS_OF_ROOT_KEYS: [&str; 3] = ["root_key.revoked", "root_key.rotated", "root_key.rotation_finished"];

fn changes_of(record: &AuditRecord) -> Option<(DeniedRecord, Vec<DenialChange>)> {
    let parsed = |text: &Option<String>| -> Value {
        let value = text.as_deref().map(serde_json::from_str);
        value.and_then(Result::ok).unwrap_or_default()
    };
    let (before, after) = (parsed(&record.before), parsed(&record.after));
    let tenant = || Slug::parse(&record.tenant).ok();
    match record.target_type.as_str() {
        "key" => {
            let id = KeyId::parse(&record.target_id).ok()?;
            let change = key_change(&record.action, &before, &after)?;
            Some((DeniedRecord::Key(tenant()?, id), vec![change]))
        }
        "user" => {
            let id = UserId::parse(&record.target_id).ok()?;
            // A removed user has no description any more.
            let changes = match record.action.as_str() {
                "user.removed" => vec![DenialChange::Removed],
                _ => user_changes(&before, &after),
            };
            Some((DeniedRecord::User(tenant()?, id), changes))
        }
        "tenant" => {
            let slug = Slug::parse(&record.target_id).ok().or_else(tenant)?;
            let change = status_change(&before, &after)?;
            Some((DeniedRecord::Tenant(slug), vec![change]))
        }
        // Of a root key that was rotated the newest secret is lost, and an older one would be accepted: it is revoked,
        // as in rule R10. The operator can create another one through the socket in the data directory.
        "root_key" if ENDS_OF_ROOT_KEYS.contains(&record.action.as_str()) => {
            let id = RootKeyId::parse(&record.target_id).ok()?;
            Some((DeniedRecord::RootKey(id), vec![DenialChange::Ended]))
        }
        _ => None,
    }
}

fn key_change(action: &str, before: &Value, after: &Value) -> Option<DenialChange> {
    match action {
        "key.erased" => Some(DenialChange::Ended),
        "key.revoked" if after.get("state").and_then(Value::as_str) == Some("revoked") => Some(DenialChange::Ended),
        "key.revoked" => Some(DenialChange::Withdrawn),
        "key.disabled" => Some(DenialChange::Held),
        "key.reactivated" => Some(DenialChange::GivenBack),
        "key.rotated" => Some(DenialChange::Rotated),
        "key.rotation_finished" => Some(DenialChange::Finished),
        "key.updated" => is_narrower(before, after).then_some(DenialChange::Narrowed),
        _ => None,
    }
}

/// Whether an edit took something away. The log has only a hash of the claims: any change of claims that a key had
/// counts, and so does any change of limits unless they were removed.
fn is_narrower(before: &Value, after: &Value) -> bool {
    let time = |key: &Value| key.get("expires_at").and_then(Value::as_i64).unwrap_or(i64::MAX);
    let scopes = |key: &Value| -> Vec<String> {
        let list = key.get("scopes").and_then(Value::as_array).cloned().unwrap_or_default();
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let text = |key: &Value, name: &str| key.get(name).and_then(Value::as_str).map(str::to_owned);
    let kept = scopes(after);
    let (limits, claims) = (text(after, "limits"), text(before, "claims"));
    time(after) < time(before)
        || scopes(before).iter().any(|scope| !kept.contains(scope))
        || (limits.is_some() && limits != text(before, "limits"))
        || (claims.is_some() && claims != text(after, "claims"))
}

fn status_change(before: &Value, after: &Value) -> Option<DenialChange> {
    let status = |value: &Value| value.get("status").and_then(Value::as_str).and_then(Status::parse);
    let (was, is) = (status(before), status(after)?);
    match is {
        _ if was == Some(is) => None,
        Status::Suspended => Some(DenialChange::Suspended),
        Status::Removed => Some(DenialChange::Removed),
        Status::Active => was.map(|_| DenialChange::Opened),
    }
}

fn user_changes(before: &Value, after: &Value) -> Vec<DenialChange> {
    let role = |value: &Value| value.get("role").and_then(Value::as_str).and_then(Role::parse);
    let mut changes: Vec<_> = status_change(before, after).into_iter().collect();
    if let (Some(was), Some(is)) = (role(before), role(after))
        && !is.permissions().covers(was.permissions())
    {
        changes.push(DenialChange::Demoted(is));
    }
    changes
}

/// Whether a key is on hold because of a restore, and not for another reason.
pub(crate) fn is_held_by_restore(state: &State) -> bool {
    match state {
        State::Disabled(hold) => {
            hold.is_of_restore() && hold.note.as_ref().is_some_and(|note| note.as_str().starts_with(HELD))
        }
        State::Active | State::Revoked(_) => false,
    }
}

/// How the note of a key begins that a restore has put on hold. A release finds the keys by it.
pub(crate) const HELD: &str = "held by the restore";

#[cfg(test)]
mod tests;
