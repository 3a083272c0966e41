//! Edits a key's name, description, scopes, expiry and limits.

use super::expiry::{Choice, choices, has_custom, wish};
use super::limits::{self, LimitFields};
use super::row::ShownKey;
use super::{FoundKey, closed, find};
use crate::Dashboard;
use crate::errors::Errors;
use crate::fields::{FormFields, local};
use crate::flash::Flash;
use crate::form::SignedInForm;
use crate::page;
use crate::page_error::PageError;
use crate::shell::Shell;
use crate::stale::{SeenFields, Stale, merged, on_version};
use crate::visitor::Visitor;
use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use hyper::StatusCode;
use hyper::http::request::Parts;
use keyreeve_authority::model::Version;
use keyreeve_authority::{Conflict, Failure};
use keyreeve_core::lifecycle::Edit;
use keyreeve_core::policy::ExpiryWish;
use keyreeve_web::text;

/// Data of the form.
#[derive(Template)]
#[template(path = "edit.html")]
pub(crate) struct EditPage {
    pub(crate) shell: Shell,
    pub(crate) row: ShownKey,
    /// Empty if the policy does not allow an expiry to change.
    pub(crate) choices: Vec<Choice>,
    pub(crate) has_custom: bool,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) scopes: String,
    /// The patterns of the scopes that the visitor may give; `None` if every scope.
    pub(crate) scopes_given: Option<String>,
    pub(crate) limits: LimitFields,
    pub(crate) expires_on: String,
    pub(crate) back: String,
    /// Why the key, as it is now, has no such form; shown in its place.
    pub(crate) closed: Option<String>,
    pub(crate) errors: Errors,
    pub(crate) stale: Option<Stale>,
    pub(crate) seen: SeenFields,
}

/// Shows the form, filled in with the present values of the key.
pub(crate) async fn ask(
    State(app): State<Dashboard>,
    Path(id): Path<String>,
    visitor: Visitor,
    parts: Parts,
) -> Result<Response, PageError> {
    crate::access::require_change(&visitor)?;
    let found = find(&app, &visitor, &id).await?;
    page::ok(&page_of(&visitor, found, &FormFields::of_query(&parts)))
}

/// Saves the changes.
pub(crate) async fn save(
    State(app): State<Dashboard>,
    Path(id): Path<String>,
    form: SignedInForm,
) -> Result<Response, PageError> {
    let (visitor, fields) = (&form.visitor, &form.fields);
    crate::access::require_change(visitor)?;
    let found = find(&app, visitor, &id).await?;
    let saved = match edit(visitor, fields) {
        Ok(edit) => app
            .authority()
            .keys()
            .update(&on_version(&visitor.call, fields), found.record.key.id, edit)
            .await
            .map_err(|failure| match failure {
                Failure::Outdated(conflict) => Err(conflict),
                other => Ok(PageError::from(other)),
            }),
        Err(errors) => Err(Ok(errors.into())),
    };
    match saved {
        Ok(changed) => {
            app.note_done(&changed);
            let flash = Flash::done(format!("“{}” was saved.", changed.record.key.name));
            visitor.tell(flash).await?;
            Ok(page::on_to(local(fields.get("back"))))
        }
        Err(Err(conflict)) => conflicting(&app, visitor, fields, &id, &conflict).await,
        Err(Ok(page_error)) => match page_error.refusal() {
            Some((status, why)) => {
                let mut page = page_of(visitor, found, fields);
                page.errors = why;
                page::render(status, &page)
            }
            None => Err(page_error),
        },
    }
}

/// Shows the form again after a conflict: touched fields as typed, the others as the key is now.
async fn conflicting(
    app: &Dashboard,
    visitor: &Visitor,
    fields: &FormFields,
    id: &str,
    conflict: &Conflict,
) -> Result<Response, PageError> {
    let found = find(app, visitor, id).await?;
    let present = form_of(visitor, &found);
    let stale = Stale::of(conflict, &found.people, visitor.now);
    let mut page = page_of(visitor, found, &merged(fields, &present));
    page.stale = Some(stale);
    page.seen = SeenFields::new(&conflict.present, &present);
    page::render(StatusCode::PRECONDITION_FAILED, &page)
}

/// Returns the form's fields for the present values of a key.
fn form_of(visitor: &Visitor, found: &FoundKey) -> FormFields {
    let key = &found.record.key;
    let limits = LimitFields::of(visitor, &FormFields::default(), &key.limits);
    let texts = [
        ("name", key.name.to_string()),
        (
            "description",
            key.description.as_ref().map(ToString::to_string).unwrap_or_default(),
        ),
        ("scopes", key.scopes.joined()),
        ("networks", limits.networks),
    ];
    FormFields::of(texts.into_iter().chain(limits.lines.map(|lines| ("limits", lines))))
}

fn edit(visitor: &Visitor, fields: &FormFields) -> Result<Edit, Errors> {
    let mut errors = Errors::default();
    let edit = Edit {
        name: errors.take(text::name("name", fields.get("name").unwrap_or(""))),
        description: errors.take(super::description(fields)),
        claims: None,
        expiry: errors
            .take(wish(&visitor.policy, fields, visitor.now))
            .unwrap_or(ExpiryWish::Unsaid),
        scopes: errors.take(super::scopes(fields)),
        networks: match fields.has("networks") {
            true => errors.take(limits::networks(fields)),
            false => None,
        },
        counted: errors.take(limits::counted(visitor, fields)).flatten(),
        subject: None,
    };
    errors.none().map(|()| edit)
}

fn page_of(visitor: &Visitor, found: FoundKey, fields: &FormFields) -> EditPage {
    let key = &found.record.key;
    let filled = |name: &str, stored: &str| match fields.has(name) {
        true => fields.raw(name).to_owned(),
        false => stored.to_owned(),
    };
    let choices = match visitor.policy.expiry.editable {
        true => choices(
            &visitor.policy,
            visitor.now,
            Some(key.expires_at),
            fields.raw("expires"),
        ),
        false => Vec::new(),
    };
    let version = Version::of_key(key);
    EditPage {
        seen: SeenFields::kept(fields, &version, &form_of(visitor, &found)),
        stale: None,
        closed: closed(&found, visitor, "edit"),
        shell: Shell::new(
            visitor,
            super::place_of(visitor, &found.record),
            format!("Edit “{}”", key.name),
        ),
        choices,
        has_custom: has_custom(&visitor.policy),
        name: filled("name", key.name.as_str()),
        description: filled("description", key.description.as_ref().map_or("", |text| text.as_str())),
        scopes: filled("scopes", &key.scopes.joined()),
        scopes_given: visitor.scopes_given(),
        limits: LimitFields::of(visitor, fields, &key.limits),
        expires_on: fields.raw("expires_on").to_owned(),
        back: fields.back_or(&format!("/keys/{}", key.id)),
        row: found.row,
        errors: Errors::default(),
    }
}
