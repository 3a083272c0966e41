//! The audit log on the wire.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// An entry of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditEvent {
    /// Its id, derived from its revision.
    #[schema(pattern = "^evt_[0-9]+$")]
    pub id: String,
    /// Its number: 1, 2, 3, … without gaps over the complete instance.
    pub revision: u64,
    /// Time of the action, in Unix ms.
    pub at: i64,
    /// The tenant; empty if the entry is about the instance.
    pub tenant: String,
    /// Who did it.
    pub actor: Party,
    /// The action.
    #[schema(example = "key.revoked")]
    pub action: String,
    /// The object that was changed.
    pub target: Party,
    /// The owner of the key.
    #[schema(required, nullable)]
    pub subject: Option<String>,
    /// The reason.
    #[schema(required, nullable)]
    pub reason: Option<String>,
    /// The network address of the caller.
    #[schema(required, nullable)]
    pub address: Option<String>,
    /// The id of the request.
    pub request_id: String,
    /// The object before the change.
    #[schema(value_type = Option<Object>, required, nullable)]
    pub before: Option<Box<RawValue>>,
    /// The object after the change.
    #[schema(value_type = Option<Object>, required, nullable)]
    pub after: Option<Box<RawValue>>,
    /// The hash chain after this entry: 64 hex digits.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub hash: String,
}

/// An actor or an object.
#[derive(Debug, Serialize, ToSchema)]
pub struct Party {
    /// The kind. Actors: `root_key`, `user`, `key`, `operator`, `system`. Objects also: `tenant`, `check_policy`,
    /// `instance`, `verifier`, `route`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The id.
    pub id: String,
}

/// Entries of the audit log, newest first (the events of a key: oldest first).
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditList {
    /// The entries.
    pub data: Vec<AuditEvent>,
    /// The start of the next page: pass it as `cursor`. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// What the audit log is verified against.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyAudit {
    /// A checkpoint from `GET /v1/audit/checkpoint` that was stored elsewhere. Without it, the newest one of this
    /// server is used.
    #[schema(nullable, max_length = 2000)]
    pub checkpoint: Option<String>,
}

/// The result of a verification of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditCheck {
    /// Whether every entry is as it was written, none is missing, and the end is the recorded one.
    pub ok: bool,
    /// The last valid entry.
    pub entries: u64,
    /// Where the verification began: entries up to this one were not read again. 0 if all entries were read.
    pub since: u64,
    /// The first revision that cannot be trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_broken: Option<u64>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The revision of the checkpoint that the log was compared with; null if there was none.
    #[schema(required, nullable)]
    pub checkpoint_revision: Option<u64>,
}

/// A signed statement of the end of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub struct Checkpoint {
    /// The revision.
    pub revision: u64,
    /// The hash chain up to it: 64 hex digits.
    pub hash: String,
    /// The signed note (C2SP signed-note). Store it elsewhere.
    pub note: String,
    /// The key that verifies it (C2SP verifier key).
    pub verifier_key: String,
}

/// The count of one outcome of a key in an hour.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageHour {
    /// The start of the hour, in Unix ms.
    pub hour: i64,
    /// `valid`, `valid_retiring` (with the secret from before the last rotation), or the reason of the denial.
    pub outcome: String,
    /// How many verifications had it.
    pub count: u64,
    /// Their cost: one unit each, or the `cost` that the verification named. Denied ones cost nothing.
    pub cost: u64,
}

/// The counts of a key, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct Usage {
    /// Counts by hour and outcome.
    pub data: Vec<UsageHour>,
}
