//! The home page: which keys are failing, expire, are unused, and what changed.

use super::chart::{Day, expiries};
use super::events::{EventEntry, entry};
use super::keys::hours_ago;
use super::keys::row::UNUSED_MS;
use super::keys::view::words;
use super::moment::{When, grouped, in_all};
use super::page;
use super::page_error::PageError;
use super::people::People;
use super::shell::{MenuEntry, Shell};
use super::visitor::Visitor;
use crate::Dashboard;
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use keyreeve_authority::Failure;
use keyreeve_authority::keys::{Listing, ShownKeys};
use keyreeve_authority::model::KeyRecord;
use keyreeve_core::Timestamp;

/// Rows in each section.
const ROWS: u32 = 6;
/// Days in the strip of expiries.
const DAYS: i64 = 90;
/// Keys that the strip counts at most.
const EXPIRING_MAX: u32 = 1_000;
const EVENTS: u32 = 10;

/// Data of the home page.
#[derive(Template)]
#[template(path = "home.html")]
pub(super) struct HomePage {
    pub(super) shell: Shell,
    /// The address of the list that the visitor may see.
    pub(super) list: &'static str,
    pub(super) failing: Vec<HomeLine>,
    pub(super) expiring: Vec<HomeLine>,
    pub(super) expiring_total: String,
    pub(super) strip: Vec<Day>,
    pub(super) strip_text: String,
    pub(super) unused: Vec<HomeLine>,
    pub(super) unused_total: String,
    pub(super) events: Vec<EventEntry>,
    pub(super) has_keys: bool,
}

/// A key in one of the sections.
#[derive(Clone, Debug)]
pub(super) struct HomeLine {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) owner: String,
    pub(super) text: String,
    pub(super) when: Option<When>,
}

/// Shows the home page.
pub(super) async fn show(State(app): State<Dashboard>, visitor: Visitor) -> Result<Response, PageError> {
    let people = People::known_to(&visitor, &app).await?;
    let expiring = Listing {
        expiring_within: Some(u64::try_from(DAYS * 86_400).unwrap_or(u64::MAX)),
        limit: EXPIRING_MAX,
        ..listing()
    };
    let mut expiring = app.authority().keys().list(&visitor.call, expiring).await?;
    expiring.keys.sort_by_key(|record| record.key.expires_at);
    let before = visitor
        .now
        .millis()
        .saturating_sub(i64::try_from(UNUSED_MS).unwrap_or(i64::MAX));
    let unused = Listing {
        unused_since: Some(Timestamp::from_millis(before)),
        ..listing()
    };
    let unused = app.authority().keys().list(&visitor.call, unused).await?;
    let events = app.authority().audit().recent(&visitor.call, EVENTS).await?;
    let ends: Vec<_> = expiring
        .keys
        .iter()
        .filter_map(|record| record.key.expires_at)
        .collect();
    let line = |record: &KeyRecord, at: Option<Timestamp>, text: &str| HomeLine {
        id: record.key.id.to_string(),
        name: record.key.name.to_string(),
        owner: people.name_of(record.key.subject.as_str()),
        text: text.to_owned(),
        when: at.map(|at| When::new(at, visitor.now)),
    };
    let rows = usize::try_from(ROWS).unwrap_or(usize::MAX);
    let page = HomePage {
        list: if visitor.sees_tenant() { "/tenant/keys" } else { "/keys" },
        failing: failing(&app, &visitor, &people).await?,
        strip: expiries(&ends, visitor.now, DAYS + 1),
        strip_text: format!("{} keys expire in the next {DAYS} days", in_all(expiring.total)),
        expiring: expiring
            .keys
            .iter()
            .take(rows)
            .map(|record| line(record, record.key.expires_at, "expires"))
            .collect(),
        expiring_total: in_all(expiring.total),
        unused: unused
            .keys
            .iter()
            .take(rows)
            .map(|record| match record.last_used_at {
                Some(at) => line(record, Some(at), "last used"),
                None => line(record, Some(record.key.created_at), "never used, created"),
            })
            .collect(),
        unused_total: in_all(unused.total),
        events: events.iter().map(|event| entry(event, &people, visitor.now)).collect(),
        has_keys: has_keys(&app, &visitor).await?,
        shell: Shell::new(&visitor, MenuEntry::Home, "Home"),
    };
    page::ok(&page)
}

fn listing() -> Listing {
    Listing::first(ShownKeys::Usable, ROWS)
}

async fn has_keys(app: &Dashboard, visitor: &Visitor) -> Result<bool, PageError> {
    let any = Listing::first(ShownKeys::All, 1);
    Ok(app
        .authority()
        .keys()
        .list(&visitor.call, any)
        .await?
        .total
        .is_some_and(|total| total.count > 0))
}

/// Returns the keys with the most denials in the last 24 hours.
async fn failing(app: &Dashboard, visitor: &Visitor, people: &People) -> Result<Vec<HomeLine>, PageError> {
    let since = hours_ago(visitor.now, 24);
    let counts = app.authority().keys().refused(&visitor.call, since).await?;
    let mut lines = Vec::new();
    for count in counts.iter().take(usize::try_from(ROWS).unwrap_or(usize::MAX)) {
        let record = match app.authority().keys().get(&visitor.call, count.key).await {
            Ok(record) => record,
            // Deleted since it was counted.
            Err(Failure::NotFound) => continue,
            Err(other) => return Err(other.into()),
        };
        lines.push(HomeLine {
            id: record.key.id.to_string(),
            name: record.key.name.to_string(),
            owner: people.name_of(record.key.subject.as_str()),
            text: format!(
                "{} × {}",
                grouped(count.count),
                words(&count.outcome).trim_start_matches("Refused: ")
            ),
            when: None,
        });
    }
    Ok(lines)
}
