//! Handles one request: verification bypasses the router, everything else goes through it.

use super::Peer;
use super::activity::{AnswerBody, ConnectionActivity};
use crate::backup::serve::BackupService;
use crate::http::{answer, verify};
use crate::monitor::Monitor;
use crate::readiness::Readiness;
use crate::restored::RestoreService;
use crate::verdict_service::VerdictService;
use crate::{backup, doctor, gateway, restored};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use futures_util::future::BoxFuture;
use hyper::body::{Body as _, Incoming};
use hyper::header::HOST;
use hyper::http::uri::{Authority, PathAndQuery};
use hyper::{Method, Version};
use keyreeve_api::{Code, Problem};
use keyreeve_web::{body, respond};
use std::convert::Infallible;
use std::sync::Arc;

/// What a listener serves.
#[derive(Debug)]
pub(crate) enum Face {
    /// The complete API.
    Api(Router),
    /// Verification only: by services and by gateways.
    Check,
    /// Liveness, readiness, metrics.
    Ops,
}

/// A face with the parts of the server that answer its requests. All connections of a listener share it.
#[derive(Debug)]
pub(crate) struct FaceService {
    pub(crate) face: Face,
    pub(crate) verdicts: Arc<VerdictService>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) monitor: Arc<Monitor>,
    pub(crate) backups: Arc<BackupService>,
    pub(crate) restores: Arc<RestoreService>,
    /// Whether a proxy in front of the API terminates TLS.
    pub(crate) is_public_by_tls: bool,
}

impl FaceService {
    /// Returns whether its answers on a connection carry HSTS (RFC 6797).
    pub(super) fn is_by_tls_only(&self, peer: &Peer) -> bool {
        peer.is_encrypted || (matches!(self.face, Face::Api(_)) && self.is_public_by_tls)
    }
}

/// Answers one request. Never fails: an error is an answer. Boxed, because the HTTP library moves the future of a
/// request several times before it is polled.
pub(super) fn serve(
    service: Arc<FaceService>,
    peer: Peer,
    activity: Arc<ConnectionActivity>,
    mut request: hyper::Request<Incoming>,
) -> BoxFuture<'static, Result<hyper::Response<AnswerBody>, Infallible>> {
    activity.begin();
    let busy = peer.seat.busy();
    normalize(&mut request);
    Box::pin(async move {
        let response = answered(&service, &peer, request).await;
        let response = match service.is_by_tls_only(&peer) {
            true => respond::by_tls_only(response),
            false => response,
        };
        Ok(response.map(|body| AnswerBody::new(body, &activity, busy)))
    })
}

async fn answered(service: &FaceService, peer: &Peer, request: hyper::Request<Incoming>) -> hyper::Response<Body> {
    let verdicts = &service.verdicts;
    // HTTP/2 frames requests unambiguously; a match of the line scanner there is payload.
    let is_by_lines = request.version() != Version::HTTP_2;
    let is_ambiguous = || is_by_lines && peer.alarm.is_raised();
    if is_ambiguous() {
        return two_lengths(verdicts, &request);
    }
    if is_by_lines && !has_one_host(&request) {
        return no_one_host(verdicts, &request);
    }
    let path = request.uri().path();
    let response = match (&service.face, verify::Route::of(request.method(), path)) {
        (Face::Check, _) if gateway::is_grpc(&request) => {
            gateway::serve_grpc(verdicts, &service.readiness, peer, request).await
        }
        (Face::Api(_) | Face::Check, Some(route)) => {
            let response = verify::serve(route, verdicts, peer, request).await;
            match is_by_lines && body::may_be_unread(response.status()) {
                true => respond::closing(response),
                false => response,
            }
        }
        (Face::Api(router), None) if !(peer.is_operator && is_for_operators(path)) => {
            routed(router, verdicts, peer, request).await
        }
        _ => {
            let response = without_body(service, peer, &request).await;
            let (parts, unread) = request.into_parts();
            match !is_by_lines || body::drain(&parts.headers, unread).await {
                true => response,
                false => respond::closing(response),
            }
        }
    };
    // Again, after the answer: bytes that were read since may belong to an ambiguous request.
    match is_ambiguous() {
        true => respond::closing(response),
        false => response,
    }
}

/// Whether an address is answered only on the socket in the data directory.
fn is_for_operators(path: &str) -> bool {
    [
        doctor::ADDRESS,
        backup::ADDRESS,
        backup::KEPT_ADDRESS,
        restored::ADDRESS,
    ]
    .contains(&path)
}

/// Answers requests that need no body.
async fn without_body(service: &FaceService, peer: &Peer, request: &hyper::Request<Incoming>) -> hyper::Response<Body> {
    let verdicts = &service.verdicts;
    match &service.face {
        Face::Check if gateway::is_asked(request.uri().path()) => gateway::serve(verdicts, peer, request).await,
        Face::Check => answer::not_found(verdicts, request),
        Face::Api(_) => match request.uri().path() {
            backup::ADDRESS => backup::serve::serve(&service.backups),
            backup::KEPT_ADDRESS => backup::serve::note_kept(&service.backups).await,
            restored::ADDRESS => {
                restored::serve(&service.restores, verdicts, request.method(), request.uri().query()).await
            }
            _ => doctor::serve(&service.monitor).await,
        },
        Face::Ops => crate::ops::serve(&service.monitor, request).await,
    }
}

/// Runs the router. An answer that did not read the body is sent after the body was read.
async fn routed(
    router: &Router,
    verdicts: &VerdictService,
    peer: &Peer,
    request: hyper::Request<Incoming>,
) -> hyper::Response<Body> {
    if request.version() == Version::HTTP_2 || request.body().is_end_stream() {
        return answer::serve(router.clone(), verdicts, peer, request.map(Body::new)).await;
    }
    let (parts, sent) = request.into_parts();
    let headers = parts.headers.clone();
    let (lent, rest) = body::Lent::new(sent);
    let request = Request::from_parts(parts, Body::new(lent));
    let response = answer::serve(router.clone(), verdicts, peer, request).await;
    match body::drain(&headers, rest).await {
        true => response,
        false => respond::closing(response),
    }
}

fn two_lengths(verdicts: &VerdictService, request: &hyper::Request<Incoming>) -> hyper::Response<Body> {
    let detail = "The request has both Content-Length and Transfer-Encoding, so where it ends is not certain. \
                  Send one of them. The connection is closed.";
    let problem = Problem::new(Code::BadRequest, detail);
    let id = answer::request_id(verdicts, request.headers());
    respond::closing(respond::problem(&problem, answer::family(request.uri().path()), &id))
}

/// Returns whether the host of a request is unambiguous (RFC 9112, section 3.2). HTTP/1.0 may omit it.
fn has_one_host<B>(request: &hyper::Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => request.version() == Version::HTTP_10,
        (Some(host), None) => host.is_empty() || Authority::try_from(host.as_bytes()).is_ok_and(is_host),
        (Some(_), Some(_)) => false,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to is_ok_and")]
fn is_host(authority: Authority) -> bool {
    !authority.as_str().contains('@')
}

fn no_one_host(verdicts: &VerdictService, request: &hyper::Request<Incoming>) -> hyper::Response<Body> {
    let detail = "The request must name the host that it is for: with exactly one header Host, which holds a name or an \
                  address, with a port if need be.";
    let problem = Problem::new(Code::BadRequest, detail).with("param_name", "Host");
    let id = answer::request_id(verdicts, request.headers());
    respond::closing(respond::problem(&problem, answer::family(request.uri().path()), &id))
}

/// Rewrites paths: Clerk's JavaScript SDK omits `/v1`, and a base URL may end in a slash (clerk-wire, section 1), so
/// every `/api_keys` route is also served without `/v1`.
fn normalize<B>(request: &mut Request<B>) {
    let uri = request.uri();
    let path = uri.path();
    let trimmed = path.trim_start_matches('/');
    let is_bare = trimmed == "api_keys" || trimmed.starts_with("api_keys/");
    if !is_bare && !path.starts_with("//") {
        return;
    }
    let version = if is_bare { "/v1/" } else { "/" };
    let query = uri.query().map_or(String::new(), |query| format!("?{query}"));
    let Ok(path_and_query) = PathAndQuery::try_from(format!("{version}{trimmed}{query}")) else {
        return;
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query);
    if let Ok(uri) = hyper::Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

/// Returns whether a method changes nothing.
pub(crate) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_for_one_host() {
        let asked = |version: Version, hosts: &[&str]| {
            let mut request = Request::builder().version(version).body(()).unwrap();
            for host in hosts {
                request.headers_mut().append(HOST, host.parse().unwrap());
            }
            has_one_host(&request)
        };
        for host in ["x", "127.0.0.1:7300", "[::1]:7300", "keys.example.com", ""] {
            assert!(asked(Version::HTTP_11, &[host]), "{host}");
        }
        for hosts in [
            &[][..],
            &["x", "x"],
            &["x", "y"],
            &["x y"],
            &["x, y"],
            &["a@x"],
            &["x/y"],
            &["http://x"],
        ] {
            assert!(!asked(Version::HTTP_11, hosts), "{hosts:?}");
        }
        assert!(asked(Version::HTTP_10, &[]) && !asked(Version::HTTP_10, &["x", "x"]));
    }

    #[test]
    fn key_routes_are_served_with_and_without_version() {
        for (from, to) in [
            ("/api_keys", "/v1/api_keys"),
            ("/api_keys/ak_1/revoke?x=1", "/v1/api_keys/ak_1/revoke?x=1"),
            ("//api_keys", "/v1/api_keys"),
            ("//v1/api_keys", "/v1/api_keys"),
            ("/v1/api_keys", "/v1/api_keys"),
            ("/api_keys_of_mine", "/api_keys_of_mine"),
            ("/v1/me", "/v1/me"),
        ] {
            let mut request = Request::builder().uri(from).body(()).unwrap();
            normalize(&mut request);
            assert_eq!(request.uri().to_string(), to);
        }
    }
}
