//! `/v1/tenants`: isolation boundaries, each with its own policy and keys.

use super::root_keys::with_secret;
use crate::App;
use crate::http::answer::Rejected;
use crate::http::call::{self, Incoming, Json, NoBody};
use crate::http::respond;
use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use keyreeve_api::Problem;
use keyreeve_api::problem::ErrorBody;
use keyreeve_api::tenants::{CreateTenant, Tenant, TenantList};
use keyreeve_authority::tenants::TenantCommand;
use keyreeve_core::policy::Preset;
use keyreeve_core::text::Slug;
use keyreeve_store::model;

/// Make a tenant with its first root key.
#[utoipa::path(
    post, path = "/v1/tenants", tag = "tenants", operation_id = "createTenant",
    request_body = CreateTenant,
    responses((status = 201, description = "The tenant and its first root key", body = Tenant),
        (status = 409, description = "SLUG_TAKEN", body = ErrorBody, content_type = "application/problem+json")),
    security(("root_key" = ["tenants:write"]))
)]
pub(crate) async fn create(
    State(app): State<App>,
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
    let (tenant, made) = app.authority().create_tenant(&call, command).await?;
    let tenant = Tenant {
        root_key: Some(with_secret(&made)),
        ..object(&tenant)
    };
    Ok(respond::json(StatusCode::CREATED, &tenant)?)
}

/// All tenants, by slug.
#[utoipa::path(
    get, path = "/v1/tenants", tag = "tenants", operation_id = "listTenants",
    responses((status = 200, description = "Tenants", body = TenantList)),
    security(("root_key" = ["tenants:write"]))
)]
pub(crate) async fn list(
    State(app): State<App>,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let tenants = app.authority().tenants(&call).await?;
    let data = tenants.iter().map(object).collect();
    Ok(respond::json(StatusCode::OK, &TenantList { data })?)
}

fn object(tenant: &model::Tenant) -> Tenant {
    Tenant {
        slug: tenant.slug.to_string(),
        name: tenant.name.to_string(),
        preset: tenant.policy.preset.as_str(),
        status: if tenant.is_suspended { "suspended" } else { "active" },
        created_at: tenant.created_at.millis(),
        root_key: None,
    }
}
