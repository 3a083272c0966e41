//! The verification operations of the published document. Their routes are matched before the router, so they are
//! described here by hand.
//!
//! Tests: `e2e/hostile/test_direct.py`, `e2e/hostile/test_bodies.py`, `e2e/gateways/test_faces.py`,
//! `e2e/clerk-js/api-keys.test.mjs`

use keyreeve_api::keys::ApiKey;
use keyreeve_api::problem::ErrorBody;
use keyreeve_api::verify::{Verdict, Verdicts, VerifyBatch, VerifyKey, VerifySecret};
use utoipa::OpenApi;

/// Verification in the published document.
#[derive(OpenApi)]
#[openapi(paths(verify, verify_batch, verify_api_key))]
pub(crate) struct VerifyDocument;

/// Verify a key.
///
/// The call succeeds with 200 whatever the verdict is. `code` and `status` are for the relying service to pass on;
/// `reason` is for its own log. 503 if no verdict can be given now: it is never a guess.
#[utoipa::path(
    post, path = "/v1/verify", tag = "verify", operation_id = "verify",
    request_body = VerifyKey<'_>,
    responses(
        (status = 200, description = "The verdict", body = Verdict),
        (status = 400, description = "BAD_REQUEST", body = ErrorBody, content_type = "application/problem+json"),
        (status = 401, description = "ROOT_KEY_REQUIRED, ROOT_KEY_INVALID", body = ErrorBody, content_type = "application/problem+json"),
        (status = 403, description = "PERMISSION_DENIED", body = ErrorBody, content_type = "application/problem+json"),
        (status = 413, description = "PAYLOAD_TOO_LARGE", body = ErrorBody, content_type = "application/problem+json"),
        (status = 415, description = "UNSUPPORTED_MEDIA_TYPE", body = ErrorBody, content_type = "application/problem+json"),
        (status = 503, description = "SERVICE_UNAVAILABLE", body = Verdict),
    ),
    security(("root_key" = ["keys:verify"]))
)]
#[expect(dead_code, reason = "only its description is used")]
fn verify() {}

/// Verify up to 100 keys at once.
///
/// The verdicts are in the order of the items. 503 if at least one verdict cannot be given now.
#[utoipa::path(
    post, path = "/v1/verify/batch", tag = "verify", operation_id = "verifyBatch",
    request_body = VerifyBatch<'_>,
    responses(
        (status = 200, description = "The verdicts", body = Verdicts),
        (status = 400, description = "BAD_REQUEST", body = ErrorBody, content_type = "application/problem+json"),
        (status = 401, description = "ROOT_KEY_REQUIRED, ROOT_KEY_INVALID", body = ErrorBody, content_type = "application/problem+json"),
        (status = 403, description = "PERMISSION_DENIED", body = ErrorBody, content_type = "application/problem+json"),
        (status = 413, description = "PAYLOAD_TOO_LARGE", body = ErrorBody, content_type = "application/problem+json"),
        (status = 415, description = "UNSUPPORTED_MEDIA_TYPE", body = ErrorBody, content_type = "application/problem+json"),
        (status = 503, description = "SERVICE_UNAVAILABLE", body = Verdicts),
    ),
    security(("root_key" = ["keys:verify"]))
)]
#[expect(dead_code, reason = "only its description is used")]
fn verify_batch() {}

/// Verify a key as Clerk's API does.
///
/// Returns the key without its secret, or 404 for every denial. Without `Keyreeve-Tenant`, a root key of the instance
/// accepts keys of the tenant `default` only.
#[utoipa::path(
    post, path = "/v1/api_keys/verify", tag = "api keys", operation_id = "verifyAPIKey",
    request_body = VerifySecret<'_>,
    responses(
        (status = 200, description = "The key", body = ApiKey),
        (status = 400, description = "bad_request", body = ErrorBody),
        (status = 401, description = "authorization_header_format_invalid, clerk_key_invalid", body = ErrorBody),
        (status = 403, description = "authorization_invalid", body = ErrorBody),
        (status = 404, description = "resource_not_found: unknown, revoked, expired, …", body = ErrorBody),
        (status = 413, description = "payload_too_large", body = ErrorBody),
        (status = 415, description = "unsupported_media_type", body = ErrorBody),
        (status = 503, description = "SERVICE_UNAVAILABLE", body = ErrorBody),
    ),
    security(("root_key" = ["keys:verify"]))
)]
#[expect(dead_code, reason = "only its description is used")]
fn verify_api_key() {}
