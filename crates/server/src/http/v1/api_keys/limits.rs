//! `GET /v1/api_keys/{id}/limits`: the state of a key's limits; `POST …/limits/reset`: resets them.
//!
//! Tests: `e2e/limits/test_limits.py`

use super::changed;
use crate::http::call::{Incoming, NoBody, key_id};
use crate::management::Management;
use axum::extract::{Path, State};
use axum::response::Response;
use hyper::StatusCode;
use keyreeve_api::keys::ApiKey;
use keyreeve_api::limits::{KeyLimitUse, KeyLimits};
use keyreeve_core::limits::{Bound, Count, LimitStanding};
use keyreeve_web::{Rejected, respond};
use std::sync::Arc;

/// Get the state of a key's limits.
///
/// Needs no secret and uses nothing up. 503 if the counters cannot be read now.
#[utoipa::path(
    get, path = "/v1/api_keys/{id}/limits", tag = "api keys", operation_id = "getApiKeyLimits",
    params(("id" = String, Path, description = "The key", pattern = "^ak_[0-9a-f]{32}$")),
    responses((status = 200, description = "The limits", body = KeyLimits)),
    security(("root_key" = ["keys:read"]))
)]
pub(crate) async fn handler(
    State(management): State<Arc<Management>>,
    Path(id): Path<String>,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let standings = management.authority().keys().limits(&call, key_id(&id)?).await?;
    let data = standings.iter().map(one).collect();
    Ok(respond::json(StatusCode::OK, &KeyLimits { data })?)
}

fn one(standing: &LimitStanding) -> KeyLimitUse {
    let bound = standing.limit.bound;
    KeyLimitUse {
        name: standing.limit.name.to_string(),
        limit: bound.limit(),
        used: matches!(bound, Bound::Quota { .. }).then(|| bound.limit().saturating_sub(standing.remaining)),
        remaining: standing.remaining,
        reset_seconds: standing.reset_seconds,
        is_of_this_node: matches!(bound, Bound::Rate { count: Count::Soft, .. }),
    }
}

/// Reset the counters of a key's limits.
///
/// When the answer comes, each limit is fully available on all nodes. Members cannot reset the limits of their own
/// keys.
#[utoipa::path(
    post, path = "/v1/api_keys/{id}/limits/reset", tag = "api keys", operation_id = "resetApiKeyLimits",
    params(("id" = String, Path, description = "The key", pattern = "^ak_[0-9a-f]{32}$")),
    responses((status = 200, description = "The key", body = ApiKey)),
    security(("root_key" = ["keys:write"]))
)]
pub(crate) async fn reset(
    State(management): State<Arc<Management>>,
    Path(id): Path<String>,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let change = management.authority().keys().reset_limits(&call, key_id(&id)?).await?;
    changed(&management, &change)
}
