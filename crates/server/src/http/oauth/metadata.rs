//! Metadata documents for OAuth clients: RFC 8414 and RFC 9728.
//!
//! Tests: `e2e/oauth/test_metadata.py`

use super::Issuer;
use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use keyreeve_api::oauth::{AuthorizationServer, ProtectedResource};
use keyreeve_api::problem::ErrorBody;
use keyreeve_api::{Code, Problem};
use keyreeve_web::{Rejected, respond};
use serde::Serialize;
use std::sync::Arc;

/// The documents change only with the settings.
const CACHED: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// Get the authorization server metadata (RFC 8414).
///
/// Lists the introspection and revocation endpoints; there is no token endpoint. 404 if the server's public name is
/// unknown: set `public_url`.
#[utoipa::path(
    get, path = "/.well-known/oauth-authorization-server", tag = "oauth", operation_id = "getAuthorizationServer",
    responses((status = 200, description = "The document", body = AuthorizationServer),
        (status = 404, description = "NOT_FOUND", body = ErrorBody, content_type = "application/problem+json")),
    security(())
)]
pub(crate) async fn authorization_server(State(issuer): State<Arc<Issuer>>) -> Result<Response, Rejected> {
    let issuer = known(&issuer)?;
    document(&AuthorizationServer {
        issuer: issuer.to_owned(),
        response_types_supported: [],
        grant_types_supported: [],
        introspection_endpoint: format!("{issuer}/oauth2/introspect"),
        introspection_endpoint_auth_methods_supported: ["client_secret_basic", "Bearer"],
        revocation_endpoint: format!("{issuer}/oauth2/revoke"),
        revocation_endpoint_auth_methods_supported: ["none"],
    })
}

/// Get the protected resource metadata (RFC 9728).
///
/// Describes how API keys are presented, and names the authorization server that introspects them. 404 if the server's
/// public name is unknown: set `public_url`.
#[utoipa::path(
    get, path = "/.well-known/oauth-protected-resource", tag = "oauth", operation_id = "getProtectedResource",
    responses((status = 200, description = "The document", body = ProtectedResource),
        (status = 404, description = "NOT_FOUND", body = ErrorBody, content_type = "application/problem+json")),
    security(())
)]
pub(crate) async fn protected_resource(State(issuer): State<Arc<Issuer>>) -> Result<Response, Rejected> {
    let issuer = known(&issuer)?;
    document(&ProtectedResource {
        resource: issuer.to_owned(),
        authorization_servers: [issuer.to_owned()],
        bearer_methods_supported: ["header"],
        resource_name: "Keyreeve",
    })
}

fn known(issuer: &Issuer) -> Result<&str, Problem> {
    let unknown = "The public address of this server is not set. Start it with the setting public_url, for example \
                   --public-url https://keys.example.com.";
    issuer.get().ok_or_else(|| Problem::new(Code::NotFound, unknown))
}

fn document(value: &impl Serialize) -> Result<Response, Rejected> {
    let mut response = respond::json(StatusCode::OK, value)?;
    response.headers_mut().insert(CACHE_CONTROL, CACHED);
    Ok(response)
}
