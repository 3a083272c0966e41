//! `POST /v1/api_keys/{id}/revoke`: revokes a key, as the tenant's policy defines it.
//!
//! Tests: `e2e/hostile/test_lifecycle.py`, `e2e/lifecycle/test_races.py`, `e2e/faults/test_nodes.py`,
//! `e2e/clerk-js/api-keys.test.mjs`

use super::changed;
use crate::http::call::{self, Incoming, MaybeJson, key_id};
use crate::management::Management;
use axum::extract::{Path, State};
use axum::response::Response;
use keyreeve_api::Problem;
use keyreeve_api::keys::{ApiKey, RevokeKey};
use keyreeve_authority::keys::RevokeCommand;
use keyreeve_web::Rejected;
use std::sync::Arc;

/// Revoke a key, as the tenant's policy defines it.
///
/// When the answer comes, no verifier accepts the key. Repeating it answers 200 and changes nothing: the first reason
/// and time remain. Refused without a reason where the policy requires one.
#[utoipa::path(
    post, path = "/v1/api_keys/{id}/revoke", tag = "api keys", operation_id = "revokeApiKey",
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
        .revoke(&call, key_id(&id)?, command(wish)?)
        .await?;
    changed(&management, &change)
}

/// Validates a request.
pub(crate) fn command(wish: RevokeKey) -> Result<RevokeCommand, Problem> {
    Ok(RevokeCommand {
        code: call::reason_code("reason_code", wish.reason_code.as_deref())?,
        note: wish
            .revocation_reason
            .map(|text| call::note("revocation_reason", &text))
            .transpose()?,
    })
}
