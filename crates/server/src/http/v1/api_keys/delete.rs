//! `DELETE /v1/api_keys/{id}`: deletes a key's record.
//!
//! Tests: `e2e/hostile/test_lifecycle.py`, `e2e/lifecycle/test_lost_updates.py`, `e2e/clerk-js/api-keys.test.mjs`

use super::{answered, effect};
use crate::http::call::{self, Incoming, NoBody, key_id};
use crate::http::query::Parameters;
use crate::management::Management;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use keyreeve_api::keys::DeletedKey;
use keyreeve_web::Rejected;
use std::sync::Arc;

/// Delete a key's record.
///
/// Allowed in every state. When the answer comes, the secret is refused everywhere; it is never issued again. The audit
/// log keeps its entries.
#[utoipa::path(
    delete, path = "/v1/api_keys/{id}", tag = "api keys", operation_id = "deleteApiKey",
    params(
        ("id" = String, Path, description = "The key", pattern = "^ak_[0-9a-f]{32}$"),
        ("reason" = Option<String>, Query, description = "Reason, for the audit log", max_length = 2000,
            pattern = r"^[^\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x9F\u202A-\u202E\u2066-\u2069]*$"),
    ),
    responses((status = 200, description = "The key is deleted", body = DeletedKey)),
    security(("root_key" = ["keys:write"]))
)]
pub(crate) async fn handler(
    State(management): State<Arc<Management>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let id = key_id(&id)?;
    let parameters = Parameters::parse(query.as_deref(), &["reason"])?;
    let note = parameters
        .get("reason")
        .map(|text| call::note("reason", text))
        .transpose()?;
    let done = management.authority().keys().delete(&call, id, note).await?;
    let gone = DeletedKey {
        object: "api_key",
        id: id.to_string(),
        deleted: true,
        effect: effect(&done),
    };
    answered(&management, &done, &gone)
}
