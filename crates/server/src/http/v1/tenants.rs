//! `/v1/tenants`: isolation boundaries, each with its own policy and keys.
//!
//! Tests: `e2e/lifecycle/test_people.py`, `e2e/lifecycle/test_owners.py`, `e2e/hostile/test_requests.py`

use super::api_keys::{answered, effect};
use super::root_keys::with_secret;
use crate::http::call::{self, Incoming, Json, NoBody};
use crate::http::conditions::versioned;
use crate::management::Management;
use axum::extract::{Path, State};
use axum::response::Response;
use hyper::StatusCode;
use keyreeve_api::Problem;
use keyreeve_api::problem::ErrorBody;
use keyreeve_api::tenants::{CreateTenant, Tenant, TenantList, UpdateTenant};
use keyreeve_authority::Call;
use keyreeve_authority::tenants::TenantCommand;
use keyreeve_core::policy::Preset;
use keyreeve_core::text::Slug;
use keyreeve_core::user::Status;
use keyreeve_store::model::{self, TenantEdit};
use keyreeve_store::version::Version;
use keyreeve_web::failure::no_record;
use keyreeve_web::{Rejected, respond};
use std::sync::Arc;

/// Create a tenant with its first root key.
///
/// The root key has every permission in the tenant but `tenants:write`. Refused if the slug is or was in use.
#[utoipa::path(
    post, path = "/v1/tenants", tag = "tenants", operation_id = "createTenant",
    request_body = CreateTenant,
    responses((status = 201, description = "The tenant and its first root key", body = Tenant),
        (status = 409, description = "SLUG_TAKEN", body = ErrorBody, content_type = "application/problem+json")),
    security(("root_key" = ["tenants:write"]))
)]
pub(crate) async fn create(
    State(management): State<Arc<Management>>,
    Incoming {
        call,
        content: Json(wish),
    }: Incoming<Json<CreateTenant>>,
) -> Result<Response, Rejected> {
    let unknown = || Problem::field("preset", "must be erase, hold, keep or standard");
    let command = TenantCommand {
        slug: Slug::parse(&wish.slug).map_err(|error| Problem::field("slug", &error.to_string()))?,
        name: call::name("name", &wish.name)?,
        preset: wish
            .preset
            .as_deref()
            .map_or(Some(Preset::Standard), Preset::parse)
            .ok_or_else(unknown)?,
    };
    let (tenant, made) = management.authority().tenants().create(&call, command).await?;
    let shown = Tenant {
        root_key: Some(with_secret(&made, management.authority().now())),
        ..object(&tenant)
    };
    let version = Version::of_tenant(&tenant);
    Ok(versioned(respond::json(StatusCode::CREATED, &shown)?, &version))
}

/// List all tenants, by slug.
///
/// Needs a root key of the instance, like every call about tenants.
#[utoipa::path(
    get, path = "/v1/tenants", tag = "tenants", operation_id = "listTenants",
    responses((status = 200, description = "Tenants", body = TenantList)),
    security(("root_key" = ["tenants:write"]))
)]
pub(crate) async fn list(
    State(management): State<Arc<Management>>,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let tenants = management.authority().tenants().list(&call).await?;
    let data = tenants.iter().map(object).collect();
    Ok(respond::json(StatusCode::OK, &TenantList { data })?)
}

/// Get a tenant.
///
/// 404 for a tenant that does not exist or was removed.
#[utoipa::path(
    get, path = "/v1/tenants/{slug}", tag = "tenants", operation_id = "getTenant",
    params(("slug" = String, Path, description = "The tenant", pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")),
    responses((status = 200, description = "The tenant", body = Tenant)),
    security(("root_key" = ["tenants:write"]))
)]
pub(crate) async fn get(
    State(management): State<Arc<Management>>,
    Path(slug): Path<String>,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let tenant = management.authority().tenants().get(&call, &known(&slug)?).await?;
    let version = Version::of_tenant(&tenant);
    Ok(versioned(respond::json(StatusCode::OK, &object(&tenant))?, &version))
}

/// Rename, suspend or re-activate a tenant.
///
/// Suspending blocks all keys of the tenant: when the answer comes, no verifier accepts one.
#[utoipa::path(
    patch, path = "/v1/tenants/{slug}", tag = "tenants", operation_id = "updateTenant",
    params(("slug" = String, Path, description = "The tenant", pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")),
    request_body = UpdateTenant,
    responses((status = 200, description = "The tenant", body = Tenant)),
    security(("root_key" = ["tenants:write"]))
)]
pub(crate) async fn update(
    State(management): State<Arc<Management>>,
    Path(slug): Path<String>,
    Incoming {
        call,
        content: Json(wish),
    }: Incoming<Json<UpdateTenant>>,
) -> Result<Response, Rejected> {
    let edit = TenantEdit {
        name: wish.name.map(|text| call::name("name", &text)).transpose()?,
        status: wish.status.as_deref().map(super::users::status).transpose()?,
        policy: None,
    };
    changed(&management, &call, &slug, edit).await
}

/// Remove a tenant.
///
/// All its keys and root keys end for good, and its slug is never given again. The audit log keeps its entries.
#[utoipa::path(
    delete, path = "/v1/tenants/{slug}", tag = "tenants", operation_id = "removeTenant",
    params(("slug" = String, Path, description = "The tenant", pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")),
    responses((status = 200, description = "The tenant as removed", body = Tenant)),
    security(("root_key" = ["tenants:write"]))
)]
pub(crate) async fn remove(
    State(management): State<Arc<Management>>,
    Path(slug): Path<String>,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let edit = TenantEdit {
        status: Some(Status::Removed),
        ..TenantEdit::default()
    };
    changed(&management, &call, &slug, edit).await
}

async fn changed(management: &Management, call: &Call, slug: &str, edit: TenantEdit) -> Result<Response, Rejected> {
    let (tenant, reached) = management
        .authority()
        .tenants()
        .change(call, known(slug)?, edit)
        .await?;
    let shown = Tenant {
        effect: Some(effect(&reached)),
        ..object(&tenant)
    };
    let response = answered(management, &reached, &shown)?;
    Ok(match tenant.status {
        Status::Removed => response,
        Status::Active | Status::Suspended => versioned(response, &Version::of_tenant(&tenant)),
    })
}

/// Parses a slug of the path. A malformed slug gets the same answer as an unknown one.
fn known(slug: &str) -> Result<Slug, Problem> {
    Slug::parse(slug).map_err(|_| no_record())
}

fn object(tenant: &model::Tenant) -> Tenant {
    Tenant {
        slug: tenant.slug.to_string(),
        name: tenant.name.to_string(),
        preset: tenant.policy.preset.as_str(),
        status: tenant.status.as_str(),
        created_at: tenant.created_at.millis(),
        root_key: None,
        effect: None,
    }
}
