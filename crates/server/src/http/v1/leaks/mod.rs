//! `/v1/leaks`: reports of leaked secrets. The secret is the only credential, and the answer reveals nothing.
//!
//! Tests: `e2e/leaks/test_report.py`, `e2e/hostile/test_anonymous.py`

pub(crate) mod github;
mod place;
mod signature;

pub(crate) use signature::GitHubKeys;
pub(in crate::http) use signature::not_signed;

use crate::http::call::note;
use axum::extract::{Request, State};
use axum::response::Response;
use hyper::StatusCode;
use hyper::http::request::Parts;
use keyreeve_api::leaks::{LEAKS_MAX, LeakItem, LeaksAccepted, ReportLeaks};
use keyreeve_api::problem::ErrorBody;
use keyreeve_api::{Problem, json};
use keyreeve_authority::Authority;
use keyreeve_authority::leaks::{LeakReport, LeakSource};
use keyreeve_web::address_rate_limits::AddressRateLimits;
use keyreeve_web::{Rejected, RequestInfo, body, respond};
use place::{FoundPlace, is_source, sound_url};
use std::sync::Arc;

/// Largest report: a hundred secrets, each with a URL and a note.
const REPORT_BYTES_MAX: usize = 1024 * 1024;
/// Most characters of a note. With the URL it fits into the reason of a revocation.
const NOTE_CHARS_MAX: usize = 1_000;

/// Report leaked secrets.
///
/// No other credential is needed. The answer is the same whatever the report contains, so that it does not reveal which
/// secrets exist. The tenant's policy (`leaks.action`) decides about a key that has the secret: it is revoked for good,
/// disabled until an administrator re-activates it, or the report is only recorded. The action is effective everywhere
/// when the answer comes. 429 if the address sent too many reports without a known secret.
#[utoipa::path(
    post, path = "/v1/leaks", tag = "leaks", operation_id = "reportLeaks",
    request_body = ReportLeaks,
    responses((status = 202, description = "The report was recorded", body = LeaksAccepted),
        (status = 429, description = "RATE_LIMITED", body = ErrorBody, content_type = "application/problem+json")),
    security(())
)]
pub(crate) async fn report(
    State(authority): State<Arc<Authority>>,
    State(limits): State<Arc<AddressRateLimits>>,
    request: Request,
) -> Result<Response, Rejected> {
    let (parts, incoming) = request.into_parts();
    let info = RequestInfo::of(&parts)?;
    let bodies = &limits.bodies;
    let sent = bodies
        .read(info.client, &parts.headers, incoming, REPORT_BYTES_MAX)
        .await?;
    let items = match readable(&parts, &sent.bytes) {
        Ok(items) => items,
        Err(problem) => {
            limits.leaks.allow(info.client)?;
            return Err(problem.into());
        }
    };
    let reports = items.iter().map(Item::report).collect::<Vec<_>>();
    let from = info.anonymous_caller();
    let _turn = limits.turn(info.client).await?;
    let known = authority.leaks().report(&from, LeakSource::Api, &reports).await?;
    if !known.contains(&true) {
        // Only reports without a known secret count: a known one is accepted whatever this address sent before.
        limits.leaks.allow(info.client)?;
    }
    Ok(respond::json(StatusCode::ACCEPTED, &LeaksAccepted { accepted: true })?)
}

fn readable(parts: &Parts, bytes: &[u8]) -> Result<Vec<Item>, Problem> {
    body::require_json(&parts.headers)?;
    let wish: ReportLeaks = json::parse(bytes).map_err(|error| body::refused(&error))?;
    items(wish)
}

/// A report with valid fields.
struct Item {
    secret: String,
    found: FoundPlace,
}

impl Item {
    fn report(&self) -> LeakReport<'_> {
        LeakReport {
            secret: &self.secret,
            found: self.found.without(&self.secret),
        }
    }

    fn of(item: LeakItem, within: &str) -> Result<Self, Problem> {
        let field = |name: &str| format!("{within}{name}");
        let secret = match (item.secret, item.key) {
            (Some(secret), None) | (None, Some(secret)) if !secret.is_empty() => secret,
            (None, None) => return Err(Problem::field(&field("secret"), "is required")),
            (Some(_), Some(_)) => {
                return Err(Problem::field(
                    &field("key"),
                    "cannot be given together with `secret`: both name the same field",
                ));
            }
            _ => return Err(Problem::field(&field("secret"), "must not be empty")),
        };
        let source = item.source.unwrap_or_else(|| "somebody".to_owned());
        if !is_source(&source) {
            let what = "must be 1 to 64 characters of A-Z a-z 0-9 . _ - and begin with a letter or digit";
            return Err(Problem::field(&field("source"), what));
        }
        let url = item.url.filter(|url| !url.is_empty());
        let unsound = || {
            Problem::field(
                &field("url"),
                "must be an http or https address of at most 2000 characters",
            )
        };
        let url = url.map(|url| sound_url(&url).ok_or_else(unsound)).transpose()?;
        let note = item.note.filter(|note| !note.is_empty());
        let note = note.map(|text| match text.chars().count() > NOTE_CHARS_MAX {
            true => Err(Problem::field(
                &field("note"),
                &format!("must have at most {NOTE_CHARS_MAX} characters"),
            )),
            false => note_of(&field("note"), text),
        });
        let found = FoundPlace {
            by: source,
            url,
            note: note.transpose()?,
        };
        Ok(Self { secret, found })
    }
}

fn note_of(field: &str, text: String) -> Result<String, Problem> {
    note(field, &text)?;
    Ok(text)
}

fn items(wish: ReportLeaks) -> Result<Vec<Item>, Problem> {
    let single = LeakItem {
        secret: wish.secret,
        key: wish.key,
        source: wish.source,
        url: wish.url,
        note: wish.note,
    };
    let Some(items) = wish.items else {
        return Ok(vec![Item::of(single, "")?]);
    };
    let is_alone = [&single.secret, &single.key, &single.source, &single.url, &single.note]
        .iter()
        .all(|field| field.is_none());
    if !is_alone {
        return Err(Problem::field(
            "items",
            "cannot be given together with the other fields",
        ));
    }
    if items.is_empty() || items.len() > LEAKS_MAX {
        return Err(Problem::field("items", &format!("must have 1 to {LEAKS_MAX} items")));
    }
    let items = items.into_iter().enumerate();
    items
        .map(|(place, item)| Item::of(item, &format!("items[{place}].")))
        .collect()
}
