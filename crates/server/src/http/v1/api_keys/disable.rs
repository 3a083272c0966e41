//! `POST /v1/api_keys/{id}/disable`: disables a key.
//!
//! Tests: `e2e/acceptance/test_palette.py`, `e2e/hostile/test_retries.py`, `e2e/lifecycle/test_people.py`

use super::changed;
use crate::http::call::{self, Incoming, MaybeJson, key_id};
use crate::management::Management;
use axum::extract::{Path, State};
use axum::response::Response;
use keyreeve_api::keys::{ApiKey, HoldKey};
use keyreeve_api::problem::ErrorBody;
use keyreeve_web::Rejected;
use std::sync::Arc;

/// Disable a key.
///
/// When the answer comes, no verifier accepts the key. It can be re-activated; where the policy has
/// `reactivate.sticky`, only an administrator can re-activate what an administrator disabled. Repeating it succeeds and
/// changes nothing. Refused if the key is revoked.
#[utoipa::path(
    post, path = "/v1/api_keys/{id}/disable", tag = "api keys", operation_id = "disableApiKey",
    params(("id" = String, Path, description = "The key", pattern = "^ak_[0-9a-f]{32}$")),
    request_body = HoldKey,
    responses((status = 200, description = "The key", body = ApiKey),
        (status = 409, description = "INVALID_TRANSITION: the key is revoked", body = ErrorBody)),
    security(("root_key" = ["keys:write"]))
)]
pub(crate) async fn handler(
    State(management): State<Arc<Management>>,
    Path(id): Path<String>,
    Incoming {
        call,
        content: MaybeJson(wish),
    }: Incoming<MaybeJson<HoldKey>>,
) -> Result<Response, Rejected> {
    let note = wish.reason.map(|text| call::note("reason", &text)).transpose()?;
    let change = management.authority().keys().disable(&call, key_id(&id)?, note).await?;
    changed(&management, &change)
}
