//! `POST /v1/api_keys/revoke_many`: revokes every key that a filter matches.
//!
//! Tests: `e2e/lifecycle/test_many.py`, `e2e/lifecycle/test_filters.py`

use super::purge::time;
use super::{answered, effect};
use crate::http::call::{self, Incoming, Json};
use crate::management::Management;
use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use keyreeve_api::Problem;
use keyreeve_api::keys::{RevokeFilter, RevokeMany, RevokedMany};
use keyreeve_authority::keys::{RevokeCommand, Selection};
use keyreeve_core::KeyId;
use keyreeve_web::Rejected;
use keyreeve_web::respond;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Most keys that a call names by id.
const IDS_MAX: usize = 1_000;

/// Revoke every key that a filter matches.
///
/// Each key ends as the tenant's policy defines it, with its own entry in the audit log. When the answer comes, no
/// verifier accepts any of them. Refused without a filter, unless `all` is true; and without a reason, also in a dry run,
/// if the policy requires one. 503 `OUTCOME_UNKNOWN` after some keys were revoked: repeat the call.
#[utoipa::path(
    post, path = "/v1/api_keys/revoke_many", tag = "api keys", operation_id = "revokeManyApiKeys",
    request_body = RevokeMany,
    responses((status = 200, description = "The number of keys", body = RevokedMany)),
    security(("root_key" = ["keys:write"]))
)]
pub(crate) async fn handler(
    State(management): State<Arc<Management>>,
    Incoming {
        call,
        content: Json(wish),
    }: Incoming<Json<RevokeMany>>,
) -> Result<Response, Rejected> {
    let named = wish
        .filter
        .ids
        .as_ref()
        .map(|ids| ids.iter().collect::<BTreeSet<_>>().len());
    let selection = selection(wish.filter)?;
    let command = RevokeCommand {
        code: call::reason_code("reason_code", wish.reason_code.as_deref())?,
        note: wish
            .revocation_reason
            .map(|text| call::note("revocation_reason", &text))
            .transpose()?,
    };
    let is_dry = wish.dry_run.unwrap_or(false);
    let done = management
        .authority()
        .keys()
        .revoke_many(&call, selection, command, is_dry)
        .await?;
    let body = RevokedMany {
        matched: done.matched,
        revoked: done.revoked,
        skipped: done.skipped,
        not_found: named.map(|named| u64::try_from(named).unwrap_or(u64::MAX).saturating_sub(done.named)),
        effect: done.effect.as_ref().map(effect),
    };
    match &done.effect {
        Some(reached) => answered(&management, reached, &body),
        // A dry run changes nothing, so there is no propagation to measure.
        None => Ok(respond::json(StatusCode::OK, &body)?),
    }
}

fn selection(filter: RevokeFilter) -> Result<Selection, Problem> {
    let all = filter.all.unwrap_or(false);
    let names_some =
        filter.subject.is_some() || filter.ids.is_some() || filter.created_before.is_some() || filter.scope.is_some();
    if all == names_some {
        let why = "must name subject, ids, created_before or scope, or else all: true";
        return Err(Problem::field("filter", why));
    }
    if filter.ids.as_ref().is_some_and(|ids| ids.len() > IDS_MAX) {
        return Err(Problem::field("filter.ids", "must be 1000 ids at most"));
    }
    let subject = |text: String| call::new_subject("filter.subject", &text);
    // A malformed id counts as not found, like an unknown one.
    let ids = |ids: Vec<String>| ids.iter().filter_map(|id| KeyId::parse(id).ok()).collect();
    Ok(Selection {
        subject: filter.subject.map(subject).transpose()?,
        ids: filter.ids.map(ids),
        created_before: filter
            .created_before
            .map(|ms| time("filter.created_before", ms))
            .transpose()?,
        scope: filter.scope.map(Into::into),
    })
}
