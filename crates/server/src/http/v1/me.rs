//! `/v1/me`: what a key may read and do about itself, with itself as the only credential.
//!
//! Tests: `e2e/hostile/test_lifecycle.py`, `e2e/hostile/test_anonymous.py`

use super::api_keys::{changed, object, revoke};
use crate::http::bearer::bearer;
use crate::http::call::{Content as _, MaybeJson};
use crate::http::conditions;
use crate::management::Management;
use crate::verdict_service::VerdictService;
use axum::extract::{Request, State};
use axum::response::Response;
use hyper::StatusCode;
use hyper::http::request::Parts;
use keyreeve_api::keys::{ApiKey, RevokeKey};
use keyreeve_api::problem::ErrorBody;
use keyreeve_api::{Code, Problem};
use keyreeve_authority::verify::{Question, Via};
use keyreeve_authority::{Authority, Call};
use keyreeve_core::access::Reach;
use keyreeve_core::coherence::Entry;
use keyreeve_core::verdict::{Denial, Outer};
use keyreeve_store::version::Version;
use keyreeve_web::{Rejected, RequestInfo, body, respond};
use std::sync::Arc;

/// Get the record of the API key that the call is made with.
///
/// A key that is not accepted gets the error of its verification. Uses no limit up.
#[utoipa::path(
    get, path = "/v1/me", tag = "me", operation_id = "getMe",
    responses((status = 200, description = "The key", body = ApiKey),
        (status = 401, description = "API_KEY_REQUIRED, API_KEY_INVALID, API_KEY_EXPIRED", body = ErrorBody, content_type = "application/problem+json"),
        (status = 403, description = "API_KEY_DISABLED", body = ErrorBody, content_type = "application/problem+json")),
    security(("api_key" = []))
)]
pub(crate) async fn get(State(verdicts): State<Arc<VerdictService>>, parts: Parts) -> Result<Response, Rejected> {
    let entry = own_key(&verdicts, &parts).await?;
    let record = verdicts.authority().keys().record_of(&entry).await?;
    let shown = respond::json(StatusCode::OK, &object(&record, verdicts.authority().now()))?;
    Ok(conditions::versioned(shown, &Version::of_key(&record.key)))
}

/// Revoke the API key that the call is made with.
///
/// A key holder may always end its key, as the tenant's policy defines it. Only a key that is accepted now can revoke
/// itself here; `POST /oauth2/revoke` also takes a disabled one.
#[utoipa::path(
    post, path = "/v1/me/revoke", tag = "me", operation_id = "revokeMe",
    request_body = RevokeKey,
    responses((status = 200, description = "The key", body = ApiKey),
        (status = 401, description = "API_KEY_REQUIRED, API_KEY_INVALID, API_KEY_EXPIRED", body = ErrorBody, content_type = "application/problem+json"),
        (status = 403, description = "API_KEY_DISABLED", body = ErrorBody, content_type = "application/problem+json")),
    security(("api_key" = []))
)]
pub(crate) async fn revoke(
    State(verdicts): State<Arc<VerdictService>>,
    State(management): State<Arc<Management>>,
    request: Request,
) -> Result<Response, Rejected> {
    let (parts, incoming) = request.into_parts();
    let entry = own_key(&verdicts, &parts).await?;
    let bytes = body::read(&parts.headers, incoming, body::BODY_BYTES_MAX).await?;
    let MaybeJson(wish) = MaybeJson::<RevokeKey>::read(&parts.headers, &bytes)?;
    let info = parts.extensions.get::<RequestInfo>();
    let call = Call {
        caller: Authority::caller_of_key(&entry),
        tenant: entry.gate().slug().clone(),
        address: info
            .and_then(|info| info.client)
            .map(|address| address.to_string().into()),
        request_id: info.map_or("", |info| &info.id).into(),
        idempotency: None,
        only_if: conditions::only_if(&parts)?,
        is_awaited: true,
    };
    let change = management
        .authority()
        .keys()
        .revoke_self(&call, revoke::command(wish)?)
        .await?;
    changed(&management, &change)
}

/// Verifies the bearer credential as an API key.
async fn own_key(verdicts: &VerdictService, parts: &Parts) -> Result<Entry, Problem> {
    let secret = bearer(&parts.headers)?.unwrap_or("");
    let info = parts.extensions.get::<RequestInfo>();
    let question = Question {
        via: Via::Api,
        reach: &Reach::Instance,
        scopes: &[],
        now: verdicts.authority().now(),
        address: info.and_then(|info| info.client),
        // Calls about the key itself do not count towards its limits.
        cost: None,
    };
    let verdict = verdicts.verdict_for(question.address, secret, &question).await?;
    if verdict.outcome == Err(Denial::Undecided) {
        return Err(respond::no_verdict_for(Denial::Undecided));
    }
    match (verdict.outer(), verdict.entry) {
        (None, Some(entry)) => {
            if let Some(info) = info {
                info.connection.note_known();
            }
            Ok(entry)
        }
        (Some(outer), _) => Err(denied(outer)),
        (None, None) => Err(denied(Outer::KeyInvalid)),
    }
}

/// Returns the public error of a denial.
pub(in crate::http) fn denied(outer: Outer) -> Problem {
    let (code, detail) = match outer {
        Outer::KeyRequired => (
            Code::ApiKeyRequired,
            "This call needs an API key in the header Authorization: Bearer <API key>.",
        ),
        Outer::KeyInvalid => (
            Code::ApiKeyInvalid,
            "The API key is not valid. Ask its issuer for another one.",
        ),
        Outer::KeyExpired => (
            Code::ApiKeyExpired,
            "The API key has expired. Rotate it, or issue another one.",
        ),
        Outer::KeyDisabled => (
            Code::ApiKeyDisabled,
            "The API key is disabled. Ask its owner or an administrator to re-activate it.",
        ),
        Outer::ContextDenied => (
            Code::ApiKeyContextDenied,
            "The API key may not be used from this address.",
        ),
        Outer::InsufficientScope => (
            Code::InsufficientScope,
            "The API key lacks the scope that this call needs.",
        ),
        Outer::RateLimited => (Code::RateLimited, "There were too many requests. Wait, then try again."),
        Outer::Unavailable => (
            Code::ServiceUnavailable,
            "The store cannot be reached now, so no verdict is given. Try again.",
        ),
    };
    Problem::new(code, detail)
}
