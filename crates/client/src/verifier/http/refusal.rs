//! The answer to a refused request: status and challenge of RFC 6750, section 3, and a body after RFC 9457.

use super::super::Verdict;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use serde_json::json;

const REALM: &str = "api";

/// A refusal that can be returned as an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpRefusal {
    status: StatusCode,
    /// A code of Keyreeve's, such as `API_KEY_INVALID`.
    code: &'static str,
    detail: &'static str,
    challenge: Option<String>,
    /// The state of the key's limits, as header fields.
    limits: Vec<(&'static str, String)>,
}

impl HttpRefusal {
    /// No credential. The challenge then has no error code.
    pub(super) fn missing(realm: Option<&str>) -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            code: "API_KEY_REQUIRED",
            detail: "The request needs an API key in the header Authorization: Bearer <key>, or X-API-Key: <key>.",
            challenge: Some(challenge(realm, &[])),
            limits: Vec::new(),
        }
    }

    /// More than one credential.
    pub(super) fn ambiguous(realm: Option<&str>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "BAD_REQUEST",
            detail: "The request has more than one credential. Send exactly one.",
            challenge: Some(challenge(realm, &[("error", "invalid_request")])),
            limits: Vec::new(),
        }
    }

    /// A key that is not good, or not good for this request.
    pub(super) fn of(verdict: &Verdict, scopes: &[&str], realm: Option<&str>) -> Self {
        let scopes = scopes.join(" ");
        let (detail, error) = match verdict.code() {
            "API_KEY_EXPIRED" => ("The API key has expired.", vec![("error", "invalid_token")]),
            "API_KEY_DISABLED" => ("The API key is disabled.", Vec::new()),
            "API_KEY_CONTEXT_DENIED" => ("The API key may not be used from this address.", Vec::new()),
            "INSUFFICIENT_SCOPE" => (
                "The API key lacks a scope that this request needs.",
                vec![("error", "insufficient_scope"), ("scope", scopes.as_str())],
            ),
            "RATE_LIMITED" => ("The API key was used too often.", Vec::new()),
            "SERVICE_UNAVAILABLE" => ("Keys cannot be verified now. Try again.", Vec::new()),
            _ => ("The API key is not valid.", vec![("error", "invalid_token")]),
        };
        let status = StatusCode::from_u16(verdict.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let asks = status == StatusCode::UNAUTHORIZED || !error.is_empty();
        Self {
            status,
            code: verdict.code(),
            detail,
            challenge: asks.then(|| challenge(realm, &error)),
            limits: verdict.headers().collect(),
        }
    }

    /// Returns the HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// Returns the answer, `application/problem+json`.
    pub fn into_response<B: From<String>>(self) -> Response<B> {
        let body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
        });
        let mut response = Response::new(B::from(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        for (name, text) in self.limits {
            headers.extend(
                HeaderValue::from_str(&text)
                    .ok()
                    .map(|text| (HeaderName::from_static(name), text)),
            );
        }
        if let Some(challenge) = self.challenge.and_then(|text| HeaderValue::from_str(&text).ok()) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// Formats `Bearer realm="…", error="…"`: values are quoted strings (RFC 9110, section 5.6.4).
fn challenge(realm: Option<&str>, parameters: &[(&str, &str)]) -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let realm = format!("Bearer realm=\"{}\"", quoted(realm.unwrap_or(REALM)));
    let rest = parameters
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", quoted(value)));
    std::iter::once(realm).chain(rest).collect::<Vec<_>>().join(", ")
}
