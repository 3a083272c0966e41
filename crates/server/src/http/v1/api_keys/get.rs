//! `GET /v1/api_keys/{id}`: returns a key.
//!
//! Tests: `e2e/hostile/test_lifecycle.py`, `e2e/lifecycle/test_activity.py`, `e2e/clerk-js/api-keys.test.mjs`

use super::{REVOKING, object};
use crate::http::call::{Incoming, NoBody, key_id};
use crate::http::conditions::versioned;
use crate::management::Management;
use axum::extract::{Path, State};
use axum::response::Response;
use hyper::StatusCode;
use keyreeve_api::keys::ApiKey;
use keyreeve_store::version::Version;
use keyreeve_web::{Rejected, respond};
use std::sync::Arc;

/// Get a key.
///
/// Its state is `revoking` while a verifier may not yet know that it was disabled or revoked. 404 if the tenant has no
/// key of this id.
#[utoipa::path(
    get, path = "/v1/api_keys/{id}", tag = "api keys", operation_id = "getApiKey",
    params(("id" = String, Path, description = "The key", pattern = "^ak_[0-9a-f]{32}$")),
    responses((status = 200, description = "The key", body = ApiKey)),
    security(("root_key" = ["keys:read"]))
)]
pub(crate) async fn handler(
    State(management): State<Arc<Management>>,
    Path(id): Path<String>,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let record = management.authority().keys().get(&call, key_id(&id)?).await?;
    let mut key = object(&record, management.authority().now());
    if management.authority().keys().is_ending(&call, &record).await? {
        key.state = REVOKING;
    }
    let version = Version::of_key(&record.key);
    Ok(versioned(respond::json(StatusCode::OK, &key)?, &version))
}
