//! `POST /v1/api_keys`: issues a key. The secret is in this answer and in no other.
//!
//! Tests: `e2e/hostile/test_requests.py`, `e2e/hostile/test_retries.py`, `e2e/lifecycle/test_grants.py`,
//! `e2e/clerk-js/api-keys.test.mjs`

use super::{effect, with_secret};
use crate::http::call::{self, Incoming, Json};
use crate::http::conditions::versioned;
use crate::management::Management;
use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use keyreeve_api::Problem;
use keyreeve_api::json::Object;
use keyreeve_api::keys::{ApiKey, CreateKey};
use keyreeve_api::problem::ErrorBody;
use keyreeve_authority::keys::IssueCommand;
use keyreeve_store::version::Version;
use keyreeve_web::{Rejected, respond};
use std::fmt;
use std::sync::Arc;

/// Issue a key.
///
/// The secret is in this answer and in no other. With an `Idempotency-Key`, a retry whose secret was never presented
/// gets a new one in place of the lost one; if it was presented, the answer is 409 `ALREADY_COMPLETED`. Refused at the
/// subject's key limit, for a suspended owner, and for values that the tenant's policy forbids.
#[utoipa::path(
    post, path = "/v1/api_keys", tag = "api keys", operation_id = "createAPIKey",
    request_body = CreateKey,
    responses((status = 201, description = "The key with its secret", body = ApiKey),
        (status = 409, description = "token_creation_conflict, KEY_LIMIT_REACHED, POLICY_FORBIDS, ALREADY_COMPLETED", body = ErrorBody)),
    security(("root_key" = ["keys:write"]))
)]
pub(crate) async fn handler(
    State(management): State<Arc<Management>>,
    Incoming {
        call,
        content: Json(wish),
    }: Incoming<Json<CreateKey>>,
) -> Result<Response, Rejected> {
    let issued = management
        .authority()
        .keys()
        .issue(&call, vec![command(wish, None)?])
        .await?;
    let now = management.authority().now();
    let key = issued.keys.first().map(|key| ApiKey {
        effect: Some(effect(&issued.effect)),
        ..with_secret(key, now)
    });
    let response = respond::json(StatusCode::CREATED, &key)?;
    let version = issued.keys.first().map(|key| Version::of_key(&key.record.key));
    Ok(match version {
        Some(version) => versioned(response, &version),
        None => response,
    })
}

/// A field of a request, as an error names it.
struct Field {
    /// The index in a batch.
    item: Option<usize>,
    name: &'static str,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.item {
            Some(place) => write!(f, "items[{place}].{}", self.name),
            None => f.write_str(self.name),
        }
    }
}

/// Validates a request, which may be one of a batch.
pub(super) fn command(wish: CreateKey, item: Option<usize>) -> Result<IssueCommand, Problem> {
    let at = |name| Field { item, name };
    Ok(IssueCommand {
        subject: call::new_subject(at("subject"), &wish.subject)?,
        name: call::name(at("name"), &wish.name)?,
        description: wish
            .description
            .map(|text| call::description(at("description"), &text))
            .transpose()?,
        claims: wish
            .claims
            .map(|claims| call::claims(at("claims"), &claims))
            .transpose()?,
        scopes: call::scopes(at("scopes"), &wish.scopes.unwrap_or_default())?,
        networks: call::networks(
            at("allowed_networks"),
            wish.allowed_networks.iter().flatten().map(String::as_str),
        )?,
        counted: wish
            .limits
            .map(|limits| call::limits(at("limits"), limits.iter().map(|Object(wish)| wish)))
            .transpose()?,
        created_by: wish
            .created_by
            .map(|text| call::new_subject(at("created_by"), &text))
            .transpose()?,
        expiry: call::expiry(wish.seconds_until_expiration),
    })
}
