//! Changing what is written about a key.

use super::expiry::{Choice, choices, has_custom, wish};
use super::limits::{self, LimitFields};
use super::row::Row;
use super::{Found, find};
use crate::App;
use crate::dashboard::form::{Fields, Form};
use crate::dashboard::page;
use crate::dashboard::shell::{Flash, Shell};
use crate::dashboard::trouble::Trouble;
use crate::dashboard::visitor::Visitor;
use crate::http::call;
use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use hyper::http::request::Parts;
use keyreeve_api::Problem;
use keyreeve_core::lifecycle::Edit;

/// The form.
#[derive(Template)]
#[template(path = "edit.html")]
pub(in crate::dashboard) struct EditPage {
    pub(in crate::dashboard) shell: Shell,
    pub(in crate::dashboard) row: Row,
    /// Empty where the policy keeps expiries as they are.
    pub(in crate::dashboard) choices: Vec<Choice>,
    pub(in crate::dashboard) has_custom: bool,
    pub(in crate::dashboard) name: String,
    pub(in crate::dashboard) description: String,
    pub(in crate::dashboard) scopes: String,
    pub(in crate::dashboard) limits: LimitFields,
    pub(in crate::dashboard) expires_on: String,
    pub(in crate::dashboard) back: String,
    pub(in crate::dashboard) error: Option<String>,
}

/// The form, filled in with the key as it is.
pub(in crate::dashboard) async fn ask(
    State(app): State<App>,
    Path(id): Path<String>,
    visitor: Visitor,
    parts: Parts,
) -> Result<Response, Trouble> {
    crate::dashboard::require_change(&visitor)?;
    let found = find(&app, &visitor, &id).await?;
    page::ok(&page_of(&visitor, found, &Fields::of_query(&parts)))
}

/// Saves it.
pub(in crate::dashboard) async fn save(
    State(app): State<App>,
    Path(id): Path<String>,
    form: Form,
) -> Result<Response, Trouble> {
    let (visitor, fields) = (&form.visitor, &form.fields);
    let found = find(&app, visitor, &id).await?;
    let saved = match edit(visitor, fields) {
        Ok(edit) => app
            .authority()
            .update(&visitor.call, found.record.key.id, edit)
            .await
            .map_err(Trouble::from),
        Err(problem) => Err(problem.into()),
    };
    match saved {
        Ok(changed) => {
            app.note_done(&changed);
            let flash = Flash::done(format!("“{}” was saved.", changed.record.key.name));
            visitor.tell(flash).await?;
            Ok(page::on_to(page::local(fields.get("back"))))
        }
        Err(trouble) => match trouble.refusal() {
            Some((status, why)) => {
                let mut page = page_of(visitor, found, fields);
                page.error = Some(why);
                page::render(status, &page)
            }
            None => Err(trouble),
        },
    }
}

fn edit(visitor: &Visitor, fields: &Fields) -> Result<Edit, Problem> {
    Ok(Edit {
        name: Some(call::name("name", fields.get("name").unwrap_or(""))?),
        description: Some(
            fields
                .get("description")
                .map(|text| call::description("description", text))
                .transpose()?,
        ),
        claims: None,
        scopes: Some(super::scopes(fields)?),
        networks: fields.has("networks").then(|| limits::networks(fields)).transpose()?,
        counted: limits::counted(visitor, fields)?,
        subject: None,
        expiry: wish(&visitor.policy, fields, visitor.now)?,
    })
}

fn page_of(visitor: &Visitor, found: Found, fields: &Fields) -> EditPage {
    let key = &found.record.key;
    let filled = |name: &str, stored: &str| match fields.has(name) {
        true => fields.raw(name).to_owned(),
        false => stored.to_owned(),
    };
    let scopes: Vec<_> = key.scopes.iter().collect();
    let choices = match visitor.policy.expiry.editable {
        true => choices(
            &visitor.policy,
            visitor.now,
            Some(key.expires_at),
            fields.raw("expires"),
        ),
        false => Vec::new(),
    };
    EditPage {
        shell: Shell::new(
            visitor,
            super::place_of(visitor, &found.record),
            format!("Edit “{}”", key.name),
        ),
        choices,
        has_custom: has_custom(&visitor.policy),
        name: filled("name", key.name.as_str()),
        description: filled("description", key.description.as_ref().map_or("", |text| text.as_str())),
        scopes: filled("scopes", &scopes.join(" ")),
        limits: LimitFields::of(visitor, fields, &key.limits),
        expires_on: fields.raw("expires_on").to_owned(),
        back: fields.back_or(&format!("/keys/{}", key.id)),
        row: found.row,
        error: None,
    }
}
