//! `/v1/root_keys`: the credentials of the management API.
//!
//! Tests: `e2e/lifecycle/test_root_keys.py`, `e2e/lifecycle/test_people.py`, `e2e/hostile/test_requests.py`, `e2e/hostile/test_named_tenant.py`

use crate::http::call::{self, Incoming, Json, MaybeJson, NoBody};
use crate::http::conditions::versioned;
use crate::management::Management;
use axum::extract::{Path, State};
use axum::response::Response;
use hyper::{HeaderMap, StatusCode};
use keyreeve_api::Problem;
use keyreeve_api::problem::ErrorBody;
use keyreeve_api::root_keys::{CreateRootKey, RootKey, RootKeyList, RotateRootKey};
use keyreeve_api::seconds::PositiveSeconds;
use keyreeve_authority::root_keys::{
    ROOT_EXPIRY_SECONDS_MAX, ROOT_OVERLAP_SECONDS_MAX, RootKeyCommand, RootKeyWithSecret, RotateRootKeyCommand,
};
use keyreeve_core::access::{Permission, Permissions, Reach};
use keyreeve_core::limits::Networks;
use keyreeve_core::policy::ExpiryWish;
use keyreeve_core::text::Slug;
use keyreeve_core::{RootKeyId, Timestamp};
use keyreeve_store::model;
use keyreeve_store::version::Version;
use keyreeve_web::failure::no_record;
use keyreeve_web::{Rejected, respond};
use std::sync::Arc;

/// Create a root key.
///
/// The secret is in this answer and in no other. A caller cannot give more than it has: neither reach nor permissions,
/// nor a longer life, nor other networks.
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
        expiry: expiry(wish.seconds_until_expiration)?,
        networks: wish.allowed_networks.as_deref().map(networks).transpose()?,
    };
    let made = management.authority().root_keys().create(&call, command).await?;
    let version = Version::of_root_key(&made.root_key);
    let object = with_secret(&made, management.authority().now());
    Ok(versioned(respond::json(StatusCode::CREATED, &object)?, &version))
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
    let now = management.authority().now();
    let data = root_keys.iter().map(|root_key| object(root_key, now)).collect();
    Ok(respond::json(StatusCode::OK, &RootKeyList { data })?)
}

/// Rotate a root key: give it a new secret under the same id.
///
/// The old secret ends, or begins its overlap, in the same step: without an overlap it is refused everywhere when the answer
/// comes. The secret is in this answer and in no other. With an `Idempotency-Key`, a retry whose secret was never presented
/// gets a new one in place of the lost one. A caller can rotate itself, and no root key that has more than the caller.
/// Refused if the root key is revoked, and if it has expired and no new expiry is given.
#[utoipa::path(
    post, path = "/v1/root_keys/{id}/rotate", tag = "root keys", operation_id = "rotateRootKey",
    params(("id" = String, Path, description = "The root key", pattern = "^rk_[0-9a-f]{32}$")),
    request_body = RotateRootKey,
    responses((status = 200, description = "The root key with its new secret", body = RootKey),
        (status = 409, description = "INVALID_TRANSITION, ALREADY_COMPLETED", body = ErrorBody,
            content_type = "application/problem+json")),
    security(("root_key" = ["root_keys:write"]))
)]
pub(crate) async fn rotate(
    State(management): State<Arc<Management>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Incoming {
        call,
        content: MaybeJson(wish),
    }: Incoming<MaybeJson<RotateRootKey>>,
) -> Result<Response, Rejected> {
    let overlap_seconds = wish.overlap_seconds.map_or(0, |seconds| seconds.0);
    if overlap_seconds > ROOT_OVERLAP_SECONDS_MAX {
        let problem = Problem::field(
            "overlap_seconds",
            &format!("must be at most {ROOT_OVERLAP_SECONDS_MAX}"),
        );
        return Err(problem.into());
    }
    let command = RotateRootKeyCommand {
        overlap_seconds,
        expiry: expiry(wish.seconds_until_expiration)?,
    };
    let named = call::named(&headers, &call);
    let root_keys = management.authority().root_keys();
    let rotated = root_keys.rotate(&call, named, root_key_id(&id)?, command).await?;
    let version = Version::of_root_key(&rotated.root_key);
    let object = with_secret(&rotated, management.authority().now());
    Ok(versioned(respond::json(StatusCode::OK, &object)?, &version))
}

/// End the overlap of a root key's rotation now.
///
/// When the answer comes, the retiring secret is refused everywhere. Succeeds without a change if there is no overlap.
#[utoipa::path(
    post, path = "/v1/root_keys/{id}/rotate/finish", tag = "root keys", operation_id = "finishRootKeyRotation",
    params(("id" = String, Path, description = "The root key", pattern = "^rk_[0-9a-f]{32}$")),
    responses((status = 200, description = "The root key", body = RootKey)),
    security(("root_key" = ["root_keys:write"]))
)]
pub(crate) async fn finish(
    State(management): State<Arc<Management>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let named = call::named(&headers, &call);
    let root_keys = management.authority().root_keys();
    let finished = root_keys.finish_rotation(&call, named, root_key_id(&id)?).await?;
    let version = Version::of_root_key(&finished);
    let object = object(&finished, management.authority().now());
    Ok(versioned(respond::json(StatusCode::OK, &object)?, &version))
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
    let revoked = management
        .authority()
        .root_keys()
        .revoke(&call, call::named(&headers, &call), root_key_id(&id)?)
        .await?;
    let version = Version::of_root_key(&revoked);
    let object = object(&revoked, management.authority().now());
    Ok(versioned(respond::json(StatusCode::OK, &object)?, &version))
}

/// Parses a root key's id from the path. A malformed id gets the same answer as an unknown one.
fn root_key_id(text: &str) -> Result<RootKeyId, Problem> {
    RootKeyId::parse(text).map_err(|_| no_record())
}

fn networks(texts: &[String]) -> Result<Networks, Problem> {
    call::networks("allowed_networks", texts.iter().map(String::as_str))
}

fn expiry(wish: Option<Option<PositiveSeconds>>) -> Result<ExpiryWish, Problem> {
    match call::expiry(wish) {
        ExpiryWish::InSeconds(seconds) if seconds > ROOT_EXPIRY_SECONDS_MAX => Err(Problem::field(
            "seconds_until_expiration",
            &format!("must be at most {ROOT_EXPIRY_SECONDS_MAX}"),
        )),
        wish => Ok(wish),
    }
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
fn object(root_key: &model::RootKey, now: Timestamp) -> RootKey {
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
        allowed_networks: root_key.networks.as_slice().iter().map(ToString::to_string).collect(),
        created_at: root_key.created_at.millis(),
        expires_at: root_key.expires_at.map(Timestamp::millis),
        last_used_at: root_key.last_used_at.map(Timestamp::millis),
        rotated_at: root_key.rotated_at.map(Timestamp::millis),
        retiring_until: root_key.overlap_until(now).map(Timestamp::millis),
        revoked_at: root_key.revoked_at.map(Timestamp::millis),
        secret: None,
    }
}

/// Returns a root key with its secret, for the one answer that shows it.
pub(crate) fn with_secret(made: &RootKeyWithSecret, now: Timestamp) -> RootKey {
    RootKey {
        secret: Some(made.secret.expose().to_owned()),
        ..object(&made.root_key, now)
    }
}
