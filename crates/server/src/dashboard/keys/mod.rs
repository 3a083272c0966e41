//! Pages about keys: the lists, one key, and a page for each thing that can be done.

pub(super) mod act;
pub(super) mod create;
pub(super) mod edit;
pub(super) mod expiry;
pub(super) mod limits;
pub(super) mod list;
pub(super) mod pair;
pub(super) mod reveal;
pub(super) mod rotate;
pub(super) mod row;
pub(super) mod selected;
pub(super) mod view;

use super::chart::HOUR_MS;
use super::form::Fields;
use super::labels::Labels;
use super::people::People;
use super::shell::Place;
use super::trouble::Trouble;
use super::visitor::Visitor;
use crate::App;
use crate::http::call;
use keyreeve_api::Problem;
use keyreeve_core::lifecycle::State;
use keyreeve_core::scope::Scopes;
use keyreeve_core::text::{Description, Note};
use keyreeve_core::{KeyId, Timestamp};
use keyreeve_store::model::{KeyRecord, UsageCount};
use row::Row;

/// A key of an address, with what was counted lately, ready to be shown.
pub(super) struct Found {
    pub(super) record: KeyRecord,
    pub(super) counts: Vec<UsageCount>,
    pub(super) row: Row,
    pub(super) people: People,
}

/// Looks a key up. What is no id is as unknown as an id that does not exist, or another's.
pub(super) async fn find(app: &App, visitor: &Visitor, id: &str) -> Result<Found, Trouble> {
    let id = KeyId::parse(id).map_err(|_| Trouble::not_found())?;
    let record = app.authority().get(&visitor.call, id).await?;
    let since = hours_ago(visitor.now, super::chart::BARS_HOURS);
    let until = visitor.now.plus_seconds(1);
    let counts = app.authority().key_usage(&visitor.call, id, since, until).await?;
    let people = People::known_to(visitor, app).await?;
    let row = row::row(&record, &counts, visitor, &people);
    Ok(Found {
        record,
        counts,
        row,
        people,
    })
}

/// Why there is no form to fill in for a verb: what the key is already, and since when.
fn closed(found: &Found, visitor: &Visitor, verb: &str) -> Option<String> {
    let why = match (&found.record.key.state, verb) {
        (State::Active, _) | (State::Revoked(_), "delete") => return None,
        (State::Revoked(_), "rotate") => "A revoked key cannot be rotated: create another one.",
        (State::Revoked(_), "edit") => "A revoked key cannot be edited.",
        (State::Revoked(_), _) => "Nothing more can be done to it.",
        (State::Disabled(_), "rotate") => "Re-activate it before you rotate it.",
        (State::Disabled(_), _) => return None,
    };
    let labels = Labels::of(&visitor.policy);
    let already = row::already(&found.record.key, labels, &found.people, visitor.now);
    Some(format!("{already} {why}"))
}

pub(super) fn hours_ago(now: Timestamp, hours: i64) -> Timestamp {
    Timestamp::from_millis(now.millis().saturating_sub(hours.saturating_mul(HOUR_MS)))
}

/// Where a key belongs in the menu: among one's own, or the tenant's.
pub(super) fn place_of(visitor: &Visitor, record: &KeyRecord) -> Place {
    match visitor.user.subject() {
        Some(own) if own == record.key.subject => Place::OwnKeys,
        Some(_) | None => Place::TenantKeys,
    }
}

/// The scopes of a form, with blanks between them.
fn scopes(fields: &Fields) -> Result<Scopes, Problem> {
    let scopes: Vec<_> = fields.raw("scopes").split_whitespace().map(str::to_owned).collect();
    call::scopes("scopes", &scopes)
}

/// What is said of the key in a form; `None` if nothing is.
fn description(fields: &Fields) -> Result<Option<Description>, Problem> {
    let text = fields.get("description");
    text.map(|text| call::description("description", text)).transpose()
}

/// A reason as it was typed; `None` if nothing was.
pub(super) fn note(text: Option<&str>) -> Result<Option<Note>, Problem> {
    text.map(|text| crate::http::text::note("reason", text)).transpose()
}
