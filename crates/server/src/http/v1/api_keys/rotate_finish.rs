//! `POST /v1/api_keys/{id}/rotate/finish`: ends the overlap of a rotation now.
//!
//! Tests: `e2e/hostile/test_lifecycle.py`, `e2e/lifecycle/test_lost_updates.py`

use super::changed;
use crate::http::call::{Incoming, NoBody, key_id};
use crate::management::Management;
use axum::extract::{Path, State};
use axum::response::Response;
use keyreeve_api::keys::ApiKey;
use keyreeve_web::Rejected;
use std::sync::Arc;

/// End the overlap of a rotation now.
///
/// When the answer comes, no verifier accepts the retiring secret. Succeeds without a change if there is no overlap.
#[utoipa::path(
    post, path = "/v1/api_keys/{id}/rotate/finish", tag = "api keys", operation_id = "finishRotation",
    params(("id" = String, Path, description = "The key", pattern = "^ak_[0-9a-f]{32}$")),
    responses((status = 200, description = "The key", body = ApiKey)),
    security(("root_key" = ["keys:write"]))
)]
pub(crate) async fn handler(
    State(management): State<Arc<Management>>,
    Path(id): Path<String>,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let change = management
        .authority()
        .keys()
        .finish_rotation(&call, key_id(&id)?)
        .await?;
    changed(&management, &change)
}
