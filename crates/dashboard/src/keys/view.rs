//! A key's page: its use over time, its history, its denials, and the available actions.

use super::find;
use super::pair::{Sides, sides};
use super::row::ShownKey;
use crate::Dashboard;
use crate::chart::{self, Bars, ChartWindow, WINDOWS};
use crate::events::{EventEntry, entry};
use crate::fields::FormFields;
use crate::moment::{When, grouped};
use crate::page;
use crate::page_error::PageError;
use crate::shell::Shell;
use crate::visitor::Visitor;
use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use hyper::StatusCode;
use hyper::http::request::Parts;
use keyreeve_authority::model::{Trace, UsageCount};
use keyreeve_core::KeyId;
use std::collections::BTreeMap;

/// Most denials and most addresses that the page shows.
const TRACES_SHOWN: usize = 20;

/// Data of a key's page.
#[derive(Template)]
#[template(path = "key.html")]
pub(crate) struct KeyViewPage {
    pub(crate) shell: Shell,
    pub(crate) row: ShownKey,
    pub(crate) here: String,
    pub(crate) chart: Bars,
    pub(crate) window: &'static str,
    pub(crate) windows: &'static [ChartWindow],
    /// The counts of the window by outcome.
    pub(crate) outcomes: Vec<(&'static str, String)>,
    pub(crate) life: Vec<EventEntry>,
    pub(crate) refusals: Vec<Origin>,
    pub(crate) places: Vec<Origin>,
    /// The use of both secrets while a rotation overlaps.
    pub(crate) sides: Option<Sides>,
    pub(crate) effect: Option<String>,
}

/// The origin of verify calls: an address with one outcome.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) outcome: &'static str,
    /// Whether the calls used the retiring secret.
    pub(crate) is_old: bool,
    pub(crate) address: String,
    pub(crate) count: String,
    pub(crate) last: When,
}

/// Shows a key's page.
pub(crate) async fn show(
    State(app): State<Dashboard>,
    Path(id): Path<String>,
    visitor: Visitor,
    parts: Parts,
) -> Result<Response, PageError> {
    let found = find(&app, &visitor, &id).await?;
    let key_id = found.record.key.id;
    let fields = FormFields::of_query(&parts);
    let window = ChartWindow::of(fields.raw("window"));
    let until = visitor.now.plus_seconds(1);
    let counts = app
        .authority()
        .keys()
        .usage(&visitor.call, key_id, window.since(visitor.now), until)
        .await?;
    let traces = app.authority().keys().traces(&visitor.call, key_id).await?;
    let events = app.authority().keys().events(&visitor.call, key_id).await?;
    let here = format!("/keys/{key_id}");
    let is_valid = |trace: &&Trace| trace.outcome.starts_with("valid");
    let place = |trace: &Trace| place(trace, &visitor);
    let page = KeyViewPage {
        here,
        chart: chart::large(counts.iter(), window, visitor.now),
        window: window.word,
        windows: &WINDOWS,
        outcomes: outcomes(&counts),
        life: events
            .iter()
            .rev()
            .map(|event| entry(event, &found.people, visitor.now))
            .collect(),
        refusals: traces
            .iter()
            .filter(|trace| !is_valid(trace))
            .take(TRACES_SHOWN)
            .map(place)
            .collect(),
        places: traces
            .iter()
            .filter(is_valid)
            .filter(|trace| !trace.address.is_empty())
            .take(TRACES_SHOWN)
            .map(place)
            .collect(),
        sides: sides(&app, &visitor, &found).await?,
        effect: app
            .host()
            .last_effects()
            .newest(&key_id.to_string())
            .map(|newest| super::act::measured(&newest.effect)),
        shell: Shell::new(
            &visitor,
            super::place_of(&visitor, &found.record),
            found.row.name.clone(),
        ),
        row: found.row,
    };
    page::ok(&page)
}

fn place(trace: &Trace, visitor: &Visitor) -> Origin {
    Origin {
        outcome: words(&trace.outcome),
        is_old: trace.outcome == "valid_retiring",
        address: if trace.address.is_empty() {
            "not said".to_owned()
        } else {
            trace.address.clone()
        },
        count: grouped(trace.count),
        last: When::new(trace.last_at, visitor.now),
    }
}

fn outcomes(counts: &[UsageCount]) -> Vec<(&'static str, String)> {
    let mut sums = BTreeMap::<&str, u64>::new();
    for count in counts {
        *sums.entry(words(&count.outcome)).or_default() += count.count;
    }
    let known = counts.iter().map(|count| words(&count.outcome));
    let mut rows: Vec<(&'static str, String)> = Vec::new();
    for word in known {
        if !rows.iter().any(|(named, _)| *named == word) {
            rows.push((word, grouped(sums.get(word).copied().unwrap_or(0))));
        }
    }
    rows
}

/// Returns an outcome in words.
pub(crate) fn words(outcome: &str) -> &'static str {
    match outcome {
        "valid" => "Accepted",
        "valid_retiring" => "Accepted with the old secret",
        "revoked" => "Refused: revoked",
        "rotated" => "Refused: the secret was replaced",
        "erased" => "Refused: deleted",
        "owner_blocked" => "Refused: the owner is blocked",
        "disabled" => "Refused: disabled",
        "not_yet_valid" => "Refused: not yet valid",
        "expired" => "Refused: expired",
        "address" => "Refused: address not allowed",
        "scope" => "Refused: a scope is missing",
        "limited" => "Refused: too many requests",
        _ => "Refused",
    }
}

/// Returns whether a key has been used, for the page that waits for its first use.
pub(crate) async fn first_use(
    State(app): State<Dashboard>,
    Path(id): Path<String>,
    visitor: Visitor,
) -> Result<Response, PageError> {
    let id = KeyId::parse(&id).map_err(|_| PageError::not_found())?;
    let record = app.authority().keys().get(&visitor.call, id).await?;
    let traces = app.authority().keys().traces(&visitor.call, id).await?;
    let from = traces
        .iter()
        .find(|trace| trace.outcome.starts_with("valid") && !trace.address.is_empty());
    let text = match (record.is_presented, from) {
        (false, _) => None,
        (true, Some(trace)) => Some(format!("First used just now from {}.", trace.address)),
        (true, None) => Some("First used just now.".to_owned()),
    };
    let body = serde_json::json!({ "text": text }).to_string();
    Ok(keyreeve_web::respond::json_bytes(StatusCode::OK, body))
}
