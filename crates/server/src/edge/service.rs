//! One request: is it a verification, which never sees a router, or anything else?

use super::Peer;
use crate::App;
use crate::http::verify;
use crate::http::{answer, respond};
use crate::{doctor, gateway};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Version};
use keyreeve_api::{Code, Problem};
use std::convert::Infallible;

/// What a listener answers.
#[derive(Clone, Debug)]
pub(crate) enum Face {
    /// The whole API.
    Api(Router),
    /// Verification only: what services ask, and what gateways do.
    Check,
    /// Liveness, readiness, metrics.
    Ops,
}

/// Answers one request. Never fails: what goes wrong is an answer. In a box, because the HTTP library moves the future of a
/// request several times before it runs it.
pub(super) fn serve(
    face: Face,
    app: App,
    peer: Peer,
    mut request: hyper::Request<Incoming>,
) -> BoxFuture<'static, Result<hyper::Response<Body>, Infallible>> {
    normalize(&mut request);
    Box::pin(async move { Ok(answered(&face, &app, &peer, request).await) })
}

async fn answered(face: &Face, app: &App, peer: &Peer, request: hyper::Request<Incoming>) -> hyper::Response<Body> {
    // How long a request is has one meaning only in HTTP/2: what looks otherwise there is somebody's data.
    let is_by_lines = request.version() != Version::HTTP_2;
    let is_unsure = || is_by_lines && peer.alarm.is_raised();
    if is_unsure() {
        return two_lengths(app, &request);
    }
    let path = request.uri().path();
    let response = match (face, verify::Route::of(request.method(), path)) {
        (Face::Check, _) if gateway::is_grpc(&request) => gateway::serve_grpc(app, request).await,
        (Face::Check, _) if gateway::is_asked(path) => gateway::serve(app, &request).await,
        (Face::Api(_) | Face::Check, Some(route)) => verify::serve(route, app, peer, request).await,
        (Face::Api(_), None) if peer.is_operator && path == doctor::ADDRESS => doctor::serve(app).await,
        (Face::Api(router), None) => answer::serve(router.clone(), app, peer, request.map(Body::new)).await,
        (Face::Check, None) => answer::not_found(app, &request),
        (Face::Ops, _) => crate::ops::serve(app, &request).await,
    };
    match is_unsure() {
        true => respond::closing(response),
        false => response,
    }
}

fn two_lengths(app: &App, request: &hyper::Request<Incoming>) -> hyper::Response<Body> {
    let detail = "The request has both Content-Length and Transfer-Encoding, so where it ends is not certain. \
                  Send one of them. The connection is closed.";
    let problem = Problem::new(Code::BadRequest, detail);
    let id = answer::request_id(app, request.headers());
    respond::closing(respond::problem(&problem, answer::family(request.uri().path()), &id))
}

/// Clerk's JavaScript SDK leaves `/v1` out, and a base address may end in a slash (clerk-wire, section 1): every
/// `/api_keys` route is also served without `/v1`.
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

/// Whether a method changes nothing.
pub(crate) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

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
