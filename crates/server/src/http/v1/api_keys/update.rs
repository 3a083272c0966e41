//! `PATCH /v1/api_keys/{id}`: changes the fields of a key.
//!
//! Tests: `e2e/hostile/test_lifecycle.py`, `e2e/lifecycle/test_lost_updates.py`, `e2e/clerk-js/api-keys.test.mjs`

use super::changed;
use crate::http::call::{self, Incoming, Json, key_id};
use crate::management::Management;
use axum::extract::{Path, State};
use axum::response::Response;
use keyreeve_api::Problem;
use keyreeve_api::json::Object;
use keyreeve_api::keys::{ApiKey, UpdateKey};
use keyreeve_api::problem::ErrorBody;
use keyreeve_core::lifecycle::Edit;
use keyreeve_web::Rejected;
use std::sync::Arc;

/// Change the fields of a key; omitted fields remain unchanged.
///
/// Never makes an ended key work again as a side effect: a revoked key keeps its expiry, and an expired one is renewed
/// only where the policy allows it. The owner of a key cannot be changed.
#[utoipa::path(
    patch, path = "/v1/api_keys/{id}", tag = "api keys", operation_id = "updateApiKey",
    params(("id" = String, Path, description = "The key", pattern = "^ak_[0-9a-f]{32}$")),
    request_body = UpdateKey,
    responses((status = 200, description = "The key", body = ApiKey),
        (status = 409, description = "token_creation_conflict, KEY_LIMIT_REACHED, POLICY_FORBIDS, INVALID_TRANSITION", body = ErrorBody)),
    security(("root_key" = ["keys:write"]))
)]
pub(crate) async fn handler(
    State(management): State<Arc<Management>>,
    Path(id): Path<String>,
    Incoming {
        call,
        content: Json(wish),
    }: Incoming<Json<UpdateKey>>,
) -> Result<Response, Rejected> {
    let change = management
        .authority()
        .keys()
        .update(&call, key_id(&id)?, edit(wish)?)
        .await?;
    changed(&management, &change)
}

fn edit(wish: UpdateKey) -> Result<Edit, Problem> {
    let scopes = wish
        .scopes
        .map(|scopes| call::scopes("scopes", &scopes.unwrap_or_default()))
        .transpose()?;
    let networks = wish
        .allowed_networks
        .map(|texts| call::networks("allowed_networks", texts.iter().flatten().map(String::as_str)))
        .transpose()?;
    let counted = wish
        .limits
        .map(|wishes| call::limits("limits", wishes.iter().flatten().map(|Object(wish)| wish)))
        .transpose()?;
    let description = match wish.description {
        None => None,
        Some(None) => Some(None),
        Some(Some(text)) => Some(Some(call::description("description", &text)?)),
    };
    let claims = match wish.claims {
        None => None,
        Some(None) => Some(None),
        Some(Some(claims)) => Some(Some(call::claims("claims", &claims)?)),
    };
    Ok(Edit {
        name: wish.name.map(|text| call::name("name", &text)).transpose()?,
        description,
        claims,
        scopes,
        networks,
        counted,
        subject: wish.subject.map(|text| call::subject("subject", &text)).transpose()?,
        expiry: call::expiry(wish.seconds_until_expiration),
    })
}
