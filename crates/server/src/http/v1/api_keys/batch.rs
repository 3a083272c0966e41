//! `POST /v1/api_keys/batch`: issue up to 1 000 keys in one transaction, all or none.
//!
//! Tests: `e2e/lifecycle/test_many.py`, `e2e/hostile/test_retries.py`, `e2e/hostile/test_bodies.py`

use super::create::command;
use super::with_secret;
use crate::http::call::{Incoming, Json};
use crate::management::Management;
use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use keyreeve_api::Problem;
use keyreeve_api::keys::{BATCH_MAX, CreateBatch, CreatedBatch};
use keyreeve_api::problem::ErrorBody;
use keyreeve_web::{Rejected, respond};
use std::sync::Arc;

/// Issue up to 1 000 keys in one transaction, all or none.
///
/// One item that is refused refuses all; `meta.item` has its index, from 0. The secrets are in this answer and in no
/// other. With an `Idempotency-Key`, a retry whose secrets were never presented gets new ones.
#[utoipa::path(
    post, path = "/v1/api_keys/batch", tag = "api keys", operation_id = "createAPIKeys",
    request_body = CreateBatch,
    responses((status = 201, description = "The keys with their secrets, in the order of the request", body = CreatedBatch),
        (status = 409, description = "token_creation_conflict, KEY_LIMIT_REACHED, POLICY_FORBIDS, ALREADY_COMPLETED; meta.item is the index of the item", body = ErrorBody)),
    security(("root_key" = ["keys:write"]))
)]
pub(crate) async fn handler(
    State(management): State<Arc<Management>>,
    Incoming {
        call,
        content: Json(batch),
    }: Incoming<Json<CreateBatch>>,
) -> Result<Response, Rejected> {
    if batch.items.is_empty() || batch.items.len() > BATCH_MAX {
        return Err(Problem::field("items", &format!("must have 1 to {BATCH_MAX} items")).into());
    }
    let numbered = batch.items.into_iter().enumerate();
    let commands: Result<Vec<_>, _> = numbered.map(|(place, wish)| command(wish, Some(place))).collect();
    let issued = management.authority().keys().issue(&call, commands?).await?;
    let now = management.authority().now();
    let data = issued.keys.iter().map(|key| with_secret(key, now)).collect();
    Ok(respond::json(StatusCode::CREATED, &CreatedBatch { data })?)
}
