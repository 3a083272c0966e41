//! `GET /v1/api_keys/{id}/usage`: the counters of a key.
//!
//! Tests: `e2e/lifecycle/test_activity.py`, `e2e/limits/test_limits.py`

use crate::http::call::{Incoming, NoBody, key_id};
use crate::http::query::Parameters;
use crate::management::Management;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use hyper::StatusCode;
use keyreeve_api::audit::{Usage, UsageHour};
use keyreeve_core::Timestamp;
use keyreeve_web::{Rejected, respond};
use std::sync::Arc;

/// Counts are kept for 90 days.
const HOURS_MAX: u64 = 90 * 24;
const HOURS_DEFAULT: u64 = 24;
const HOUR_MS: i64 = 3_600_000;

/// Get the verifications of a key and their cost, by hour and outcome, oldest first.
///
/// Counts are kept for 90 days. `valid_retiring` counts uses of the secret from before the last rotation.
#[utoipa::path(
    get, path = "/v1/api_keys/{id}/usage", tag = "api keys", operation_id = "getApiKeyUsage",
    params(
        ("id" = String, Path, description = "The key", pattern = "^ak_[0-9a-f]{32}$"),
        ("hours" = Option<u64>, Query, description = "Hours to go back; 24 if not given", minimum = 1, maximum = 2160),
    ),
    responses((status = 200, description = "Counts", body = Usage)),
    security(("root_key" = ["keys:read"]))
)]
pub(crate) async fn handler(
    State(management): State<Arc<Management>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let parameters = Parameters::parse(query.as_deref(), &["hours"])?;
    let hours = parameters.whole("hours", 1, HOURS_MAX)?.unwrap_or(HOURS_DEFAULT);
    let hours = i64::try_from(hours).unwrap_or(i64::MAX);
    let now = management.authority().now().millis();
    let since = Timestamp::from_millis(now.saturating_sub(hours.saturating_mul(HOUR_MS)));
    let until = Timestamp::from_millis(now.saturating_add(1));
    let counts = management
        .authority()
        .keys()
        .usage(&call, key_id(&id)?, since, until)
        .await?;
    let hour = |count: keyreeve_store::model::UsageCount| UsageHour {
        hour: count.hour.millis(),
        cost: count.cost(),
        outcome: count.outcome,
        count: count.count,
    };
    let data = counts.into_iter().map(hour).collect();
    Ok(respond::json(StatusCode::OK, &Usage { data })?)
}
