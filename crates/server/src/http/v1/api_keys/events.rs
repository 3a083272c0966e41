//! `GET /v1/api_keys/{id}/events`: the audit entries of a key.
//!
//! Tests: `e2e/lifecycle/test_audit.py`, `e2e/lifecycle/test_policy.py`

use crate::http::call::{Incoming, NoBody, key_id};
use crate::management::Management;
use axum::extract::{Path, State};
use axum::response::Response;
use hyper::StatusCode;
use keyreeve_api::audit::AuditList;
use keyreeve_web::audit_event::event;
use keyreeve_web::{Rejected, respond};
use std::sync::Arc;

/// List the events of a key, oldest first.
///
/// The entries of the audit log about this key. They remain after the key is deleted.
#[utoipa::path(
    get, path = "/v1/api_keys/{id}/events", tag = "api keys", operation_id = "listApiKeyEvents",
    params(("id" = String, Path, description = "The key", pattern = "^ak_[0-9a-f]{32}$")),
    responses((status = 200, description = "The entries", body = AuditList)),
    security(("root_key" = ["keys:read"]))
)]
pub(crate) async fn handler(
    State(management): State<Arc<Management>>,
    Path(id): Path<String>,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let events = management.authority().keys().events(&call, key_id(&id)?).await?;
    let list = AuditList {
        data: events.iter().map(event).collect(),
        next_cursor: None,
    };
    Ok(respond::json(StatusCode::OK, &list)?)
}
