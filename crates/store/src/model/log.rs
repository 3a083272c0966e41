//! Entries of the audit log, as they are written and read.

use keyreeve_core::Timestamp;
use keyreeve_core::audit::{Action, ChainHash, HashedEntry};
use keyreeve_core::text::Slug;

/// The end of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// The number of the newest change; 0 before the first.
    pub revision: u64,
    /// The chain up to it.
    pub chain: ChainHash,
}

/// The part of an audit entry that the decision provides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditDraft {
    /// What was done.
    pub action: Action,
    /// Why, in the caller's words.
    pub reason: Option<Box<str>>,
    /// The record before the change, as JSON without secrets.
    pub before: Option<String>,
    /// The record after the change, as JSON without secrets.
    pub after: Option<String>,
}

/// One line of the audit log as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditRecord {
    /// Its number.
    pub revision: u64,
    /// When.
    pub at: Timestamp,
    /// In which tenant.
    pub tenant: String,
    /// Kind of actor.
    pub actor_type: String,
    /// Who.
    pub actor_id: String,
    /// What.
    pub action: String,
    /// Kind of target.
    pub target_type: String,
    /// To what.
    pub target_id: String,
    /// The owner of the key.
    pub subject: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// From where.
    pub address: Option<String>,
    /// In which request.
    pub request_id: String,
    /// Before, as JSON.
    pub before: Option<String>,
    /// After, as JSON.
    pub after: Option<String>,
    /// The chain after this entry (`keyreeve_core::audit::link`).
    pub chain: ChainHash,
}

/// An event that changes only the audit log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// In which tenant; `None` if in none.
    pub tenant: Option<Slug>,
    /// Kind of the record that it is about.
    pub target_type: &'static str,
    /// The id of the record.
    pub target_id: String,
    /// The owner, where there is one.
    pub subject: Option<String>,
    /// What happened.
    pub action: Action,
    /// Why, or what exactly.
    pub reason: Option<Box<str>>,
    /// The state before, as JSON, if the event has two states.
    pub before: Option<String>,
    /// The state after, as JSON.
    pub after: Option<String>,
}

/// Which entries of the log to read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuditQuery {
    /// Only of this tenant.
    pub tenant: Option<Slug>,
    /// Also entries of the instance, which belong to no tenant.
    pub with_instance: bool,
    /// Only about the record with this id.
    pub target_id: Option<String>,
    /// Only by this actor.
    pub actor_id: Option<String>,
    /// Only about keys of this owner.
    pub subject: Option<String>,
    /// Only of this action or, with a dot at its end, of this kind of action.
    pub action: Option<String>,
    /// Only at or after this time.
    pub since: Option<Timestamp>,
    /// Only before this time.
    pub until: Option<Timestamp>,
    /// Only entries before this revision.
    pub before: Option<u64>,
    /// Only entries after this revision.
    pub after: Option<u64>,
    /// Oldest first; else newest first.
    pub oldest_first: bool,
    /// Maximum number of entries to return.
    pub limit: u32,
}

/// Returns an entry in the form that is hashed.
pub fn entry_of(record: &AuditRecord) -> HashedEntry<'_> {
    HashedEntry {
        revision: record.revision,
        at: record.at,
        tenant: &record.tenant,
        actor_type: &record.actor_type,
        actor_id: &record.actor_id,
        action: &record.action,
        target_type: &record.target_type,
        target_id: &record.target_id,
        subject: record.subject.as_deref(),
        reason: record.reason.as_deref(),
        address: record.address.as_deref(),
        request_id: &record.request_id,
        before: record.before.as_deref(),
        after: record.after.as_deref(),
    }
}
