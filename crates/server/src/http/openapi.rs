//! The router and the published document, built from one list of handlers.
//!
//! Tests: `e2e/openapi/test_document.py`

use super::conditions::{changes_record, is_of_key, is_record};
use super::examples;
use super::oauth::{introspect, metadata, revoke};
use super::v1::verifiers as connected;
use super::v1::{api_keys, audit, check_policies, errors, leaks, me, nodes, policy, root_keys, tenants, users};
use super::verify::VerifyDocument;
use crate::App;
use crate::verifiers;
use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{self, Next};
use axum::response::Response;
use hyper::StatusCode;
use keyreeve_api::problem::{ErrorBody, Family};
use std::sync::LazyLock;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, HeaderBuilder, Ref, RefOr, Required, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Keyreeve",
        description = "A self-hosted API-key authority. When `revoke` returns, no verifier anywhere still accepts that key, although verification is answered from memory.\n\nAll `/v1/api_keys` routes are also served without `/v1`, and use the wire format of Clerk's `api_keys`. Times are Unix milliseconds. An instance root key names the tenant with the header `Keyreeve-Tenant` (`default` if it is not sent), and is restricted to it, for verification and introspection too; `/v1/verify`, its batch and introspection without the header are about every tenant that the root key reaches. Creation of keys and a change of one key take an `Idempotency-Key`: the request is recorded for 24 hours, and a repetition is not carried out again; other calls do not record it. Every record has an `ETag`; a call that changes one takes `If-Match`, and is answered with 412 `PRECONDITION_FAILED`, and the changes since, if the record has another version by then. `GET` of a policy, a check policy, a user or a tenant takes `If-None-Match`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
        contact(),
    ),
    servers((url = "/", description = "This server")),
    tags(
        (name = "api keys", description = "Lifecycle of API keys: create, list, rotate, disable, re-activate, revoke, delete"),
        (name = "verify", description = "Verification of keys: the verdict for a key, now"),
        (name = "oauth", description = "OAuth 2.0: introspection, revocation and metadata"),
        (name = "leaks", description = "Reports of leaked secrets"),
        (name = "me", description = "Calls that a key holder makes with the API key itself"),
        (name = "root keys", description = "Credentials of the management API"),
        (name = "policy", description = "The policy of a tenant's keys"),
        (name = "check policies", description = "Requirements of gateways: scopes, headers and credentials of a check"),
        (name = "users", description = "People who sign in to the dashboard; their keys stop when they are removed"),
        (name = "audit", description = "The audit log: entries, verification of the chain, signed checkpoints"),
        (name = "tenants", description = "Tenants, the isolation boundary of keys, users and policies"),
        (name = "nodes", description = "Nodes, connected verifiers, and the progress of changes"),
        (name = "documentation", description = "The OpenAPI document and the pages of the error codes"),
    ),
    components(schemas(ErrorBody)),
)]
struct Outline;

fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Outline::openapi())
        .routes(routes!(api_keys::create::handler, api_keys::list::handler))
        .routes(routes!(api_keys::batch::handler))
        .routes(routes!(
            api_keys::get::handler,
            api_keys::update::handler,
            api_keys::delete::handler
        ))
        .routes(routes!(api_keys::revoke::handler))
        .routes(routes!(api_keys::disable::handler))
        .routes(routes!(api_keys::reactivate::handler))
        .routes(routes!(api_keys::rotate::handler))
        .routes(routes!(api_keys::rotate_finish::handler))
        .routes(routes!(api_keys::finalize::handler))
        .routes(routes!(api_keys::revoke_many::handler))
        .routes(routes!(api_keys::purge::handler))
        .routes(routes!(api_keys::events::handler))
        .routes(routes!(api_keys::usage::handler))
        .routes(routes!(api_keys::limits::handler))
        .routes(routes!(api_keys::limits::reset))
        .routes(routes!(api_keys::secret::handler))
        .routes(routes!(me::get))
        .routes(routes!(me::revoke))
        .routes(routes!(introspect::handler))
        .routes(routes!(revoke::handler))
        .routes(routes!(metadata::authorization_server))
        .routes(routes!(metadata::protected_resource))
        .routes(routes!(leaks::report))
        .routes(routes!(leaks::github::report))
        .routes(routes!(root_keys::create, root_keys::list))
        .routes(routes!(root_keys::revoke))
        .routes(routes!(root_keys::rotate))
        .routes(routes!(root_keys::finish))
        .routes(routes!(policy::get, policy::put))
        .routes(routes!(check_policies::create, check_policies::list))
        .routes(routes!(
            check_policies::get,
            check_policies::update,
            check_policies::remove
        ))
        .routes(routes!(users::create, users::list))
        .routes(routes!(users::get, users::update, users::remove))
        .routes(routes!(users::invite))
        .routes(routes!(tenants::create, tenants::list))
        .routes(routes!(tenants::get, tenants::update, tenants::remove))
        .routes(routes!(audit::list))
        .routes(routes!(audit::verify))
        .routes(routes!(audit::checkpoint))
        .routes(routes!(verifiers::connect))
        .routes(routes!(connected::list))
        .routes(routes!(connected::disconnect))
        .routes(routes!(nodes::list))
        .routes(routes!(nodes::operation))
        .routes(routes!(errors::page))
        .routes(routes!(openapi_json))
}

/// Returns the router of everything but verification. `others` are the routes of other faces on the same listener.
pub(crate) fn router(app: App, others: Router) -> Router {
    let (router, _) = routes().split_for_parts();
    // Verification is matched before the router; a request that gets here has another method.
    let post_only = || axum::routing::post(no_handler);
    router
        .route("/v1/verify", post_only())
        .route("/v1/verify/batch", post_only())
        .route("/v1/api_keys/verify", post_only())
        .with_state(app)
        .merge(others)
        .route_layer(middleware::from_fn(remember_route))
}

async fn no_handler() -> StatusCode {
    StatusCode::INTERNAL_SERVER_ERROR
}

/// Stores the route's template for the log: the path itself may contain data that must not be logged.
async fn remember_route(path: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(path) = path {
        response.extensions_mut().insert(path);
    }
    response
}

/// Returns the published document, as pretty JSON with a line feed at its end.
pub fn document() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let mut document = routes().split_for_parts().1;
        document.merge(VerifyDocument::openapi());
        complete(&mut document);
        examples::attach(&mut document);
        let mut text = document.to_pretty_json().unwrap_or_default();
        text.push('\n');
        text
    });
    &TEXT
}

/// Get this OpenAPI document.
///
/// Needs no credential. The document describes the version that is running.
#[utoipa::path(
    get, path = "/openapi.json", tag = "documentation", operation_id = "getOpenapi",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)),
    security(())
)]
async fn openapi_json() -> Response {
    keyreeve_web::respond::json_bytes(StatusCode::OK, document())
}

/// Adds what all operations share: authentication, headers, and the errors that any call may return.
fn complete(document: &mut utoipa::openapi::OpenApi) {
    let bearer = |what: &str| {
        SecurityScheme::Http(
            HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .description(Some(what))
                .build(),
        )
    };
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("root_key", bearer("A root key, with the permissions that a call names"));
    let basic = HttpBuilder::new()
        .scheme(HttpAuthScheme::Basic)
        .description(Some(
            "A root key: its id, or any name that is no id, and its secret as the password",
        ))
        .build();
    components.add_security_scheme("root_key_basic", SecurityScheme::Http(basic));
    components.add_security_scheme("api_key", bearer("The API key itself"));
    for (path, item) in &mut document.paths.paths {
        let call = CallProperties {
            family: super::answer::family(path),
            is_public: !path.starts_with("/v1/") && !path.starts_with("/oauth2/"),
            takes_root_key: path.starts_with("/v1/") && !path.starts_with("/v1/me") && !path.starts_with("/v1/leaks"),
            is_own: path.starts_with("/v1/me"),
        };
        if let Some(RefOr::T(body)) = item.post.as_mut().and_then(|post| post.request_body.as_mut()) {
            let needs_nothing = [
                "/revoke",
                "/finalize",
                "/disable",
                "/reactivate",
                "/rotate",
                "/audit/verify",
            ];
            let required = !needs_nothing.iter().any(|end| path.ends_with(end));
            body.required = Some(if required { Required::True } else { Required::False });
        }
        if let Some(read) = &mut item.get {
            common_errors(read, &call, READ);
            if is_record(path) {
                versioned(read);
                if !is_of_key(path) {
                    answered(read, "304", "The record is the version that `If-None-Match` names");
                }
            }
        }
        let writes = [&mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for write in writes.into_iter().flatten() {
            common_errors(write, &call, READ);
            common_errors(write, &call, WRITE);
            common_errors(write, &call, CONDITIONAL);
            if changes_record(path) {
                versioned(write);
            }
        }
    }
}

/// Declares the `ETag` of successful answers.
fn versioned(operation: &mut utoipa::openapi::path::Operation) {
    let answers = operation.responses.responses.iter_mut();
    for (_, answer) in answers.filter(|(status, _)| matches!(status.as_str(), "200" | "201" | "202")) {
        if let RefOr::T(answer) = answer {
            let header = HeaderBuilder::new()
                .description(Some("The version of the record, for `If-Match` and `If-None-Match`"))
                .build();
            answer.headers.insert("ETag".to_owned(), RefOr::T(header));
        }
    }
}

/// Declares one more answer, without a body.
fn answered(operation: &mut utoipa::openapi::path::Operation, status: &str, description: &str) {
    let response = ResponseBuilder::new().description(description).build();
    operation.responses.responses.insert(status.to_owned(), response.into());
}

/// Properties of every call to a path.
struct CallProperties {
    family: Family,
    is_public: bool,
    takes_root_key: bool,
    /// The API key itself is the credential and the object.
    is_own: bool,
}

/// Status, its meaning, and whether it applies to a call.
type CommonError = (&'static str, &'static str, fn(&CallProperties) -> bool);

const CONDITIONAL: &[CommonError] = &[(
    "412",
    "PRECONDITION_FAILED: the record has another version than If-Match names",
    |call| call.takes_root_key || call.is_own,
)];

const READ: &[CommonError] = &[
    ("400", "The request cannot be understood", |_| true),
    ("401", "The root key is missing or not valid", |call| {
        call.takes_root_key
    }),
    ("403", "The root key lacks a permission", |call| call.takes_root_key),
    ("404", "The record does not exist", |_| true),
    ("503", "The store is not available", |call| !call.is_public),
];

const WRITE: &[CommonError] = &[
    ("408", "The request arrived too slowly", |_| true),
    ("409", "The state or the policy does not allow it", |_| true),
    ("413", "The body is too large", |_| true),
    ("415", "The body is not JSON", |_| true),
    ("422", "The idempotency key was used for another request", |_| true),
];

fn common_errors(operation: &mut utoipa::openapi::path::Operation, call: &CallProperties, errors: &[CommonError]) {
    for (status, description, _) in errors.iter().filter(|(_, _, applies)| applies(call)) {
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("ErrorBody")))
            .build();
        let response = ResponseBuilder::new()
            .description(*description)
            .content(call.family.content_type(), content)
            .build();
        operation
            .responses
            .responses
            .entry((*status).to_owned())
            .or_insert_with(|| response.into());
    }
}
