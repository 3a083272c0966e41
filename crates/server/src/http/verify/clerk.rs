//! Clerk's verify: returns the key, or 404 for every denial. No SDK reads `revoked` or `expired` of a 200 (clerk-wire,
//! section 7).

use crate::http::call::default_tenant;
use crate::http::v1;
use crate::verdict_service::VerdictService;
use axum::body::Body;
use hyper::{Response, StatusCode};
use keyreeve_api::{Code, Problem};
use keyreeve_authority::Failure;
use keyreeve_authority::verify::{Question, Via};
use keyreeve_core::access::Reach;
use keyreeve_web::respond;

pub(super) async fn answer(verdicts: &VerdictService, reach: &Reach, secret: &str) -> Result<Response<Body>, Problem> {
    // Clerk's clients do not receive the tenant of a key, so without a named tenant only keys of `default` are
    // accepted.
    let narrowed = match reach {
        Reach::Instance => Some(Reach::Tenant(default_tenant()?)),
        Reach::Tenant(_) => None,
    };
    let asked = Question {
        via: Via::Api,
        reach: narrowed.as_ref().unwrap_or(reach),
        scopes: &[],
        now: verdicts.authority().now(),
        address: None,
        cost: Some(1),
    };
    let verdict = verdicts.verdict(secret, &asked).await;
    match (verdict.outcome, &verdict.entry) {
        (Ok(()), Some(entry)) => match verdicts.authority().keys().record_of(entry).await {
            Ok(record) => respond::json(
                StatusCode::OK,
                &v1::api_keys::object(&record, verdicts.authority().now()),
            ),
            Err(Failure::NotFound) => Err(not_found()),
            Err(_) => Err(respond::no_verdict()),
        },
        (Err(denial), _) if denial.is_no_verdict() => Err(respond::no_verdict_for(denial)),
        (Ok(()) | Err(_), _) => Err(not_found()),
    }
}

fn not_found() -> Problem {
    Problem::new(Code::NotFound, "API key not found")
}
