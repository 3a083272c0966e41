//! `/v1/policy`: the rules of a tenant for its keys.
//!
//! Tests: `e2e/lifecycle/test_policy.py`, `e2e/lifecycle/test_grants.py`, `e2e/lifecycle/test_lost_updates.py`

use crate::http::call::{Incoming, Json, NoBody};
use crate::http::conditions::versioned;
use crate::http::policy_text;
use crate::management::Management;
use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use keyreeve_api::policy::{NotAllowed, NotAllowedKey, Policy, PutPolicy};
use keyreeve_authority::NonCompliantKeys;
use keyreeve_store::version::Version;
use keyreeve_web::{Rejected, respond};
use std::sync::Arc;

/// Get the tenant's policy.
///
/// The document has every field, including those that the preset set.
#[utoipa::path(
    get, path = "/v1/policy", tag = "policy", operation_id = "getPolicy",
    responses((status = 200, description = "The policy", body = Policy)),
    security(("root_key" = ["policy:read"]))
)]
pub(crate) async fn get(
    State(management): State<Arc<Management>>,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let policy = management.authority().policy().get(&call).await?;
    let version = Version::of_policy(&call.tenant, &policy);
    Ok(versioned(
        respond::json(StatusCode::OK, &policy_text::document(&policy))?,
        &version,
    ))
}

/// Replace the tenant's policy.
///
/// A preset supplies all values and the given fields override it; without `preset` the present one is used. A
/// contradictory policy is refused, and the error names the field. The policy applies to later calls;
/// `not_allowed_today` lists existing keys that it would not allow now.
#[utoipa::path(
    put, path = "/v1/policy", tag = "policy", operation_id = "putPolicy",
    request_body = PutPolicy,
    responses((status = 200, description = "The policy", body = Policy)),
    security(("root_key" = ["policy:write"]))
)]
pub(crate) async fn put(
    State(management): State<Arc<Management>>,
    Incoming {
        call,
        content: Json(wish),
    }: Incoming<Json<PutPolicy>>,
) -> Result<Response, Rejected> {
    let own = management.authority().policy().get_to_replace(&call).await?;
    let policy = policy_text::policy(&wish, &own)?;
    let (policy, misfits) = management.authority().policy().set(&call, policy).await?;
    let document = Policy {
        not_allowed_today: Some(not_allowed(&misfits)),
        ..policy_text::document(&policy)
    };
    let version = Version::of_policy(&call.tenant, &policy);
    Ok(versioned(respond::json(StatusCode::OK, &document)?, &version))
}

fn not_allowed(misfits: &NonCompliantKeys) -> NotAllowed {
    let named = misfits.named.iter().map(|(id, misfit)| NotAllowedKey {
        id: id.to_string(),
        why: misfit.to_string(),
    });
    NotAllowed {
        count: misfits.count,
        keys: named.collect(),
    }
}
