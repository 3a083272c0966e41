//! `/v1/users`: people of the tenant that can sign in.
//!
//! Tests: `e2e/lifecycle/test_people.py`, `e2e/lifecycle/test_rights.py`, `e2e/lifecycle/test_owners.py`

use super::api_keys::{answered, effect};
use crate::http::call::{self, Incoming, Json, NoBody};
use crate::http::conditions::versioned;
use crate::http::oauth::Issuer;
use crate::management::Management;
use crate::world::OsEntropy;
use axum::extract::{Path, State};
use axum::response::Response;
use hyper::StatusCode;
use keyreeve_api::Problem;
use keyreeve_api::problem::ErrorBody;
use keyreeve_api::users::{CreateUser, Invitation, Password, UpdateUser, User, UserList};
use keyreeve_authority::Call;
use keyreeve_authority::users::UserCommand;
use keyreeve_core::access::Role;
use keyreeve_core::user::{Email, PasswordDigest, Status, UserEdit};
use keyreeve_core::{User as Person, UserId};
use keyreeve_store::version::Version;
use keyreeve_web::failure::no_record;
use keyreeve_web::{Rejected, password, respond};
use std::sync::Arc;

/// Create a user.
///
/// The returned id is the subject of the user's keys. The caller's permissions must cover those of the role. The user
/// sets a password by a link (`POST /v1/users/{id}/invite`).
#[utoipa::path(
    post, path = "/v1/users", tag = "users", operation_id = "createUser",
    request_body = CreateUser,
    responses((status = 201, description = "The user", body = User),
        (status = 409, description = "EMAIL_TAKEN", body = ErrorBody, content_type = "application/problem+json")),
    security(("root_key" = ["users:write"]))
)]
pub(crate) async fn create(
    State(management): State<Arc<Management>>,
    Incoming {
        call,
        content: Json(wish),
    }: Incoming<Json<CreateUser>>,
) -> Result<Response, Rejected> {
    let command = UserCommand {
        email: Email::parse(&wish.email).map_err(|error| Problem::field("email", &error.to_string()))?,
        name: wish.name.map(|text| call::name("name", &text)).transpose()?,
        role: wish.role.as_deref().map_or(Ok(Role::Member), role)?,
        password: digest(&call, wish.password, Email::parse(&wish.email).ok().as_ref()).await?,
    };
    let user = management.authority().users().create(&call, command).await?;
    Ok(versioned(
        respond::json(StatusCode::CREATED, &object(&user))?,
        &Version::of_user(&user),
    ))
}

/// List the tenant's users, oldest first.
///
/// Removed users are not in the list.
#[utoipa::path(
    get, path = "/v1/users", tag = "users", operation_id = "listUsers",
    responses((status = 200, description = "Users", body = UserList)),
    security(("root_key" = ["users:write"]), ("root_key" = ["audit:read"]))
)]
pub(crate) async fn list(
    State(management): State<Arc<Management>>,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let users = management.authority().users().list(&call, None).await?;
    let data = users.iter().map(object).collect();
    Ok(respond::json(StatusCode::OK, &UserList { data })?)
}

/// Get a user.
///
/// 404 if the tenant has no user of this id.
#[utoipa::path(
    get, path = "/v1/users/{id}", tag = "users", operation_id = "getUser",
    params(("id" = String, Path, description = "The user", pattern = "^user_[0-9a-f]{32}$")),
    responses((status = 200, description = "The user", body = User)),
    security(("root_key" = ["users:write"]), ("root_key" = ["audit:read"]))
)]
pub(crate) async fn get(
    State(management): State<Arc<Management>>,
    Path(id): Path<String>,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let user = management.authority().users().get(&call, user_id(&id)?).await?;
    Ok(versioned(
        respond::json(StatusCode::OK, &object(&user))?,
        &Version::of_user(&user),
    ))
}

/// Change a user's name, role or status.
///
/// To give a role, and to re-activate a suspended user, the caller's permissions must cover those of the role.
/// Suspending blocks all keys of the user: when the answer comes, no verifier accepts one, and `keys_stopped` counts
/// those that worked until then. No key is issued, rotated or re-activated for a suspended user. The last active
/// administrator of a tenant keeps role and status.
#[utoipa::path(
    patch, path = "/v1/users/{id}", tag = "users", operation_id = "updateUser",
    params(("id" = String, Path, description = "The user", pattern = "^user_[0-9a-f]{32}$")),
    request_body = UpdateUser,
    responses((status = 200, description = "The user", body = User)),
    security(("root_key" = ["users:write"]))
)]
pub(crate) async fn update(
    State(management): State<Arc<Management>>,
    Path(id): Path<String>,
    Incoming {
        call,
        content: Json(wish),
    }: Incoming<Json<UpdateUser>>,
) -> Result<Response, Rejected> {
    let name = match wish.name {
        None => None,
        Some(None) => Some(None),
        Some(Some(text)) => Some(Some(call::name("name", &text)?)),
    };
    let whose = match &wish.password {
        Some(_) => Some(management.authority().users().get(&call, user_id(&id)?).await?.email),
        None => None,
    };
    let edit = UserEdit {
        name,
        role: wish.role.as_deref().map(role).transpose()?,
        status: wish.status.as_deref().map(status).transpose()?,
        password: digest(&call, wish.password, whose.as_ref()).await?,
    };
    changed(&management, &call, &id, edit).await
}

/// Remove a user.
///
/// All keys of the user are blocked for good: when the answer comes, no verifier accepts one, and `keys_stopped` counts
/// those that worked until then. The last active administrator of a tenant cannot be removed.
#[utoipa::path(
    delete, path = "/v1/users/{id}", tag = "users", operation_id = "removeUser",
    params(("id" = String, Path, description = "The user", pattern = "^user_[0-9a-f]{32}$")),
    responses((status = 200, description = "The user as removed", body = User)),
    security(("root_key" = ["users:write"]))
)]
pub(crate) async fn remove(
    State(management): State<Arc<Management>>,
    Path(id): Path<String>,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let edit = UserEdit {
        status: Some(Status::Removed),
        ..UserEdit::default()
    };
    changed(&management, &call, &id, edit).await
}

/// Create a link by which a user sets a password.
///
/// The link works once, within three days, and signs the user in, so the caller's permissions must cover those of the
/// user's role. It ends when the role changes, and a suspended user cannot use it.
#[utoipa::path(
    post, path = "/v1/users/{id}/invite", tag = "users", operation_id = "inviteUser",
    params(("id" = String, Path, description = "The user", pattern = "^user_[0-9a-f]{32}$")),
    responses((status = 201, description = "The link", body = Invitation)),
    security(("root_key" = ["users:write"]))
)]
pub(crate) async fn invite(
    State(management): State<Arc<Management>>,
    State(issuer): State<Arc<Issuer>>,
    Path(id): Path<String>,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let (user, token) = management.authority().sign_in().invite(&call, user_id(&id)?).await?;
    let invitation = Invitation {
        user_id: user.id.to_string(),
        link: issuer.setup_link(token.expose()),
        expires_at: token.expires_at().millis(),
    };
    Ok(respond::json(StatusCode::CREATED, &invitation)?)
}

/// Digests a password. A caller that may not set one is refused before the digest, whatever the password is.
async fn digest(
    call: &Call,
    password: Option<Password>,
    whose: Option<&Email>,
) -> Result<Option<PasswordDigest>, Rejected> {
    let Some(password) = password else { return Ok(None) };
    call.require_to_set_passwords()?;
    Ok(Some(password::digest(&OsEntropy, password, whose).await?))
}

async fn changed(management: &Management, call: &Call, id: &str, edit: UserEdit) -> Result<Response, Rejected> {
    let opens_or_closes = edit.status.is_some();
    let changed = management.authority().users().change(call, user_id(id)?, edit).await?;
    let (is_blocked, keys) = (changed.user.is_blocked(), changed.keys);
    let user = User {
        keys_stopped: (opens_or_closes && is_blocked).then_some(keys),
        keys_restored: (opens_or_closes && !is_blocked).then_some(keys),
        effect: Some(effect(&changed.effect)),
        ..object(&changed.user)
    };
    let response = answered(management, &changed.effect, &user)?;
    Ok(match changed.user.status {
        Status::Removed => response,
        Status::Active | Status::Suspended => versioned(response, &Version::of_user(&changed.user)),
    })
}

/// Parses a user's id of the path or a header. A malformed id gets the same answer as an unknown one.
pub(crate) fn user_id(text: &str) -> Result<UserId, Problem> {
    UserId::parse(text).map_err(|_| no_record())
}

fn role(word: &str) -> Result<Role, Problem> {
    Role::parse(word).ok_or_else(|| Problem::field("role", "must be member, admin or auditor"))
}

/// Parses the two states that a call may set; removal is a separate call.
pub(super) fn status(word: &str) -> Result<Status, Problem> {
    match Status::parse(word) {
        Some(status @ (Status::Active | Status::Suspended)) => Ok(status),
        Some(Status::Removed) | None => Err(Problem::field("status", "must be active or suspended")),
    }
}

fn object(user: &Person) -> User {
    User {
        id: user.id.to_string(),
        tenant: user.tenant.to_string(),
        email: user.email.to_string(),
        name: user.name.as_ref().map(ToString::to_string),
        role: user.role.as_str(),
        status: user.status.as_str(),
        has_password: user.password.is_some(),
        created_at: user.created_at.millis(),
        updated_at: user.updated_at.millis(),
        keys_stopped: None,
        keys_restored: None,
        effect: None,
    }
}
