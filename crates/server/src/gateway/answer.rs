//! Writes answers to gateways over HTTP.

use super::asked::{Allowed, GatewayDenial};
use super::identity;
use super::profile::Profile;
use crate::http::budget;
use axum::body::Body;
use hyper::header::{CACHE_CONTROL, HeaderName, HeaderValue, VARY};
use hyper::{HeaderMap, Response, StatusCode};
use keyreeve_api::Family;
use keyreeve_web::respond;

/// The status and the code of a denial, for gateways that cannot pass on the response itself (nginx).
const STATUS: HeaderName = HeaderName::from_static("x-keyreeve-status");
const CODE: HeaderName = HeaderName::from_static("x-keyreeve-code");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// Answers exactly 200 with an empty body (G-01) and every identity header (G-05).
pub(super) fn allowed(allowed: &Allowed, request_id: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    for (name, value) in identity::NAMES.iter().zip(&allowed.identity) {
        // The values are visible ASCII or blanks by construction.
        let value = HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static(""));
        headers.insert(HeaderName::from_static(name), value);
    }
    let kept = match allowed.max_age {
        0 => NO_STORE,
        seconds => {
            for header in &allowed.policy.key_headers {
                headers.extend(HeaderValue::from_str(header.as_str()).ok().map(|name| (VARY, name)));
            }
            HeaderValue::from_str(&format!("max-age={seconds}")).unwrap_or(NO_STORE)
        }
    };
    headers.insert(CACHE_CONTROL, kept);
    for (name, text) in allowed.budget.iter().flat_map(budget::KeyLimitHeaders::named) {
        insert(headers, name, text);
    }
    respond::with_request_id(response, request_id)
}

/// Answers with a problem document, which most gateways pass on to the client (G-02).
pub(super) fn denied(denied: &GatewayDenial, profile: Profile, request_id: &str) -> Response<Body> {
    let code = denied.problem.code;
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let body = serde_json::to_vec(&denied.problem.body(Family::Problem, request_id)).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = profile.status(status);
    let headers = response.headers_mut();
    for (name, text) in denied.fields() {
        insert(headers, name, &text);
    }
    headers.insert(STATUS, HeaderValue::from(code.status()));
    headers.insert(CODE, HeaderValue::from_static(code.as_str()));
    respond::with_request_id(response, request_id)
}

/// Inserts a header. The text is visible ASCII or blanks; any other text is left out.
fn insert(headers: &mut HeaderMap, name: &'static str, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
