//! The audit log on the wire.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// An entry of the log.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditEvent {
    /// Its id, made of its revision.
    #[schema(pattern = "^evt_[0-9]+$")]
    pub id: String,
    /// Its number: 1, 2, 3, … without gaps over the whole instance.
    pub revision: u64,
    /// When, in Unix ms.
    pub at: i64,
    /// In which tenant; empty if it is about the whole instance.
    pub tenant: String,
    /// Who.
    pub actor: Party,
    /// What was done.
    #[schema(example = "key.revoked")]
    pub action: String,
    /// To what.
    pub target: Party,
    /// The owner of the key.
    #[schema(required, nullable)]
    pub subject: Option<String>,
    /// Why.
    #[schema(required, nullable)]
    pub reason: Option<String>,
    /// From which network address.
    #[schema(required, nullable)]
    pub address: Option<String>,
    /// In which request.
    pub request_id: String,
    /// The thing before.
    #[schema(value_type = Option<Object>, required, nullable)]
    pub before: Option<Box<RawValue>>,
    /// The thing after.
    #[schema(value_type = Option<Object>, required, nullable)]
    pub after: Option<Box<RawValue>>,
    /// The hash chain after this entry: 64 hex digits.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub hash: String,
}

/// Who or what.
#[derive(Debug, Serialize, ToSchema)]
pub struct Party {
    /// The kind: `root_key`, `user`, `key`, `operator`, `system`, `tenant`, `route`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The id.
    pub id: String,
}

/// Entries of the log, newest first (a key's life line: oldest first).
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditList {
    /// The entries.
    pub data: Vec<AuditEvent>,
    /// Where the next page begins: pass it as `cursor`. Not there on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// What to check the log against.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyAudit {
    /// A checkpoint that was kept elsewhere, as `GET /v1/audit/checkpoint` gave it. Without it the newest one of this
    /// server is taken.
    #[schema(nullable, max_length = 2000)]
    pub checkpoint: Option<String>,
}

/// What a walk along the log found.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditCheck {
    /// Whether every entry is what was written, none is missing, and the end is the recorded one.
    pub ok: bool,
    /// The last entry that is sound.
    pub entries: u64,
    /// Where the walk began: entries up to this one were not looked at again. 0 where the whole log was walked.
    pub since: u64,
    /// The first revision that cannot be trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_broken: Option<u64>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The revision of the checkpoint that the log was held against; null if there was none.
    #[schema(required, nullable)]
    pub checkpoint_revision: Option<u64>,
}

/// A signed statement of where the log ends.
#[derive(Debug, Serialize, ToSchema)]
pub struct Checkpoint {
    /// The revision.
    pub revision: u64,
    /// The hash chain up to it: 64 hex digits.
    pub hash: String,
    /// The signed note (C2SP signed-note): keep it elsewhere.
    pub note: String,
    /// The key that verifies it (C2SP verifier key).
    pub verifier_key: String,
}

/// What was counted for a key in an hour.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageHour {
    /// The start of the hour, in Unix ms.
    pub hour: i64,
    /// `valid`, `valid_retiring` (with the secret before the last rotation), or why it was denied.
    pub outcome: String,
    /// How often.
    pub count: u64,
    /// What these calls cost: one unit each, or the `cost` that the verification named. Refused calls cost nothing.
    pub cost: u64,
}

/// What was counted for a key, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct Usage {
    /// Counts by hour and outcome.
    pub data: Vec<UsageHour>,
}
