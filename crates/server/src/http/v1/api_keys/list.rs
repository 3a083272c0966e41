//! `GET /v1/api_keys`: lists keys of the tenant, newest first.
//!
//! Tests: `e2e/lifecycle/test_filters.py`, `e2e/hostile/test_requests.py`, `e2e/clerk-js/api-keys.test.mjs`

use super::object;
use crate::http::call::{self, Incoming, NoBody};
use crate::http::query::Parameters;
use crate::management::Management;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use hyper::StatusCode;
use keyreeve_api::Problem;
use keyreeve_api::keys::KeyList;
use keyreeve_api::text::LineText;
use keyreeve_authority::keys::{Listing, ShownKeys};
use keyreeve_core::KeyId;
use keyreeve_core::lifecycle::Standing;
use keyreeve_store::model::PageStart;
use keyreeve_web::{Rejected, respond};
use std::sync::Arc;

/// Most keys on one page.
const LIMIT_MAX: u64 = 100;
/// Keys on a page by default.
const LIMIT_DEFAULT: u64 = 10;
/// Largest `expiring_within`, equal to the longest expiry: 100 years.
const SECONDS_MAX: u64 = 3_155_760_000;
/// Largest offset. Beyond it, use a cursor.
const OFFSET_MAX: u64 = 1_000_000_000;
const KNOWN: [&str; 10] = [
    "expiring_within",
    "subject",
    "type",
    "include_invalid",
    "limit",
    "offset",
    "query",
    "state",
    "owner_blocked",
    "cursor",
];

/// List keys of the tenant, newest first.
///
/// Without `state` and `include_invalid`, the tenant's policy decides between usable keys and all. Filters that no key
/// can match are refused.
#[utoipa::path(
    get, path = "/v1/api_keys", tag = "api keys", operation_id = "getApiKeys",
    params(
        ("subject" = Option<LineText>, Query, description = "Only this owner's keys"),
        ("type" = Option<String>, Query, description = "Only `api_key`", pattern = "^api_key$"),
        ("include_invalid" = Option<bool>, Query, description = "true: also revoked and expired keys; false: none"),
        ("limit" = Option<u64>, Query, description = "Keys per page; 10 if not given", minimum = 1, maximum = 100),
        ("offset" = Option<u64>, Query, description = "Keys to skip", minimum = 0, maximum = 1_000_000_000_u64),
        ("expiring_within" = Option<u64>, Query, description = "Only active keys that expire within this number of seconds", minimum = 1, maximum = 3_155_760_000_u64),
        ("query" = Option<String>, Query, description = "Only keys whose name contains this", max_length = 255),
        ("state" = Option<String>, Query, description = "Only keys in this state; `active` excludes keys whose owner is blocked, unless `owner_blocked=true` is given", pattern = "^(active|disabled|expired|revoked)$"),
        ("owner_blocked" = Option<bool>, Query, description = "true: only keys that are refused because their owner is suspended or removed; false: only the others. Not given: both, but `state=active` and `expiring_within` exclude them"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the previous page", pattern = "^ak_[0-9a-f]{32}$"),
    ),
    responses((status = 200, description = "A page", body = KeyList)),
    security(("root_key" = ["keys:read"]))
)]
pub(crate) async fn handler(
    State(management): State<Arc<Management>>,
    RawQuery(query): RawQuery,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let listing = listing(&Parameters::parse(query.as_deref(), &KNOWN)?)?;
    let page = management.authority().keys().list(&call, listing).await?;
    let now = management.authority().now();
    let total = page.total.unwrap_or_default();
    let list = KeyList {
        data: page.keys.iter().map(|record| object(record, now)).collect(),
        total_count: total.count,
        total_is_partial: !total.is_exact,
        next_cursor: page.next.map(|id| id.to_string()),
    };
    Ok(respond::json(StatusCode::OK, &list)?)
}

fn listing(parameters: &Parameters<'_>) -> Result<Listing, Problem> {
    if parameters.get("type").is_some_and(|kind| kind != "api_key") {
        return Err(Problem::field("type", "must be api_key"));
    }
    let shown = match (parameters.standing("state")?, parameters.flag("include_invalid")?) {
        (Some(standing), _) => ShownKeys::Only(standing),
        (None, Some(true)) => ShownKeys::All,
        (None, Some(false)) => ShownKeys::Usable,
        (None, None) => ShownKeys::ByPolicy,
    };
    contradictions(parameters)?;
    let limit = parameters.whole("limit", 1, LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT);
    let search = parameters.get("query").filter(|text| !text.is_empty());
    if search.is_some_and(|text| text.chars().count() > 255) {
        return Err(Problem::field("query", "must have at most 255 characters"));
    }
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    Ok(Listing {
        subject: parameters
            .get("subject")
            .map(|text| call::new_subject("subject", text))
            .transpose()?,
        owner_blocked: parameters.flag("owner_blocked")?,
        expiring_within: parameters.whole("expiring_within", 1, SECONDS_MAX)?,
        search: search.map(str::to_owned),
        start: start(parameters)?,
        ..Listing::first(shown, limit)
    })
}

/// Refuses filters that no key can match: they are a mistake of the caller.
fn contradictions(parameters: &Parameters<'_>) -> Result<(), Problem> {
    let state = parameters.standing("state")?;
    let is_invalid = matches!(state, Some(Standing::Revoked | Standing::Expired));
    if is_invalid && parameters.flag("include_invalid")? == Some(false) {
        let why = "excludes the keys that the parameter state selects";
        return Err(Problem::field("include_invalid", why));
    }
    if parameters.get("expiring_within").is_some() && !matches!(state, None | Some(Standing::Active)) {
        let why = "selects active keys, and the parameter state selects others";
        return Err(Problem::field("expiring_within", why));
    }
    Ok(())
}

fn start(parameters: &Parameters<'_>) -> Result<PageStart, Problem> {
    let offset = parameters.whole("offset", 0, OFFSET_MAX)?;
    let Some(cursor) = parameters.get("cursor") else {
        return Ok(PageStart::Offset(offset.unwrap_or(0)));
    };
    if offset.is_some_and(|offset| offset > 0) {
        return Err(Problem::field("cursor", "cannot be given together with offset"));
    }
    let unknown = |_| Problem::field("cursor", "must be the next_cursor of a page");
    KeyId::parse(cursor).map(PageStart::After).map_err(unknown)
}
