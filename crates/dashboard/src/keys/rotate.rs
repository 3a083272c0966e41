//! Rotates a key: new secret, same id.

use super::expiry::{Choice, choices, has_custom, wish};
use super::reveal::{MadeSecret, reveal};
use super::row::ShownKey;
use super::{FoundKey, closed, find};
use crate::Dashboard;
use crate::errors::Errors;
use crate::fields::{FormFields, local};
use crate::form::SignedInForm;
use crate::moment::length;
use crate::page;
use crate::page_error::PageError;
use crate::shell::Shell;
use crate::stale::{is_untouched, shown};
use crate::visitor::Visitor;
use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use hyper::http::request::Parts;
use keyreeve_api::Problem;
use keyreeve_authority::keys::RotateCommand;
use keyreeve_core::policy::{ExpiryWish, OverlapWish, Preset};
use keyreeve_web::text;

/// The overlaps in seconds that the form offers: none, 15 minutes, 1, 6 and 24 hours, a week.
const OVERLAPS: [u64; 6] = [0, 900, 3_600, 21_600, 86_400, 604_800];

/// Data of the form.
#[derive(Template)]
#[template(path = "rotate.html")]
pub(crate) struct RotatePage {
    pub(crate) shell: Shell,
    pub(crate) row: ShownKey,
    pub(crate) choices: Vec<Choice>,
    pub(crate) has_custom: bool,
    pub(crate) overlaps: Vec<Choice>,
    pub(crate) name: String,
    /// The name that the form was shown with. If it is not touched, the key keeps its present name.
    pub(crate) shown: String,
    pub(crate) expires_on: String,
    pub(crate) asks_password: bool,
    pub(crate) once: String,
    pub(crate) back: String,
    /// Why the key, as it is now, has no such form; shown in its place.
    pub(crate) closed: Option<String>,
    pub(crate) errors: Errors,
}

/// Shows the form.
pub(crate) async fn ask(
    State(app): State<Dashboard>,
    Path(id): Path<String>,
    visitor: Visitor,
    parts: Parts,
) -> Result<Response, PageError> {
    crate::access::require_change(&visitor)?;
    let found = find(&app, &visitor, &id).await?;
    let page = page_of(&visitor, found, &FormFields::of_query(&parts))?;
    page::ok(&page)
}

/// Rotates the key and shows its new secret, once.
pub(crate) async fn rotate(
    State(app): State<Dashboard>,
    Path(id): Path<String>,
    mut form: SignedInForm,
) -> Result<Response, PageError> {
    crate::access::require_change(&form.visitor)?;
    let found = find(&app, &form.visitor, &id).await?;
    let made = carry_out(&app, &mut form, &found).await;
    if let Err(page_error) = &made
        && let Some(answer) = crate::confirm::repeated(&form.visitor, page_error).await?
    {
        return Ok(answer);
    }
    match made {
        Ok(made) => reveal(&form.visitor, &made, local(form.fields.get("back"))),
        Err(page_error) => match page_error.refusal() {
            Some((status, why)) => {
                let mut page = page_of(&form.visitor, found, &form.fields)?;
                page.errors = why;
                page::render(status, &page)
            }
            None => Err(page_error),
        },
    }
}

async fn carry_out(app: &Dashboard, form: &mut SignedInForm, found: &FoundKey) -> Result<MadeSecret, PageError> {
    let read = command(&form.visitor, &form.fields);
    let command = crate::confirm::with(app, form, read).await?;
    let call = crate::confirm::once(&form.visitor, &form.fields, &form.path);
    let rotated = app
        .authority()
        .keys()
        .rotate(&call, found.record.key.id, command)
        .await?;
    app.note_rotation(&rotated);
    Ok(MadeSecret::rotated(rotated))
}

fn command(visitor: &Visitor, fields: &FormFields) -> Result<RotateCommand, Errors> {
    let mut errors = Errors::default();
    let named = fields.get("name").filter(|_| !is_untouched(fields, "name"));
    let command = RotateCommand {
        name: errors
            .take(named.map(|text| text::name("name", text)).transpose())
            .flatten(),
        expiry: errors
            .take(wish(&visitor.policy, fields, visitor.now))
            .unwrap_or(ExpiryWish::Unsaid),
        overlap: errors.take(overlap(fields)).unwrap_or(OverlapWish::Unsaid),
    };
    errors.none().map(|()| command)
}

fn overlap(fields: &FormFields) -> Result<OverlapWish, Problem> {
    let Some(text) = fields.get("overlap") else {
        return Ok(OverlapWish::Unsaid);
    };
    let seconds = text.parse().ok().filter(|seconds| OVERLAPS.contains(seconds));
    let unknown = || Problem::field("overlap", "must be one of the choices of the form");
    seconds.map(OverlapWish::Seconds).ok_or_else(unknown)
}

fn page_of(visitor: &Visitor, found: FoundKey, fields: &FormFields) -> Result<RotatePage, PageError> {
    let policy = &visitor.policy;
    // Userplane requires one of its five choices at each rotation (docs/acceptance.md, U-30).
    let kept = (policy.preset != Preset::Erase).then_some(found.record.key.expires_at);
    let title = format!("Rotate “{}”", found.row.name);
    let stored = FormFields::of([("name", found.record.key.name.to_string())]);
    Ok(RotatePage {
        shown: shown(fields, &stored),
        closed: closed(&found, visitor, "rotate"),
        shell: Shell::new(visitor, super::place_of(visitor, &found.record), title),
        choices: choices(policy, visitor.now, kept, fields.raw("expires")),
        has_custom: has_custom(policy),
        overlaps: overlaps(policy, fields),
        name: if fields.has("name") {
            fields.raw("name").to_owned()
        } else {
            found.record.key.name.to_string()
        },
        expires_on: fields.raw("expires_on").to_owned(),
        asks_password: !visitor.is_confirmed(),
        once: visitor.random_hex()?,
        back: fields.back_or(&format!("/keys/{}", found.row.id)),
        row: found.row,
        errors: Errors::default(),
    })
}

/// Returns the overlaps that the policy allows.
fn overlaps(policy: &keyreeve_core::Policy, fields: &FormFields) -> Vec<Choice> {
    let rules = policy.rotate;
    let chosen = fields
        .get("overlap")
        .and_then(|text| text.parse().ok())
        .unwrap_or(rules.overlap_default_seconds);
    let offered = OVERLAPS
        .into_iter()
        .filter(|&seconds| seconds <= rules.overlap_max_seconds);
    let choice = |seconds: u64| Choice {
        value: seconds.to_string(),
        label: match seconds {
            0 => "At once".to_owned(),
            seconds => format!("After {}", length(seconds)),
        },
        is_chosen: seconds == chosen,
    };
    let all: Vec<_> = offered.map(choice).collect();
    // A single choice is not shown.
    if all.len() > 1 { all } else { Vec::new() }
}
