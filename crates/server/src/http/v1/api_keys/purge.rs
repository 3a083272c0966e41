//! `POST /v1/api_keys/purge`: deletes the records of keys that were revoked, or expired, long ago.
//!
//! Tests: `e2e/lifecycle/test_filters.py`, `e2e/lifecycle/test_policy.py`

use crate::http::call::{Incoming, Json};
use crate::management::Management;
use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use keyreeve_api::Problem;
use keyreeve_api::keys::{PurgeKeys, PurgedKeys};
use keyreeve_api::seconds::Whole;
use keyreeve_authority::keys::PurgeCommand;
use keyreeve_core::Timestamp;
use keyreeve_web::{Rejected, respond};
use std::sync::Arc;

/// Latest time that is accepted, in Unix ms.
const TIME_MAX: i64 = 253_402_300_799_999;

/// Delete the records of keys that were revoked, or that expired, before a time.
///
/// Deletes at most 1 000 records; `has_more` is true if there are more. Disabled keys are kept. The secrets remain
/// refused, and the audit log keeps its entries.
#[utoipa::path(
    post, path = "/v1/api_keys/purge", tag = "api keys", operation_id = "purgeApiKeys",
    request_body = PurgeKeys,
    responses((status = 200, description = "The number of keys", body = PurgedKeys)),
    security(("root_key" = ["keys:write"]))
)]
pub(crate) async fn handler(
    State(management): State<Arc<Management>>,
    Incoming {
        call,
        content: Json(wish),
    }: Incoming<Json<PurgeKeys>>,
) -> Result<Response, Rejected> {
    if wish.revoked_before.is_none() && wish.expired_before.is_none() {
        let why = "must be given, or expired_before, or both";
        return Err(Problem::field("revoked_before", why).into());
    }
    let time = |field, wish: Option<Whole>| wish.map(|millis| time(field, millis)).transpose();
    let command = PurgeCommand {
        revoked_before: time("revoked_before", wish.revoked_before)?,
        expired_before: time("expired_before", wish.expired_before)?,
    };
    let (purged, has_more) = management.authority().keys().purge(&call, command).await?;
    Ok(respond::json(StatusCode::OK, &PurgedKeys { purged, has_more })?)
}

/// Parses a time of a body.
pub(super) fn time(field: &'static str, millis: Whole) -> Result<Timestamp, Problem> {
    let millis = i64::try_from(millis.0).ok().filter(|millis| *millis <= TIME_MAX);
    let what = "must be Unix ms, at most the end of the year 9999";
    millis
        .map(Timestamp::from_millis)
        .ok_or_else(|| Problem::field(field, what))
}
