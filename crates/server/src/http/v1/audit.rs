//! `/v1/audit_events` and `/v1/audit/…`: the audit log and the proof that it was not changed.
//!
//! Tests: `e2e/lifecycle/test_audit.py`, `e2e/hostile/test_audit_load.py`, `e2e/lifecycle/test_restore.py`

use crate::http::call::{Incoming, MaybeJson, NoBody};
use crate::http::query::Parameters;
use crate::log_signer::{LogSigner, SignError};
use crate::management::Management;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use hyper::StatusCode;
use keyreeve_api::audit::{AuditCheck, AuditList, Checkpoint, VerifyAudit};
use keyreeve_api::problem::ErrorBody;
use keyreeve_api::{Code, Problem};
use keyreeve_authority::AuditFilter;
use keyreeve_core::Timestamp;
use keyreeve_core::access::Permission;
use keyreeve_core::audit::Action;
use keyreeve_core::hex;
use keyreeve_core::{KeyId, RootKeyId, UserId};
use keyreeve_web::audit_event::event;
use keyreeve_web::walks::Walks;
use keyreeve_web::{Rejected, respond};
use std::sync::Arc;

/// Most entries on a page, and the default.
const LIMIT_MAX: u64 = 1_000;
const LIMIT_DEFAULT: u64 = 50;
/// Latest time that is accepted, in Unix ms: the year 9999.
const TIME_MAX: u64 = 253_402_300_799_999;
/// Largest revision that JSON holds exactly.
const REVISION_MAX: u64 = 9_007_199_254_740_991;
const KNOWN: [&str; 8] = [
    "key_id", "actor_id", "action", "since", "until", "limit", "cursor", "order",
];

/// List entries of the audit log, newest first unless `order` is `asc`.
///
/// All parameters are filters and combine by *and*. Continue a page with `next_cursor`.
#[utoipa::path(
    get, path = "/v1/audit_events", tag = "audit", operation_id = "listAuditEvents",
    params(
        ("key_id" = Option<String>, Query, description = "Only about this key, user or root key", pattern = "^(ak|rk|user)_[0-9a-f]{32}$"),
        ("actor_id" = Option<String>, Query, description = "Only by this actor", pattern = "^((ak|rk|user)_[0-9a-f]{32}|operator|system)$"),
        ("action" = Option<String>, Query, description = "Only this action, or a kind of action with its dot: `key.`", pattern = "^((key|tenant|user|root_key|instance)\\.|policy\\.updated|access\\.refused|key\\.revoked)$"),
        ("since" = Option<u64>, Query, description = "Only at or after this time, Unix ms", maximum = 253_402_300_799_999_u64),
        ("until" = Option<u64>, Query, description = "Only before this time, Unix ms", maximum = 253_402_300_799_999_u64),
        ("limit" = Option<u64>, Query, description = "Entries per page; 50 if not given", minimum = 1, maximum = 1000),
        ("cursor" = Option<u64>, Query, description = "`next_cursor` of the previous page", minimum = 1, maximum = 9_007_199_254_740_991_u64),
        ("order" = Option<String>, Query, description = "`desc` (newest first, the default) or `asc`", pattern = "^(asc|desc)$"),
    ),
    responses((status = 200, description = "A page", body = AuditList)),
    security(("root_key" = ["audit:read"]))
)]
pub(crate) async fn list(
    State(management): State<Arc<Management>>,
    RawQuery(query): RawQuery,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let filter = filter(&Parameters::parse(query.as_deref(), &KNOWN)?)?;
    let limit = filter.limit;
    let records = management.authority().audit().events(&call, filter).await?;
    let is_full = u32::try_from(records.len()).is_ok_and(|count| count == limit);
    let next_cursor = records
        .last()
        .filter(|_| is_full)
        .map(|record| record.revision.to_string());
    let list = AuditList {
        data: records.iter().map(event).collect(),
        next_cursor,
    };
    Ok(respond::json(StatusCode::OK, &list)?)
}

fn filter(parameters: &Parameters<'_>) -> Result<AuditFilter, Problem> {
    let time = |name: &str| {
        let millis = parameters.whole(name, 0, TIME_MAX)?;
        Ok::<_, Problem>(
            millis
                .and_then(|millis| i64::try_from(millis).ok())
                .map(Timestamp::from_millis),
        )
    };
    let (since, until) = (time("since")?, time("until")?);
    if let (Some(since), Some(until)) = (since, until)
        && until <= since
    {
        return Err(Problem::field("until", "must be later than since"));
    }
    let oldest_first = match parameters.get("order") {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(_) => return Err(Problem::field("order", "must be asc or desc")),
    };
    let cursor = parameters.whole("cursor", 1, REVISION_MAX)?;
    let limit = parameters.whole("limit", 1, LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT);
    Ok(AuditFilter {
        target_id: checked(parameters, "key_id", is_id, "must be the id of a key, user or root key")?,
        actor_id: checked(parameters, "actor_id", is_actor, "must be an id, operator or system")?,
        action: checked(
            parameters,
            "action",
            is_action,
            "must be an action such as key.revoked, or a kind: key.",
        )?,
        since,
        until,
        before: cursor.filter(|_| !oldest_first),
        after: cursor.filter(|_| oldest_first),
        oldest_first,
        limit: u32::try_from(limit).unwrap_or(u32::MAX),
    })
}

fn checked(
    parameters: &Parameters<'_>,
    name: &str,
    is_sound: fn(&str) -> bool,
    what: &str,
) -> Result<Option<String>, Problem> {
    match parameters.get(name) {
        None => Ok(None),
        Some(text) if is_sound(text) => Ok(Some(text.to_owned())),
        Some(_) => Err(Problem::field(name, what)),
    }
}

fn is_id(text: &str) -> bool {
    KeyId::parse(text).is_ok() || UserId::parse(text).is_ok() || RootKeyId::parse(text).is_ok()
}

fn is_actor(text: &str) -> bool {
    matches!(text, "operator" | "system") || is_id(text)
}

fn is_action(text: &str) -> bool {
    let is_kind = || Action::ALL.iter().any(|action| action.as_str().starts_with(text));
    Action::parse(text).is_some() || (text.ends_with('.') && is_kind())
}

/// Verify the audit log.
///
/// Detects any entry that was changed, removed or reordered, and a truncated end: the log is compared with its own
/// recorded end and with a signed checkpoint that is stored outside the database.
///
/// For root keys of the instance and for the operator, all entries are read. For those of a tenant, reading begins at
/// the newest checkpoint that this server has signed, which the log must contain, and covers the last 100 000 entries
/// at most; `since` is where it began. One verification runs at a time: 429 if too many wait.
#[utoipa::path(
    post, path = "/v1/audit/verify", tag = "audit", operation_id = "verifyAudit",
    request_body = VerifyAudit,
    responses((status = 200, description = "The result of the verification", body = AuditCheck),
        (status = 429, description = "RATE_LIMITED", body = ErrorBody, content_type = "application/problem+json")),
    security(("root_key" = ["audit:read"]))
)]
pub(crate) async fn verify(
    State(management): State<Arc<Management>>,
    State(signer): State<Arc<LogSigner>>,
    State(walks): State<Arc<Walks>>,
    Incoming {
        call,
        content: MaybeJson(wish),
    }: Incoming<MaybeJson<VerifyAudit>>,
) -> Result<Response, Rejected> {
    call.require(Permission::AuditRead)?;
    let _turn = walks.turn(&call).await?;
    let signed = signer.checkpoints().newest();
    let checkpoint = match &wish.checkpoint {
        Some(note) => Some(
            signer
                .checkpoints()
                .open(note)
                .map_err(|why| Problem::field("checkpoint", &why))?,
        ),
        None => signed,
    };
    let found = management.authority().audit().verify(&call, signed, checkpoint).await?;
    if found.broken.is_none() && found.since == 0 {
        management.note_audit_verified();
    }
    let check = AuditCheck {
        ok: found.broken.is_none(),
        entries: found.sound.revision,
        since: found.since,
        first_broken: found.broken.as_ref().map(keyreeve_core::audit::Broken::revision),
        why: found.broken.map(|broken| broken.to_string()),
        checkpoint_revision: checkpoint.map(|one| one.revision),
    };
    Ok(respond::json(StatusCode::OK, &check)?)
}

/// Get the newest signed checkpoint of the audit log.
///
/// Store it elsewhere, and send it to `POST /v1/audit/verify`. 503 if the end of the log is not signed.
#[utoipa::path(
    get, path = "/v1/audit/checkpoint", tag = "audit", operation_id = "getAuditCheckpoint",
    responses((status = 200, description = "The checkpoint", body = Checkpoint)),
    security(("root_key" = ["audit:read"]))
)]
pub(crate) async fn checkpoint(
    State(signer): State<Arc<LogSigner>>,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    call.require(Permission::AuditRead)?;
    let (milestone, note) = signer.sign().await.map_err(|error| match error {
        SignError::Log(failure) => Rejected::from(failure),
        SignError::Refused(why) => {
            let detail = format!("The end of the audit log is not signed: {why}.");
            Problem::new(Code::ServiceUnavailable, detail).into()
        }
        SignError::Directory(error) => {
            tracing::error!(%error, "cannot store the audit checkpoint");
            let detail = "The checkpoint could not be written to the data directory.";
            Problem::new(Code::InternalError, detail).into()
        }
    })?;
    let checkpoint = Checkpoint {
        revision: milestone.revision,
        hash: hex(&milestone.chain),
        note,
        verifier_key: signer.checkpoints().verifier_key(),
    };
    Ok(respond::json(StatusCode::OK, &checkpoint)?)
}
