//! `/v1/check_policies`: what gateways require of keys.
//!
//! Tests: `e2e/gateways/test_check_policies.py`, `e2e/lifecycle/test_lost_updates.py`

use super::api_keys::{answered, effect};
use crate::http::call::{Incoming, Json, NoBody};
use crate::http::conditions::versioned;
use crate::management::Management;
use axum::extract::{Path, State};
use axum::response::Response;
use hyper::StatusCode;
use keyreeve_api::Problem;
use keyreeve_api::check_policies::{CheckPolicy, CheckPolicyList, CreateCheckPolicy, UpdateCheckPolicy};
use keyreeve_api::problem::ErrorBody;
use keyreeve_authority::check::ManagedCheckPolicy;
use keyreeve_authority::{Call, Effect};
use keyreeve_core::text::CheckPolicyName;
use keyreeve_store::version::Version;
use keyreeve_web::check_policy_text as text;
use keyreeve_web::failure::no_record;
use keyreeve_web::{Rejected, respond};
use std::sync::Arc;

/// Create a check policy.
///
/// When the answer comes, every gateway may name it. Refused if the name is taken, and at the tenant's limit of check
/// policies.
#[utoipa::path(
    post, path = "/v1/check_policies", tag = "check policies", operation_id = "createCheckPolicy",
    request_body = CreateCheckPolicy,
    responses((status = 201, description = "The policy", body = CheckPolicy),
        (status = 409, description = "NAME_TAKEN, CHECK_POLICY_LIMIT_REACHED", body = ErrorBody, content_type = "application/problem+json")),
    security(("root_key" = ["policy:write"]))
)]
pub(crate) async fn create(
    State(management): State<Arc<Management>>,
    Incoming {
        call,
        content: Json(wish),
    }: Incoming<Json<CreateCheckPolicy>>,
) -> Result<Response, Rejected> {
    let policy = text::policy(&wish)?;
    let (made, reached) = management.authority().check_policies().create(&call, policy).await?;
    if !reached.is_pending {
        management.note_effect(&reached);
    }
    let response = respond::json(StatusCode::CREATED, &with_effect(&made, &reached))?;
    Ok(versioned(response, &version(&call, &made)))
}

/// List the check policies of the tenant, by name.
///
/// The built-in policy `default` is always in the list.
#[utoipa::path(
    get, path = "/v1/check_policies", tag = "check policies", operation_id = "listCheckPolicies",
    responses((status = 200, description = "Check policies", body = CheckPolicyList)),
    security(("root_key" = ["policy:read"]))
)]
pub(crate) async fn list(
    State(management): State<Arc<Management>>,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let policies = management.authority().check_policies().list(&call).await?;
    let data = policies.iter().map(object).collect();
    Ok(respond::json(StatusCode::OK, &CheckPolicyList { data })?)
}

/// Get a check policy.
///
/// 404 if the tenant has no check policy of this name. `default` always exists.
#[utoipa::path(
    get, path = "/v1/check_policies/{name}", tag = "check policies", operation_id = "getCheckPolicy",
    params(("name" = String, Path, description = "The policy", pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")),
    responses((status = 200, description = "The policy", body = CheckPolicy)),
    security(("root_key" = ["policy:read"]))
)]
pub(crate) async fn get(
    State(management): State<Arc<Management>>,
    Path(name): Path<String>,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let policy = management
        .authority()
        .check_policies()
        .get(&call, &known(&name)?)
        .await?;
    let response = respond::json(StatusCode::OK, &object(&policy))?;
    Ok(versioned(response, &version(&call, &policy)))
}

/// Change a check policy, including the built-in one.
///
/// When the answer comes, every gateway that names it is answered by the new version.
#[utoipa::path(
    patch, path = "/v1/check_policies/{name}", tag = "check policies", operation_id = "updateCheckPolicy",
    params(("name" = String, Path, description = "The policy", pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")),
    request_body = UpdateCheckPolicy,
    responses((status = 200, description = "The policy", body = CheckPolicy)),
    security(("root_key" = ["policy:write"]))
)]
pub(crate) async fn update(
    State(management): State<Arc<Management>>,
    Path(name): Path<String>,
    Incoming {
        call,
        content: Json(wish),
    }: Incoming<Json<UpdateCheckPolicy>>,
) -> Result<Response, Rejected> {
    let name = known(&name)?;
    let edit = text::edit(&wish)?;
    let (changed, reached) = management
        .authority()
        .check_policies()
        .change(&call, name, edit)
        .await?;
    let response = answered(&management, &reached, &with_effect(&changed, &reached))?;
    Ok(versioned(response, &version(&call, &changed)))
}

/// Remove a check policy.
///
/// Gateways that still name it let no request through when the answer comes. Removing `default` restores its initial
/// form.
#[utoipa::path(
    delete, path = "/v1/check_policies/{name}", tag = "check policies", operation_id = "removeCheckPolicy",
    params(("name" = String, Path, description = "The policy", pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")),
    responses((status = 200, description = "The policy before its removal", body = CheckPolicy)),
    security(("root_key" = ["policy:write"]))
)]
pub(crate) async fn remove(
    State(management): State<Arc<Management>>,
    Path(name): Path<String>,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let (removed, reached) = management
        .authority()
        .check_policies()
        .remove(&call, known(&name)?)
        .await?;
    answered(&management, &reached, &with_effect(&removed, &reached))
}

/// Parses a name of the path. A malformed name gets the same answer as an unknown one.
fn known(name: &str) -> Result<CheckPolicyName, Problem> {
    CheckPolicyName::parse(name).map_err(|_| no_record())
}

fn version(call: &Call, managed: &ManagedCheckPolicy) -> Version {
    Version::of_check(&call.tenant, &managed.policy, managed.times)
}

fn object(managed: &ManagedCheckPolicy) -> CheckPolicy {
    let policy = &managed.policy;
    CheckPolicy {
        name: policy.name.to_string(),
        is_built_in: managed.times.is_none(),
        scopes: policy.scopes.iter().map(str::to_owned).collect(),
        key_headers: policy.key_headers.iter().map(ToString::to_string).collect(),
        meta: policy.meta,
        cache_max_age_seconds: policy.cache_max_age_seconds,
        realm: policy.realm.as_str().to_owned(),
        gateway_credential: policy.gateway_credential.as_str(),
        created_at: managed.times.map(|(created, _)| created.millis()),
        updated_at: managed.times.map(|(_, updated)| updated.millis()),
        effect: None,
    }
}

fn with_effect(managed: &ManagedCheckPolicy, reached: &Effect) -> CheckPolicy {
    CheckPolicy {
        effect: Some(effect(reached)),
        ..object(managed)
    }
}
