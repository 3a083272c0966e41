//! `POST /v1/api_keys/{id}/finalize`: makes a revocation final that could still be undone.
//!
//! Tests: `e2e/lifecycle/test_policy.py`, `e2e/lifecycle/test_lost_updates.py`

use super::{changed, revoke};
use crate::http::call::{Incoming, MaybeJson, key_id};
use crate::management::Management;
use axum::extract::{Path, State};
use axum::response::Response;
use keyreeve_api::keys::{ApiKey, RevokeKey};
use keyreeve_web::Rejected;
use std::sync::Arc;

/// Finalize a revocation that can still be undone.
///
/// A separate verb, so that repeating *revoke* never shortens the time in which it can be undone. Refused for a key
/// that is not being revoked; repeating it succeeds and changes nothing.
#[utoipa::path(
    post, path = "/v1/api_keys/{id}/finalize", tag = "api keys", operation_id = "finalizeApiKey",
    params(("id" = String, Path, description = "The key", pattern = "^ak_[0-9a-f]{32}$")),
    request_body = RevokeKey,
    responses((status = 200, description = "The key", body = ApiKey)),
    security(("root_key" = ["keys:write"]))
)]
pub(crate) async fn handler(
    State(management): State<Arc<Management>>,
    Path(id): Path<String>,
    Incoming {
        call,
        content: MaybeJson(wish),
    }: Incoming<MaybeJson<RevokeKey>>,
) -> Result<Response, Rejected> {
    let change = management
        .authority()
        .keys()
        .finalize(&call, key_id(&id)?, revoke::command(wish)?)
        .await?;
    changed(&management, &change)
}
