//! From a request to its answer: the request id, the router, and one form for every error, including the router's own.

use super::conditions::ReadConditions;
use super::{client_address, missing};
use crate::edge::Peer;
use crate::verdict_service::VerdictService;
use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode};
use keyreeve_api::{Code, Family, Problem};
use keyreeve_authority::{Call, Refused};
use keyreeve_core::{KeyId, RootKeyId, UserId};
use keyreeve_web::{KnownCaller, Rejected, RequestInfo, respond};
use std::sync::Arc;
use tokio::time::Instant;
use tower::ServiceExt as _;

/// Longest request id that is accepted from a caller.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Starts of the paths of calls. A missing one is answered with a problem, also if a browser requests it.
pub(crate) const CALLS: &[&str] = &["/v1/", "/oauth2/", "/.well-known/", "/errors/", "/openapi.json"];

/// Returns the caller's request id if it is valid, else a new one.
pub(crate) fn request_id(verdicts: &VerdictService, headers: &HeaderMap) -> String {
    let given = headers.get(respond::X_REQUEST_ID);
    let sound = given.and_then(|value| sound_request_id(value.as_bytes()));
    match sound.map(String::from_utf8_lossy) {
        Some(id) => id.into_owned(),
        None => verdicts.new_request_id(),
    }
}

/// Returns a caller's request id if it is safe in headers and logs.
pub(crate) fn sound_request_id(id: &[u8]) -> Option<&[u8]> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    Some(id).filter(|id| (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.iter().all(is_plain))
}

/// Returns the error format of a path.
pub(crate) fn family(path: &str) -> Family {
    match path.strip_prefix("/v1/api_keys") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => Family::Clerk,
        None if path.starts_with("/oauth2/") => Family::OAuth,
        Some(_) | None => Family::Problem,
    }
}

/// Returns the client of a request. It is inserted before any handler is called.
pub(crate) fn peer(parts: &Parts) -> Result<&Peer, Problem> {
    let peer = parts.extensions.get();
    peer.ok_or_else(|| Problem::new(Code::InternalError, "The request has no connection."))
}

/// Runs the router and completes its answer.
pub(crate) async fn serve(router: Router, verdicts: &VerdictService, peer: &Peer, mut request: Request) -> Response {
    let began = Instant::now();
    let id = request_id(verdicts, request.headers());
    let family = family(request.uri().path());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let wanted = ReadConditions::of(&method, &path, request.headers());
    let caller = KnownCaller::default();
    let peer = Peer {
        address: client_address::client(verdicts.trusted_proxies(), peer, request.headers()),
        ..peer.clone()
    };
    request.extensions_mut().insert(RequestInfo {
        id: id.clone(),
        client: peer.address,
        caller: caller.clone(),
        connection: Arc::new(peer.seat.clone()),
    });
    request.extensions_mut().insert(peer);
    let response = match router.oneshot(request).await {
        Ok(response) => response,
        Err(infallible) => match infallible {},
    };
    let route = response
        .extensions()
        .get::<MatchedPath>()
        .map(|path| path.as_str().to_owned());
    if let (Some(Rejected(problem)), Some(call)) = (response.extensions().get(), caller.get()) {
        let asked = RecordedRequest {
            method: &method,
            route: route.as_deref(),
            path: &path,
        };
        note_refusal(verdicts, &call, problem, &asked).await;
    }
    let response = finished(response, family, &id, route.as_deref());
    let response = match wanted {
        None => response,
        Some(wanted) => match wanted.answered(response) {
            Ok(response) => response,
            Err(problem) => respond::problem(&problem, family, &id),
        },
    };
    let status = response.status().as_u16();
    verdicts
        .numbers()
        .note_request(method.as_str(), route.as_deref(), status, began.elapsed());
    tracing::info!(%method, route, status, request_id = id, "request");
    response
}

/// The request, as far as it may be recorded.
struct RecordedRequest<'a> {
    method: &'a Method,
    route: Option<&'a str>,
    path: &'a str,
}

/// Records the refusal of an authenticated caller: a lacking permission, or a conflict with the state or the policy.
async fn note_refusal(verdicts: &VerdictService, call: &Call, problem: &Problem, asked: &RecordedRequest<'_>) {
    let is_refusal = matches!(problem.code.status(), 403 | 409) && problem.code != Code::AlreadyCompleted;
    if !is_refusal {
        return;
    }
    let route = asked.route.unwrap_or("unknown");
    let (target_type, target_id) = target(asked.path).unwrap_or(("route", route.to_owned()));
    let refused = Refused {
        target_type,
        target_id,
        what: format!("{}: {} {route}", problem.code.as_str(), asked.method),
    };
    if let Err(error) = verdicts.authority().audit().note_refusal(call, refused).await {
        tracing::warn!(%error, request_id = &*call.request_id, "cannot record a refused call");
    }
}

/// Returns the object that a path names by a valid id.
fn target(path: &str) -> Option<(&'static str, String)> {
    path.split('/').find_map(|part| {
        let key = KeyId::parse(part).map(|id| ("key", id.to_string()));
        let user = || UserId::parse(part).map(|id| ("user", id.to_string()));
        let root_key = || RootKeyId::parse(part).map(|id| ("root_key", id.to_string()));
        key.or_else(|_| user()).or_else(|_| root_key()).ok()
    })
}

/// Renders errors and adds the common headers. HTML pages are not changed.
fn finished(response: Response, family: Family, id: &str, route: Option<&str>) -> Response {
    let kind = response.headers().get(CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html")) {
        return respond::with_request_id(response, id);
    }
    if let Some(Rejected(problem)) = response.extensions().get() {
        let problem = missing::named(problem.clone(), route);
        return respond::keep_allow(&response, respond::problem(&problem, family, id));
    }
    let of_router = match response.status() {
        StatusCode::NOT_FOUND => Some(no_such_address()),
        StatusCode::METHOD_NOT_ALLOWED => Some(wrong_method()),
        status if status.is_client_error() => Some(Problem::new(
            Code::BadRequest,
            "The address could not be read. Check its percent-encoding.",
        )),
        status if status.is_server_error() => Some(Problem::new(
            Code::InternalError,
            "An internal error occurred. The log has the cause.",
        )),
        _ => None,
    };
    match of_router {
        Some(problem) => respond::keep_allow(&response, respond::problem(&problem, family, id)),
        None => respond::with_request_id(response, id),
    }
}

/// The problem of a method that a route does not have.
pub(super) fn wrong_method() -> Problem {
    Problem::new(
        Code::MethodNotAllowed,
        "This route does not support this method. The header Allow lists the methods that it supports.",
    )
}

fn no_such_address() -> Problem {
    Problem::new(
        Code::NotFound,
        "No route has this address. /openapi.json lists the routes.",
    )
}

/// The answer of a listener that does not serve the address.
pub(crate) fn not_found<B>(verdicts: &VerdictService, request: &hyper::Request<B>) -> hyper::Response<Body> {
    let id = request_id(verdicts, request.headers());
    respond::problem(&no_such_address(), family(request.uri().path()), &id)
}
