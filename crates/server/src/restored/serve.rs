//! The requests about a restore, which only the socket in the data directory accepts: `GET` shows the state, `POST`
//! with `choice` or `release` begins work.

use super::jobs::{RestoreService, RestoreWork, start};
use crate::verdict_service::VerdictService;
use axum::body::Body;
use hyper::{Method, Response, StatusCode};
use keyreeve_api::{Code, Family, Problem};
use keyreeve_authority::restored::{Release, RestoreChoice, RestoreStanding};
use keyreeve_core::text::{Slug, Subject};
use keyreeve_core::{KeyId, Timestamp};
use keyreeve_web::respond;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The path at which a running server answers, only on the socket in its data directory.
pub const ADDRESS: &str = "/operator/restore";

/// Answers a request. The parameters are in the query.
pub(crate) async fn serve(
    service: &Arc<RestoreService>,
    verdicts: &VerdictService,
    method: &Method,
    query: Option<&str>,
) -> Response<Body> {
    let answered = match *method {
        Method::GET => state(service).await,
        Method::POST => work(query.unwrap_or_default()).and_then(|work| match start(service, work) {
            true => Ok(json!({"is_started": true})),
            false => Err(busy()),
        }),
        _ => Err(Problem::new(Code::BadRequest, "Only GET and POST are answered here.")),
    };
    let id = verdicts.new_request_id();
    let answer = answered.and_then(|body| respond::json(StatusCode::OK, &body));
    answer.unwrap_or_else(|problem| respond::problem(&problem, Family::Problem, &id))
}

fn busy() -> Problem {
    let detail = "Another command about the restore is running. Wait for its end.";
    Problem::new(Code::BadRequest, detail)
}

async fn state(service: &RestoreService) -> Result<Value, Problem> {
    let standing = service
        .authority
        .restore()
        .standing()
        .await
        .map_err(|_| respond::no_verdict())?;
    let (word, record) = match standing {
        RestoreStanding::Never => ("never", None),
        RestoreStanding::Interrupted(record) => ("interrupted", Some(record)),
        RestoreStanding::Undecided(record) => ("undecided", Some(record)),
        RestoreStanding::Decided(record) => ("decided", Some(record)),
    };
    let mut body = json!({
        "state": word,
        "is_verifying": service.authority.verifier().withheld().is_none(),
        "work": service.jobs.describe(),
    });
    if let (Some(record), Some(body)) = (record, body.as_object_mut()) {
        let fields = [
            ("copy_revision", json!(record.from.revision)),
            ("copy_taken_at", json!(record.from.taken_at.millis())),
            ("unknown_since", json!(record.unknown_since.millis())),
            ("unknown_until", json!(record.unknown_until.millis())),
            ("denied_again", json!(record.reapplied)),
            ("held", json!(record.held)),
            ("choice", json!(record.choice.map(RestoreChoice::as_str))),
        ];
        body.extend(fields.map(|(name, value)| (name.to_owned(), value)));
    }
    Ok(body)
}

/// Reads what is requested.
fn work(query: &str) -> Result<RestoreWork, Problem> {
    let given: BTreeMap<_, _> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let text = |name: &str| given.get(name).map(String::as_str);
    let time = |name: &str| -> Result<Option<Timestamp>, Problem> {
        let parsed = text(name).map(str::parse::<i64>).transpose();
        let parsed = parsed.map_err(|_| Problem::field(name, "must be a time in milliseconds"))?;
        Ok(parsed.map(Timestamp::from_millis))
    };
    if given.contains_key("release") {
        let wrong = |name: &'static str| move || Problem::field(name, "is not valid");
        let filter = Release {
            tenant: text("tenant")
                .map(Slug::parse)
                .transpose()
                .map_err(|_| wrong("tenant")())?,
            subject: text("subject")
                .map(Subject::parse)
                .transpose()
                .map_err(|_| wrong("subject")())?,
            id: text("id").map(KeyId::parse).transpose().map_err(|_| wrong("id")())?,
            scope: text("scope").map(Into::into),
            created_before: time("created_before")?,
        };
        return Ok(RestoreWork::Release(filter, given.contains_key("dry_run")));
    }
    let since = time("since")?;
    let choice = match (text("choice"), since) {
        (Some("hold_all"), None) => RestoreChoice::HoldAll,
        (Some("hold_since"), Some(since)) => RestoreChoice::HoldSince(since),
        (Some("accept"), None) => RestoreChoice::Accept,
        _ => {
            let why = "must be hold_all, hold_since with a time, or accept";
            return Err(Problem::field("choice", why));
        }
    };
    let reason = text("reason").unwrap_or_default().to_owned();
    Ok(RestoreWork::Decide(choice, reason))
}
