//! `POST /v1/api_keys/{id}/rotate`: gives a key a new secret.
//!
//! Tests: `e2e/hostile/test_lifecycle.py`, `e2e/hostile/test_retries.py`, `e2e/lifecycle/test_grants.py`

use super::{answered, effect, with_secret};
use crate::http::call::{self, Incoming, MaybeJson, key_id};
use crate::http::conditions::versioned;
use crate::management::Management;
use axum::extract::{Path, State};
use axum::response::Response;
use keyreeve_api::Problem;
use keyreeve_api::keys::{ApiKey, RotateKey};
use keyreeve_api::problem::ErrorBody;
use keyreeve_authority::keys::RotateCommand;
use keyreeve_core::policy::OverlapWish;
use keyreeve_store::version::Version;
use keyreeve_web::Rejected;
use std::sync::Arc;

/// Rotate a key: give it a new secret under the same id.
///
/// The old secret ends, or begins its overlap, in the same step. Allowed at the key limit. The secret is in this answer
/// and in no other. With an `Idempotency-Key`, a retry whose secret was never presented gets a new one in place of the
/// lost one. Refused if the key is disabled or revoked, and if it has expired and no new expiry is given.
#[utoipa::path(
    post, path = "/v1/api_keys/{id}/rotate", tag = "api keys", operation_id = "rotateApiKey",
    params(("id" = String, Path, description = "The key", pattern = "^ak_[0-9a-f]{32}$")),
    request_body = RotateKey,
    responses((status = 200, description = "The key with its new secret", body = ApiKey),
        (status = 409, description = "INVALID_TRANSITION, POLICY_FORBIDS, token_creation_conflict, KEY_LIMIT_REACHED, ALREADY_COMPLETED", body = ErrorBody)),
    security(("root_key" = ["keys:write"]))
)]
pub(crate) async fn handler(
    State(management): State<Arc<Management>>,
    Path(id): Path<String>,
    Incoming {
        call,
        content: MaybeJson(wish),
    }: Incoming<MaybeJson<RotateKey>>,
) -> Result<Response, Rejected> {
    let rotated = management
        .authority()
        .keys()
        .rotate(&call, key_id(&id)?, command(wish)?)
        .await?;
    management.note_rotation(&rotated);
    let now = management.authority().now();
    let key = ApiKey {
        effect: Some(effect(&rotated.effect)),
        ..with_secret(&rotated.key, now)
    };
    let response = answered(&management, &rotated.effect, &key)?;
    Ok(versioned(response, &Version::of_key(&rotated.key.record.key)))
}

fn command(wish: RotateKey) -> Result<RotateCommand, Problem> {
    Ok(RotateCommand {
        name: wish.name.map(|text| call::name("name", &text)).transpose()?,
        expiry: call::expiry(wish.seconds_until_expiration),
        overlap: wish
            .overlap_seconds
            .map_or(OverlapWish::Unsaid, |seconds| OverlapWish::Seconds(seconds.0)),
    })
}
