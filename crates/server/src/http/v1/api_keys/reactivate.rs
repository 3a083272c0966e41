//! `POST /v1/api_keys/{id}/reactivate`: re-activates a disabled key with the same secret.
//!
//! Tests: `e2e/acceptance/test_palette.py`, `e2e/lifecycle/test_policy.py`

use super::changed;
use crate::http::call::{self, Incoming, MaybeJson, key_id};
use crate::management::Management;
use axum::extract::{Path, State};
use axum::response::Response;
use keyreeve_api::keys::{ApiKey, HoldKey};
use keyreeve_api::problem::ErrorBody;
use keyreeve_web::Rejected;
use std::sync::Arc;

/// Re-activate a disabled key.
///
/// The same secret is accepted again when the call returns. It also undoes a revocation that can still be undone.
/// Refused if the key is revoked, or if an administrator disabled it and the policy reserves re-activation to
/// administrators.
#[utoipa::path(
    post, path = "/v1/api_keys/{id}/reactivate", tag = "api keys", operation_id = "reactivateApiKey",
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
    let change = management
        .authority()
        .keys()
        .reactivate(&call, key_id(&id)?, note)
        .await?;
    changed(&management, &change)
}
