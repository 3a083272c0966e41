//! `POST /oauth2/revoke` (RFC 7009): a key holder revokes its key with nothing but the secret.
//!
//! Tests: `e2e/oauth/test_revoke.py`

use super::form::OauthForm;
use crate::http::v1;
use crate::management::Management;
use axum::extract::{Request, State};
use axum::response::Response;
use hyper::StatusCode;
use keyreeve_api::keys::RevokeKey;
use keyreeve_api::oauth::RevokeForm;
use keyreeve_api::problem::ErrorBody;
use keyreeve_authority::possession::Possession;
use keyreeve_core::text::Note;
use keyreeve_web::address_rate_limits::AddressRateLimits;
use keyreeve_web::{Rejected, RequestInfo, respond};
use std::sync::Arc;

/// The reason in the audit log if the request has none.
const REASON: &str = "revoked with the secret itself, at /oauth2/revoke";

/// Revoke the key of a secret (RFC 7009).
///
/// No other credential is needed. The answer is the same for an unknown secret. For a known one it comes when no
/// verifier accepts the key any more. `reason_code=leaked` is final under every policy. 429 if the address sent too
/// many unknown secrets.
#[utoipa::path(
    post, path = "/oauth2/revoke", tag = "oauth", operation_id = "revokeToken",
    request_body(content = RevokeForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "The secret is not valid, or is revoked now", body = Object),
        (status = 429, description = "temporarily_unavailable", body = ErrorBody),
        (status = 503, description = "temporarily_unavailable", body = ErrorBody)),
    security(())
)]
pub(crate) async fn handler(
    State(management): State<Arc<Management>>,
    State(limits): State<Arc<AddressRateLimits>>,
    request: Request,
) -> Result<Response, Rejected> {
    let (parts, incoming) = request.into_parts();
    let info = RequestInfo::of(&parts)?;
    let form = OauthForm::read_anonymous(&limits, info, &parts, incoming).await?;
    let token = form.token()?;
    let mut command = v1::api_keys::revoke::command(RevokeKey {
        revocation_reason: form.get("revocation_reason").map(str::to_owned),
        reason_code: form.get("reason_code").map(str::to_owned),
    })?;
    command.note = command.note.or_else(|| Note::parse(REASON).ok());
    let from = info.anonymous_caller();
    let _turn = limits.turn(info.client).await?;
    match management
        .authority()
        .keys()
        .revoke_presented(&from, token, command)
        .await?
    {
        Possession::Ended(change) => management.note_done(&change),
        Possession::EndedBefore => {}
        // Only unknown secrets count: a known one is revoked whatever this address sent before.
        Possession::Unknown => limits.revocations.allow(info.client)?,
    }
    Ok(respond::json_bytes(StatusCode::OK, "{}"))
}
