//! `/v1/root_keys`: the credentials of the management API.
//!
//! Tests: `e2e/lifecycle/test_people.py`, `e2e/hostile/test_requests.py`, `e2e/hostile/test_named_tenant.py`

use crate::http::call::{self, Incoming, Json, NoBody};
use crate::http::conditions::versioned;
use crate::management::Management;
use axum::extract::{Path, State};
use axum::response::Response;
use hyper::{HeaderMap, StatusCode};
use keyreeve_api::Problem;
use keyreeve_api::problem::ErrorBody;
use keyreeve_api::root_keys::{CreateRootKey, RootKey, RootKeyList};
use keyreeve_authority::root_keys::{RootKeyCommand, RootKeyWithSecret};
use keyreeve_core::access::{Permission, Permissions, Reach};
use keyreeve_core::text::Slug;
use keyreeve_core::{RootKeyId, Timestamp};
use keyreeve_store::model;
use keyreeve_store::version::Version;
use keyreeve_web::failure::no_record;
use keyreeve_web::{Rejected, respond};
use std::sync::Arc;

/// Create a root key.
///
/// The secret is in this answer and in no other. A caller cannot give more than it has: neither reach nor permissions.
/// With `Keyreeve-Tenant`, it creates, lists and revokes root keys of that tenant only.
#[utoipa::path(
    post, path = "/v1/root_keys", tag = "root keys", operation_id = "createRootKey",
    request_body = CreateRootKey,
    responses((status = 201, description = "The root key with its secret", body = RootKey),
        (status = 404, description = "NOT_FOUND: the tenant", body = ErrorBody, content_type = "application/problem+json")),
    security(("root_key" = ["root_keys:write"]))
)]
pub(crate) async fn create(
    State(management): State<Arc<Management>>,
    headers: HeaderMap,
    Incoming {
        call,
        content: Json(wish),
    }: Incoming<Json<CreateRootKey>>,
) -> Result<Response, Rejected> {
    let named = call::named(&headers, &call);
    let reach = match (wish.tenant.as_deref(), named) {
        (None, None) => call.caller.reach.clone(),
        (None, Some(named)) => Reach::Tenant(named.clone()),
        (Some(slug), _) => Reach::Tenant(slug_of(slug)?),
    };
    if named.is_some_and(|named| !reach.has(named)) {
        return Err(Problem::field(
            "tenant",
            "differs from the tenant that the header Keyreeve-Tenant names",
        )
        .into());
    }
    let command = RootKeyCommand {
        name: call::name("name", &wish.name)?,
        permissions: permissions(&wish.permissions)?,
        reach,
    };
    let made = management.authority().root_keys().create(&call, command).await?;
    let version = Version::of_root_key(&made.root_key);
    Ok(versioned(
        respond::json(StatusCode::CREATED, &with_secret(&made))?,
        &version,
    ))
}

/// List the root keys that the caller may see, newest first.
///
/// Revoked ones are in the list. Secrets are never shown again.
#[utoipa::path(
    get, path = "/v1/root_keys", tag = "root keys", operation_id = "listRootKeys",
    responses((status = 200, description = "Root keys", body = RootKeyList)),
    security(("root_key" = ["root_keys:write"]))
)]
pub(crate) async fn list(
    State(management): State<Arc<Management>>,
    headers: HeaderMap,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let root_keys = management
        .authority()
        .root_keys()
        .list(&call, call::named(&headers, &call))
        .await?;
    let data = root_keys.iter().map(object).collect();
    Ok(respond::json(StatusCode::OK, &RootKeyList { data })?)
}

/// Revoke a root key.
///
/// When the answer comes, it is refused everywhere. Repeating it answers 200 and changes nothing. Refused for the last
/// root key of the instance that can create others.
#[utoipa::path(
    delete, path = "/v1/root_keys/{id}", tag = "root keys", operation_id = "revokeRootKey",
    params(("id" = String, Path, description = "The root key", pattern = "^rk_[0-9a-f]{32}$")),
    responses((status = 200, description = "The root key, revoked", body = RootKey)),
    security(("root_key" = ["root_keys:write"]))
)]
pub(crate) async fn revoke(
    State(management): State<Arc<Management>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let unknown = |_| no_record();
    let id = RootKeyId::parse(&id).map_err(unknown)?;
    let revoked = management
        .authority()
        .root_keys()
        .revoke(&call, call::named(&headers, &call), id)
        .await?;
    let version = Version::of_root_key(&revoked);
    Ok(versioned(respond::json(StatusCode::OK, &object(&revoked))?, &version))
}

fn slug_of(text: &str) -> Result<Slug, Problem> {
    Slug::parse(text).map_err(|error| Problem::field("tenant", &error.to_string()))
}

fn permissions(words: &[String]) -> Result<Permissions, Problem> {
    let unknown = |place: usize| {
        let known: Vec<_> = Permission::ALL.iter().map(|permission| permission.as_str()).collect();
        Problem::field(
            &format!("permissions[{place}]"),
            &format!("must be one of {}", known.join(", ")),
        )
    };
    let numbered = words.iter().enumerate();
    numbered
        .map(|(place, word)| Permission::parse(word).ok_or_else(|| unknown(place)))
        .collect()
}

/// Returns a root key as the API shows it.
fn object(root_key: &model::RootKey) -> RootKey {
    RootKey {
        id: root_key.id.to_string(),
        name: root_key.name.to_string(),
        tenant: match &root_key.reach {
            Reach::Instance => None,
            Reach::Tenant(slug) => Some(slug.to_string()),
        },
        permissions: root_key
            .permissions
            .iter()
            .map(|permission| permission.as_str().to_owned())
            .collect(),
        last_four: root_key.last_four.as_str().to_owned(),
        created_at: root_key.created_at.millis(),
        revoked_at: root_key.revoked_at.map(Timestamp::millis),
        secret: None,
    }
}

/// Returns a root key with its secret, for the one answer that shows it.
pub(crate) fn with_secret(made: &RootKeyWithSecret) -> RootKey {
    RootKey {
        secret: Some(made.secret.expose().to_owned()),
        ..object(&made.root_key)
    }
}
