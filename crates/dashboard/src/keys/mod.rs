//! Pages about keys: the lists, a key's page, and a page for each action.

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
use super::fields::FormFields;
use super::labels::Labels;
use super::page_error::PageError;
use super::people::People;
use super::shell::MenuEntry;
use super::visitor::Visitor;
use crate::Dashboard;
use keyreeve_api::Problem;
use keyreeve_authority::model::{KeyRecord, UsageCount};
use keyreeve_core::lifecycle::State;
use keyreeve_core::scope::Scopes;
use keyreeve_core::text::{Description, Note};
use keyreeve_core::{KeyId, Timestamp};
use keyreeve_web::text;
use row::ShownKey;

/// A key with its recent counts, ready to be shown.
pub(super) struct FoundKey {
    pub(super) record: KeyRecord,
    pub(super) counts: Vec<UsageCount>,
    pub(super) row: ShownKey,
    pub(super) people: People,
}

/// Finds a key. A malformed id, an unknown id and the id of another owner's key give the same error.
pub(super) async fn find(app: &Dashboard, visitor: &Visitor, id: &str) -> Result<FoundKey, PageError> {
    let id = KeyId::parse(id).map_err(|_| PageError::not_found())?;
    let record = app.authority().keys().get(&visitor.call, id).await?;
    let since = hours_ago(visitor.now, super::chart::BARS_HOURS);
    let until = visitor.now.plus_seconds(1);
    let counts = app.authority().keys().usage(&visitor.call, id, since, until).await?;
    let people = People::known_to(visitor, app).await?;
    let row = row::row(&record, &counts, visitor, &people);
    Ok(FoundKey {
        record,
        counts,
        row,
        people,
    })
}

/// Returns why an action has no form for the key as it is now.
fn closed(found: &FoundKey, visitor: &Visitor, verb: &str) -> Option<String> {
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

/// Returns the menu entry of a key: the visitor's own keys, or those of the tenant.
pub(super) fn place_of(visitor: &Visitor, record: &KeyRecord) -> MenuEntry {
    match visitor.user.subject() {
        Some(own) if own == record.key.subject => MenuEntry::OwnKeys,
        Some(_) | None => MenuEntry::TenantKeys,
    }
}

/// Reads the scopes of a form, separated by white space.
fn scopes(fields: &FormFields) -> Result<Scopes, Problem> {
    let scopes: Vec<_> = fields.raw("scopes").split_whitespace().map(str::to_owned).collect();
    text::scopes("scopes", &scopes)
}

/// Reads the description of a form; `None` if it is empty.
fn description(fields: &FormFields) -> Result<Option<Description>, Problem> {
    let text = fields.get("description");
    text.map(|text| text::description("description", text)).transpose()
}

/// Reads a reason; `None` if it is empty.
pub(super) fn note(text: Option<&str>) -> Result<Option<Note>, Problem> {
    text.map(|text| text::note("reason", text)).transpose()
}
