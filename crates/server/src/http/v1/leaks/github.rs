//! `POST /v1/leaks/github`: findings of GitHub's secret scanning, in the form of its partner programme.
//!
//! Tests: `e2e/leaks/test_github.py`, `e2e/hostile/test_anonymous.py`

use super::GitHubKeys;
use super::place::{FoundPlace, is_source, sound_url};
use axum::extract::{Request, State};
use axum::response::Response;
use hyper::StatusCode;
use keyreeve_api::leaks::{GitHubLabel, GitHubMatch, github_matches};
use keyreeve_api::problem::ErrorBody;
use keyreeve_api::{Code, Problem};
use keyreeve_authority::Authority;
use keyreeve_authority::leaks::{LeakReport, LeakSource};
use keyreeve_core::hex;
use keyreeve_web::address_rate_limits::AddressRateLimits;
use keyreeve_web::{Rejected, RequestInfo, body, respond};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// Largest message, and most matches in one.
const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
const MATCHES_MAX: usize = 10_000;
/// Longest name of a kind of secret.
const KIND_BYTES_MAX: usize = 256;

/// Receive findings of GitHub's secret scanning.
///
/// The message must be signed by GitHub (ECDSA P-256 with SHA-256 over the exact body); others are refused with 403.
/// The answer has for each match whether a key has or had that secret.
#[utoipa::path(
    post, path = "/v1/leaks/github", tag = "leaks", operation_id = "reportGithubLeaks",
    params(("Github-Public-Key-Identifier" = String, Header, description = "The id of GitHub's key that signed", pattern = "^[A-Za-z0-9]{1,128}$"),
        ("Github-Public-Key-Signature" = String, Header, description = "The signature, DER in Base64", max_length = 256)),
    request_body = Vec<GitHubMatch>,
    responses((status = 200, description = "The label of each match", body = Vec<GitHubLabel>),
        (status = 403, description = "SIGNATURE_INVALID", body = ErrorBody, content_type = "application/problem+json"),
        (status = 429, description = "RATE_LIMITED", body = ErrorBody, content_type = "application/problem+json")),
    security(())
)]
pub(crate) async fn report(
    State(authority): State<Arc<Authority>>,
    State(limits): State<Arc<AddressRateLimits>>,
    State(keys): State<Arc<GitHubKeys>>,
    request: Request,
) -> Result<Response, Rejected> {
    let (parts, incoming) = request.into_parts();
    let info = RequestInfo::of(&parts)?;
    let bodies = &limits.bodies;
    let sent = bodies
        .read(info.client, &parts.headers, incoming, MESSAGE_BYTES_MAX)
        .await?;
    let bytes = &sent.bytes;
    let _turn = limits.turn(info.client).await?;
    if let Err(problem) = keys.check(&parts.headers, bytes, authority.moment()).await {
        authority.leaks().refuse(LeakSource::GitHub);
        // Only unsigned messages count: a report by GitHub is accepted whatever this address sent before.
        limits.leaks.allow(info.client)?;
        return Err(problem.into());
    }
    let matches = github_matches(bytes).map_err(|error| body::refused(&error))?;
    if matches.len() > MATCHES_MAX {
        let detail = format!("The message has more than {MATCHES_MAX} matches. Send fewer at once.");
        return Err(Problem::new(Code::PayloadTooLarge, detail).into());
    }
    let reports = matches.iter().map(report_of).collect::<Vec<_>>();
    let known = authority
        .leaks()
        .report(&info.anonymous_caller(), LeakSource::GitHub, &reports)
        .await?;
    let labels = matches
        .iter()
        .zip(known)
        .map(|(found, is_known)| label(found, is_known));
    Ok(respond::json(StatusCode::OK, &labels.collect::<Vec<_>>())?)
}

fn report_of(found: &GitHubMatch) -> LeakReport<'_> {
    let part = found.source.as_deref().filter(|part| is_source(part));
    let place = FoundPlace {
        by: part.map_or_else(|| "github".to_owned(), |part| format!("github ({part})")),
        url: found.url.as_deref().and_then(sound_url),
        note: None,
    };
    LeakReport {
        secret: &found.token,
        found: place.without(&found.token),
    }
}

fn label(found: &GitHubMatch, is_known: bool) -> GitHubLabel {
    GitHubLabel {
        token_hash: hex(&Sha256::digest(found.token.as_bytes())),
        token_type: found.kind.chars().take(KIND_BYTES_MAX).collect(),
        label: if is_known { "true_positive" } else { "false_positive" },
    }
}
