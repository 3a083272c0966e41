//! Builds answers.

use axum_core::body::Body;
use bytes::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, STRICT_TRANSPORT_SECURITY,
    WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use keyreeve_api::{Code, Family, Problem};
use keyreeve_core::verdict::Denial;
use serde::Serialize;

/// The request's id, in requests and answers.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const A_YEAR: HeaderValue = HeaderValue::from_static("max-age=31536000");
/// Seconds that a client should wait when the store is unavailable.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// The challenge for clients that present no bearer token (RFC 6749, section 2.3.1).
const BASIC: HeaderValue = HeaderValue::from_static("Basic realm=\"keyreeve\", charset=\"UTF-8\"");
/// The challenge for a valid credential without sufficient rights (RFC 6750, section 3.1).
const LACKING: HeaderValue = HeaderValue::from_static("Bearer realm=\"keyreeve\", error=\"insufficient_scope\"");
/// The field of a problem with the seconds to wait.
pub const RETRY_AFTER_SECONDS: &str = "retry_after_seconds";

/// Returns a JSON answer of exactly `application/json`: Clerk's JavaScript SDK reads nothing else (clerk-wire, section
/// 7).
pub fn json_bytes(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}

/// Returns the answer to a verification. 503 gets `Retry-After`.
pub fn verdicts(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = json_bytes(status, body);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS);
    }
    response
}

/// Returns a JSON answer from a wire type.
pub fn json(status: StatusCode, value: &impl Serialize) -> Result<Response<Body>, Problem> {
    let body = serde_json::to_vec(value);
    body.map(|body| json_bytes(status, body)).map_err(|error| {
        tracing::error!(%error, "cannot serialize a response");
        Problem::new(
            Code::InternalError,
            "The response could not be serialized. The change, if any, was made.",
        )
    })
}

/// Returns an error answer.
pub fn problem(problem: &Problem, family: Family, request_id: &str) -> Response<Body> {
    let status = StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(&problem.body(family, request_id)).unwrap_or_default();
    let mut response = json_bytes(status, body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(family.content_type()));
    if let Some(challenge) = challenge(problem.code) {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    match (family, status) {
        (Family::OAuth, StatusCode::UNAUTHORIZED) => drop(headers.append(WWW_AUTHENTICATE, BASIC)),
        (Family::OAuth, StatusCode::FORBIDDEN) => drop(headers.insert(WWW_AUTHENTICATE, LACKING)),
        _ => {}
    }
    if let Some(wait) = problem
        .meta
        .get(RETRY_AFTER_SECONDS)
        .and_then(serde_json::Value::as_u64)
    {
        headers.insert(RETRY_AFTER, wait.into());
    }
    if matches!(problem.code, Code::ServiceUnavailable | Code::OutcomeUnknown) {
        headers.insert(RETRY_AFTER, RETRY_SECONDS);
    }
    with_request_id(response, request_id)
}

/// Returns the challenge of a 401 or 403 (RFC 6750, section 3). Without a credential no error is named.
fn challenge(code: Code) -> Option<HeaderValue> {
    match code {
        Code::RootKeyRequired | Code::ApiKeyRequired => Some(HeaderValue::from_static("Bearer realm=\"keyreeve\"")),
        Code::RootKeyInvalid | Code::ApiKeyInvalid | Code::ApiKeyExpired => Some(HeaderValue::from_static(
            "Bearer realm=\"keyreeve\", error=\"invalid_token\"",
        )),
        Code::InsufficientScope => Some(LACKING),
        _ => None,
    }
}

/// Adds the request's id to an answer.
#[inline]
pub fn with_request_id(mut response: Response<Body>, request_id: &str) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    response
}

/// Adds HSTS to an answer that is sent over TLS: browsers then use only TLS for a year (RFC 6797).
pub fn by_tls_only(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, A_YEAR);
    response
}

/// Marks an answer after which the connection is closed.
pub fn closing(mut response: Response<Body>) -> Response<Body> {
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Copies the list of allowed methods from a router's answer.
pub fn keep_allow(from: &Response<Body>, mut to: Response<Body>) -> Response<Body> {
    if let Some(allow) = from.headers().get(ALLOW) {
        to.headers_mut().insert(ALLOW, allow.clone());
    }
    to
}

/// The problem of an unknown verdict. It is never a guess, and never a 401.
pub fn no_verdict() -> Problem {
    let detail = "The store cannot be reached now, so no verdict is given. Try again.";
    Problem::new(Code::ServiceUnavailable, detail)
}

/// Returns the problem of a denial that is no verdict ([`Denial::is_no_verdict`]).
pub fn no_verdict_for(denial: Denial) -> Problem {
    match denial {
        Denial::Undecided => Problem::new(Code::ServiceUnavailable, UNDECIDED),
        _ => no_verdict(),
    }
}

/// The text for callers while no key is verified after a restore.
pub const UNDECIDED: &str = "The database was restored, and its operator has not decided yet which keys may be used. \
                             Until then no verdict is given.";
