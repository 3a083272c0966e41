//! Actions on many keys: one confirmation that lists them, and a result for each.

use super::act::{PHRASE, measured};
use super::row::ShownKey;
use super::{note, row};
use crate::Dashboard;
use crate::errors::Errors;
use crate::fields::{FormFields, local};
use crate::form::SignedInForm;
use crate::labels::Labels;
use crate::page;
use crate::page_error::PageError;
use crate::people::People;
use crate::shell::{MenuEntry, Shell};
use crate::visitor::Visitor;
use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use hyper::http::request::Parts;
use keyreeve_api::Problem;
use keyreeve_authority::Failure;
use keyreeve_authority::keys::RevokeCommand;
use keyreeve_authority::model::{Done, KeyRecord};
use keyreeve_core::KeyId;
use keyreeve_core::policy::{Confirm, ReasonRule};

/// Most keys in one action. No page shows more.
const SELECTED_MAX: usize = 200;

/// The result for a key that comes after one with an error.
const NOT_TRIED: &str = "Not tried, because of the error above. This key was not changed.";

/// The actions on many keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Action {
    Revoke,
    Disable,
    Export,
}

impl Action {
    fn of(word: &str) -> Result<Self, Problem> {
        match word {
            "revoke" => Ok(Self::Revoke),
            "disable" => Ok(Self::Disable),
            "export" => Ok(Self::Export),
            _ => Err(Problem::field("action", "must be revoke, disable or export")),
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Revoke => "revoke",
            Self::Disable => "disable",
            Self::Export => "export",
        }
    }
}

/// Data of the confirmation page.
#[derive(Template)]
#[template(path = "selected.html")]
pub(crate) struct SelectedPage {
    pub(crate) shell: Shell,
    pub(crate) rows: Vec<ShownKey>,
    pub(crate) action: &'static str,
    pub(crate) question: String,
    pub(crate) submit: String,
    pub(crate) asks_phrase: bool,
    pub(crate) needs_reason: bool,
    pub(crate) asks_password: bool,
    pub(crate) reason: String,
    pub(crate) back: String,
    pub(crate) errors: Errors,
}

/// The result for one key.
#[derive(Clone, Debug)]
pub(crate) struct SelectedOutcome {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) is_done: bool,
    pub(crate) text: String,
}

/// Data of the page with the results.
#[derive(Template)]
#[template(path = "results.html")]
pub(crate) struct ResultsPage {
    pub(crate) shell: Shell,
    pub(crate) results: Vec<SelectedOutcome>,
    pub(crate) summary: String,
    pub(crate) back: String,
}

/// Shows the confirmation page, or returns the selected rows as a file.
pub(crate) async fn ask(State(app): State<Dashboard>, visitor: Visitor, parts: Parts) -> Result<Response, PageError> {
    let fields = FormFields::of_query(&parts);
    let action = Action::of(fields.raw("action"))?;
    let (records, _) = records(&app, &visitor, &fields).await?;
    let people = People::known_to(&visitor, &app).await?;
    if action == Action::Export {
        return Ok(export(&records, &visitor, &people));
    }
    crate::access::require_change(&visitor)?;
    page::ok(&page_of(&visitor, &people, &records, action, &fields))
}

/// Executes the action, key by key.
pub(crate) async fn act(State(app): State<Dashboard>, mut form: SignedInForm) -> Result<Response, PageError> {
    let action = Action::of(form.fields.raw("action"))?;
    crate::access::require_change(&form.visitor)?;
    let (records, missing) = records(&app, &form.visitor, &form.fields).await?;
    let read = wish(&form, action);
    let wish = match crate::confirm::with(&app, &mut form, read).await {
        Ok(wish) => wish,
        Err(page_error) => {
            let (status, why) = page_error.refusal().ok_or(page_error)?;
            let people = People::known_to(&form.visitor, &app).await?;
            let mut page = page_of(&form.visitor, &people, &records, action, &form.fields);
            page.errors = why;
            return page::render(status, &page);
        }
    };
    let people = People::known_to(&form.visitor, &app).await?;
    let mut results: Vec<_> = missing.into_iter().map(gone).collect();
    let mut goes_on = true;
    for record in &records {
        let name = (record.key.id.to_string(), record.key.name.to_string());
        match goes_on {
            true => {
                let result = one(&app, &form, action, &wish, &people, record).await;
                goes_on = add(&mut results, name, result)?;
            }
            false => results.push(undone(name, NOT_TRIED)),
        }
    }
    let done = results.iter().filter(|result| result.is_done).count();
    let page = ResultsPage {
        shell: Shell::new(&form.visitor, MenuEntry::OwnKeys, "What was done"),
        summary: format!("{done} of {} keys were changed.", results.len()),
        results,
        back: local(form.fields.get("back")).to_owned(),
    };
    page::ok(&page)
}

/// Reads the reason, and checks the confirmation that the policy requires.
fn wish(form: &SignedInForm, action: Action) -> Result<RevokeCommand, Errors> {
    let mut errors = Errors::default();
    let note = errors.take(note(form.fields.get("reason")));
    let code = errors.take(keyreeve_web::text::reason_code(
        "reason_code",
        form.fields.get("reason_code"),
    ));
    let asks_phrase = action == Action::Revoke && form.visitor.policy.revoke.confirm == Confirm::Phrase;
    if asks_phrase && form.fields.raw("phrase").trim() != PHRASE {
        let why = "must be REVOKE, in capital letters. No key was revoked";
        errors.take::<()>(Err(Problem::field("phrase", why)));
    }
    match (code, note) {
        (Some(code), Some(note)) => errors.none().map(|()| RevokeCommand { code, note }),
        _ => Err(errors),
    }
}

/// Adds the result for one key. Returns whether to continue with the next one. An error after others were changed is a
/// result too: a page with the error alone would report that nothing was changed.
fn add(
    results: &mut Vec<SelectedOutcome>,
    name: (String, String),
    result: Result<SelectedOutcome, PageError>,
) -> Result<bool, PageError> {
    match result {
        Ok(outcome) => {
            results.push(outcome);
            Ok(true)
        }
        Err(error) if results.iter().any(|result| result.is_done) => {
            results.push(undone(name, &error.errors().text()));
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn undone((id, name): (String, String), text: &str) -> SelectedOutcome {
    SelectedOutcome {
        id,
        name,
        is_done: false,
        text: text.to_owned(),
    }
}

async fn one(
    app: &Dashboard,
    form: &SignedInForm,
    action: Action,
    wish: &RevokeCommand,
    people: &People,
    record: &KeyRecord,
) -> Result<SelectedOutcome, PageError> {
    let (call, id, wish) = (&form.visitor.call, record.key.id, wish.clone());
    let changed = match action {
        Action::Revoke => app.authority().keys().revoke(call, id, wish).await,
        Action::Disable => app.authority().keys().disable(call, id, wish.note).await,
        // An export is a page of its own and changes nothing.
        Action::Export => return Err(PageError::not_found()),
    };
    let (is_done, text) = match changed {
        Ok(changed) if changed.done == Done::Nothing => {
            let labels = Labels::of(&form.visitor.policy);
            let already = row::already(&changed.record.key, labels, people, form.visitor.now);
            (true, already)
        }
        Ok(changed) => {
            app.note_done(&changed);
            (true, measured(&changed.effect))
        }
        Err(failure @ (Failure::Refused { .. } | Failure::NotFound)) => {
            (false, PageError::from(failure).errors().text())
        }
        Err(other) => return Err(other.into()),
    };
    Ok(SelectedOutcome {
        id: id.to_string(),
        name: record.key.name.to_string(),
        is_done,
        text,
    })
}

/// Returns the selected keys, and the ids of those that were deleted since.
async fn records(
    app: &Dashboard,
    visitor: &Visitor,
    fields: &FormFields,
) -> Result<(Vec<KeyRecord>, Vec<KeyId>), PageError> {
    let ids: Result<Vec<_>, _> = fields.all("id").take(SELECTED_MAX + 1).map(KeyId::parse).collect();
    let ids = ids.map_err(|_| PageError::not_found())?;
    if ids.is_empty() || ids.len() > SELECTED_MAX {
        let why = format!("must be chosen: 1 to {SELECTED_MAX} keys. Tick some in the list");
        return Err(Problem::field("id", &why).into());
    }
    let (mut records, mut missing) = (Vec::with_capacity(ids.len()), Vec::new());
    for id in ids {
        match app.authority().keys().get(&visitor.call, id).await {
            Ok(record) => records.push(record),
            Err(Failure::NotFound) => missing.push(id),
            Err(other) => return Err(other.into()),
        }
    }
    if records.is_empty() {
        return Err(PageError::not_found());
    }
    Ok((records, missing))
}

fn gone(id: KeyId) -> SelectedOutcome {
    SelectedOutcome {
        id: id.to_string(),
        name: id.to_string(),
        is_done: false,
        text: "The key is not there any more: somebody deleted it meanwhile.".to_owned(),
    }
}

fn page_of(
    visitor: &Visitor,
    people: &People,
    records: &[KeyRecord],
    action: Action,
    fields: &FormFields,
) -> SelectedPage {
    let keys = crate::moment::plural(u64::try_from(records.len()).unwrap_or(0), "key");
    let verb = match action {
        Action::Revoke => "Revoke",
        Action::Disable | Action::Export => "Disable",
    };
    SelectedPage {
        shell: Shell::new(visitor, MenuEntry::OwnKeys, format!("{verb} {keys}?")),
        rows: records
            .iter()
            .map(|record| row::row(record, &[], visitor, people))
            .collect(),
        action: action.word(),
        question: format!("{verb} {keys}?"),
        submit: format!("{verb} {keys}"),
        asks_phrase: action == Action::Revoke && visitor.policy.revoke.confirm == Confirm::Phrase,
        needs_reason: action == Action::Revoke && visitor.policy.revoke.reason == ReasonRule::Required,
        asks_password: !visitor.is_confirmed(),
        reason: fields.raw("reason").to_owned(),
        back: local(fields.get("back")).to_owned(),
        errors: Errors::default(),
    }
}

/// Returns the rows as a CSV file (RFC 4180).
fn export(records: &[KeyRecord], visitor: &Visitor, people: &People) -> Response {
    let labels = Labels::of(&visitor.policy);
    let mut text = String::from("id,name,key,owner,state,created,last_used,expires\r\n");
    for record in records {
        let key = &record.key;
        let time = |at: Option<keyreeve_core::Timestamp>| {
            at.map_or_else(String::new, |at| crate::moment::When::new(at, visitor.now).iso)
        };
        let cells = [
            key.id.to_string(),
            key.name.to_string(),
            row::mask(key),
            people.name_of(key.subject.as_str()),
            row::shown_state(record, labels, visitor.now).word,
            time(Some(key.created_at)),
            time(record.last_used_at),
            time(key.expires_at),
        ];
        let cells: Vec<_> = cells.iter().map(|cell| crate::audit::cell(cell)).collect();
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    }
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8"),
        (CONTENT_DISPOSITION, "attachment; filename=\"api-keys.csv\""),
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unavailable() -> PageError {
        Failure::Unavailable("a test".to_owned()).into()
    }

    fn name() -> (String, String) {
        ("key_1".to_owned(), "one".to_owned())
    }

    fn outcome(is_done: bool) -> SelectedOutcome {
        SelectedOutcome {
            is_done,
            ..undone(name(), "")
        }
    }

    #[test]
    fn an_error_before_any_change_is_the_answer() {
        let mut results = vec![outcome(false)];
        assert!(add(&mut results, name(), Err(unavailable())).is_err());
    }

    #[test]
    fn an_error_after_a_change_is_the_result_of_its_key_and_ends_the_action() {
        let mut results = Vec::new();
        assert!(matches!(add(&mut results, name(), Ok(outcome(true))), Ok(true)));
        assert!(matches!(add(&mut results, name(), Err(unavailable())), Ok(false)));
        let done: Vec<_> = results.iter().map(|result| result.is_done).collect();
        assert_eq!(done, [true, false]);
        assert!(
            results[1].text.contains("cannot reach its database"),
            "{}",
            results[1].text
        );
    }
}
