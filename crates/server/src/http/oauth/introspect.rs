//! `POST /oauth2/introspect` (RFC 7662). It returns the same verdict as every other endpoint, in the terms of OAuth.
//!
//! Tests: `e2e/oauth/test_introspect.py`

use super::Issuer;
use super::caller;
use super::form::OauthForm;
use crate::http::answer;
use crate::verdict_service::VerdictService;
use axum::extract::{Request, State};
use axum::response::Response;
use hyper::StatusCode;
use keyreeve_api::oauth::{ActiveToken, IntrospectForm, Introspection, TokenDetails};
use keyreeve_api::problem::ErrorBody;
use keyreeve_api::{Code, Problem};
use keyreeve_authority::verify::{Question, Verdict, Via};
use keyreeve_core::Timestamp;
use keyreeve_core::coherence::Entry;
use keyreeve_core::verdict::SecretStanding;
use keyreeve_web::{Rejected, respond};
use serde_json::value::RawValue;
use std::sync::Arc;

/// The largest distance of `exp` from now, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LongestExpiry(pub(crate) u64);

/// Introspect a token (RFC 7662).
///
/// The caller is a root key with `keys:verify`, by HTTP basic (its id and its secret) or as a bearer token. For every
/// token that is not accepted the answer is `{"active": false}` without a reason. `exp` is at most
/// `introspection.max_exp` seconds from now: gateways cache an answer until then, so it bounds the time for which one
/// may still accept a revoked key.
#[utoipa::path(
    post, path = "/oauth2/introspect", tag = "oauth", operation_id = "introspect",
    request_body(content = IntrospectForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "The introspection response; `active` is false for a token that is not valid", body = Introspection),
        (status = 401, description = "invalid_client", body = ErrorBody),
        (status = 403, description = "insufficient_scope", body = ErrorBody),
        (status = 503, description = "temporarily_unavailable", body = ErrorBody)),
    security(("root_key" = ["keys:verify"]), ("root_key_basic" = []))
)]
pub(crate) async fn handler(
    State(verdicts): State<Arc<VerdictService>>,
    State(issuer): State<Arc<Issuer>>,
    State(longest): State<LongestExpiry>,
    request: Request,
) -> Result<Response, Rejected> {
    let (parts, incoming) = request.into_parts();
    let reach = caller::reach(&verdicts, answer::peer(&parts)?, &parts.headers).await?;
    let form = OauthForm::read(&parts, incoming).await?;
    // Again, because the client may have held the body back for longer than a revocation took.
    caller::require_unrevoked(&verdicts, answer::peer(&parts)?, &parts.headers).await?;
    let question = Question {
        via: Via::Introspect,
        reach: &reach,
        scopes: &[],
        now: verdicts.authority().now(),
        address: None,
        // Whether a token is active does not depend on its use, and introspection consumes no limit.
        cost: None,
    };
    let verdict = verdicts.verdict(form.token()?, &question).await;
    let token = match (&verdict.outcome, &verdict.entry) {
        // A denial is not known here: neither "active" nor "inactive" would be true.
        (Err(denial), _) if denial.is_no_verdict() => return Err(respond::no_verdict_for(*denial).into()),
        (Ok(()), Some(entry)) => Some(active(entry, &verdict, question.now, longest, &issuer)?),
        (Ok(()) | Err(_), _) => None,
    };
    let answer = Introspection {
        active: token.is_some(),
        token,
    };
    Ok(respond::json(StatusCode::OK, &answer)?)
}

fn active(
    entry: &Entry,
    verdict: &Verdict,
    now: Timestamp,
    longest: LongestExpiry,
    issuer: &Issuer,
) -> Result<ActiveToken, Problem> {
    let claims = entry.claims().map(|claims| RawValue::from_string(claims.to_owned()));
    let claims = claims.transpose().map_err(|error| {
        tracing::error!(%error, key = %entry.key_id(), "the claims of a key are not JSON");
        Problem::new(Code::InternalError, "The claims of the key cannot be read.")
    })?;
    let issued = seconds(entry.key_id().made_at());
    Ok(ActiveToken {
        scope: entry.scopes().to_owned(),
        client_id: entry.key_id().to_string(),
        token_type: "Bearer",
        exp: good_until(entry, now, longest.0),
        iat: issued,
        nbf: issued,
        sub: entry.subject().to_owned(),
        aud: entry.gate().slug().to_string(),
        iss: issuer.get().map(str::to_owned),
        jti: entry.key_id().to_string(),
        keyreeve: TokenDetails {
            tenant: entry.gate().slug().to_string(),
            key_id: entry.key_id().to_string(),
            name: entry.name().to_owned(),
            scopes: entry.scopes().split_ascii_whitespace().map(str::to_owned).collect(),
            claims,
            expiration: entry.expires_at().map(Timestamp::millis),
            revision: verdict.revision,
        },
    })
}

/// Returns the end of validity of an answer given now: the end of the key or of this secret, and at most `max` seconds
/// from now.
fn good_until(entry: &Entry, now: Timestamp, max: u64) -> i64 {
    let retires_at = match entry.facts().secret {
        SecretStanding::Retiring(until) => Some(until),
        SecretStanding::Live | SecretStanding::Retired | SecretStanding::Tombstone => None,
    };
    let ends = [entry.expires_at(), retires_at, Some(now.plus_seconds(max))];
    let soonest = ends.into_iter().flatten().min();
    seconds(soonest.unwrap_or(now))
}

/// Returns seconds, rounded down so that the result is never later than the time itself.
fn seconds(time: Timestamp) -> i64 {
    time.millis().div_euclid(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_core::coherence::{Gate, NewEntry};
    use keyreeve_core::policy::Reveal;
    use keyreeve_core::text::Slug;
    use keyreeve_core::user::Status;
    use keyreeve_core::verdict::KeyStanding;
    use keyreeve_core::{Digest, KeyId};

    const NOW: Timestamp = Timestamp::from_millis(10_999);

    fn entry(expires_at: Option<i64>, secret: SecretStanding) -> Entry {
        Entry::new(&NewEntry {
            digest: Digest::of(b"x"),
            key_id: KeyId::new(NOW, 0, [0; 10]),
            gate: Arc::new(Gate::new(Slug::parse("t").unwrap(), Status::Active, Reveal::None)),
            secret,
            key: KeyStanding::Active,
            expires_at: expires_at.map(Timestamp::from_millis),
            subject: "s",
            name: "n",
            scopes: "",
            limits: "",
            claims: None,
            is_presented: false,
        })
        .unwrap()
    }

    #[test]
    fn an_answer_is_good_until_the_soonest_of_all_ends_and_never_later() {
        let until = |expires_at, secret| good_until(&entry(expires_at, secret), NOW, 60);
        let retiring = |at| SecretStanding::Retiring(Timestamp::from_millis(at));
        assert_eq!(until(None, SecretStanding::Live), 70);
        assert_eq!(until(Some(500_000), SecretStanding::Live), 70);
        assert_eq!(until(Some(20_999), SecretStanding::Live), 20);
        assert_eq!(until(Some(20_999), retiring(15_000)), 15);
        assert_eq!(until(None, retiring(500_000)), 70);
    }

    #[test]
    fn a_key_was_issued_when_its_id_was_made() {
        assert_eq!(seconds(entry(None, SecretStanding::Live).key_id().made_at()), 10);
    }
}
