//! `GET /v1/api_keys/{id}/secret`: always 404. Clerk has this route; Keyreeve stores only a digest (clerk-wire, section
//! 8).
//!
//! Tests: `e2e/hostile/test_requests.py`, `e2e/secrets/test_canary.py`, `e2e/clerk-js/api-keys.test.mjs`

use crate::http::call::{Incoming, NoBody, key_id};
use crate::management::Management;
use axum::extract::{Path, State};
use axum::response::Response;
use keyreeve_api::problem::ErrorBody;
use keyreeve_api::{Code, Problem};
use keyreeve_web::Rejected;
use std::sync::Arc;

/// Always 404: only a digest of the secret is stored.
///
/// Rotate the key to get a new secret. The route exists because Clerk's API has it.
#[utoipa::path(
    get, path = "/v1/api_keys/{id}/secret", tag = "api keys", operation_id = "getApiKeySecret",
    params(("id" = String, Path, description = "The key", pattern = "^ak_[0-9a-f]{32}$")),
    responses((status = 404, description = "SECRET_NOT_STORED, resource_not_found", body = ErrorBody)),
    security(("root_key" = ["keys:read"]))
)]
pub(crate) async fn handler(
    State(management): State<Arc<Management>>,
    Path(id): Path<String>,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    management.authority().keys().get(&call, key_id(&id)?).await?;
    Err(not_stored().into())
}

/// The problem of a secret that is not stored.
pub(in crate::http) fn not_stored() -> Problem {
    let detail = "Only a digest of the secret is kept, so it cannot be shown again. Rotate the key to get a new one.";
    Problem::new(Code::SecretNotStored, detail)
}
