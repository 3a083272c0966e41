//! The users of the tenant: their roles, and what ends when one is suspended or removed.

use crate::Dashboard;
use crate::errors::Errors;
use crate::fields::FormFields;
use crate::flash::Flash;
use crate::form::SignedInForm;
use crate::keys::act::measured;
use crate::moment::{When, in_all, plural};
use crate::page;
use crate::page_error::PageError;
use crate::people::People;
use crate::shell::{MenuEntry, Shell};
use crate::stale::{Stale, on_version};
use crate::visitor::Visitor;
use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use hyper::StatusCode;
use keyreeve_api::Problem;
use keyreeve_authority::model::{Total, Version};
use keyreeve_authority::users::{UserChanged, UserCommand};
use keyreeve_authority::{Conflict, Failure};
use keyreeve_core::access::Role;
use keyreeve_core::user::{Email, Status, UserEdit};
use keyreeve_core::{User, UserId};
use keyreeve_web::text;

/// Data of the page.
#[derive(Template)]
#[template(path = "users.html")]
pub(crate) struct UsersPage {
    pub(crate) shell: Shell,
    pub(crate) users: Vec<UserRow>,
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) errors: Errors,
    pub(crate) stale: Option<Stale>,
}

/// A user.
#[derive(Clone, Debug)]
pub(crate) struct UserRow {
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) role: &'static str,
    pub(crate) is_active: bool,
    pub(crate) has_password: bool,
    pub(crate) is_self: bool,
    pub(crate) created: When,
}

/// Data of the page that shows a link that works once. It is shown once.
#[derive(Template)]
#[template(path = "invited.html")]
pub(crate) struct InvitedPage {
    pub(crate) shell: Shell,
    pub(crate) email: String,
    pub(crate) link: String,
}

/// Data of the page that confirms an action on a user.
#[derive(Template)]
#[template(path = "user_act.html")]
pub(crate) struct UserActPage {
    pub(crate) shell: Shell,
    pub(crate) user: UserRow,
    pub(crate) verb: &'static str,
    pub(crate) question: String,
    pub(crate) consequence: String,
    pub(crate) submit: &'static str,
}

/// Shows the list.
pub(crate) async fn show(State(app): State<Dashboard>, visitor: Visitor) -> Result<Response, PageError> {
    crate::access::require_tenant(&visitor)?;
    let page = page_of(&app, &visitor, &FormFields::default()).await?;
    page::ok(&page)
}

/// Adds a user and shows the link by which they set a password.
pub(crate) async fn add(State(app): State<Dashboard>, form: SignedInForm) -> Result<Response, PageError> {
    crate::access::require_admin(&form.visitor)?;
    let made = match command(&form.fields) {
        Ok(command) => app
            .authority()
            .users()
            .create(&form.visitor.call, command)
            .await
            .map_err(PageError::from),
        Err(errors) => Err(errors.into()),
    };
    match made {
        Ok(user) => match invited(&app, &form.visitor, user.id).await {
            Ok(page) => Ok(page),
            // The user was added: the page of the error would report that nothing was changed.
            Err(_) => {
                let text = format!(
                    "{} was added. The link could not be made: make it in the list.",
                    user.email
                );
                form.visitor.tell(Flash::refused(text)).await?;
                Ok(page::on_to("/tenant/users"))
            }
        },
        Err(page_error) => match page_error.refusal() {
            Some((status, why)) => {
                let mut page = page_of(&app, &form.visitor, &form.fields).await?;
                page.errors = why;
                page::render(status, &page)
            }
            None => Err(page_error),
        },
    }
}

fn command(fields: &FormFields) -> Result<UserCommand, Errors> {
    let mut errors = Errors::default();
    let email = Email::parse(fields.get("email").unwrap_or(""));
    let email = errors.take(email.map_err(|error| Problem::field("email", &error.to_string())));
    let name = fields.get("name").map(|text| text::name("name", text)).transpose();
    let (name, role) = (errors.take(name), errors.take(role(fields.raw("role"))));
    match (email, name, role) {
        (Some(email), Some(name), Some(role)) => Ok(UserCommand {
            email,
            name,
            role,
            password: None,
        }),
        _ => Err(errors),
    }
}

fn role(word: &str) -> Result<Role, Problem> {
    Role::parse(word).ok_or_else(|| Problem::field("role", "must be member, admin or auditor"))
}

async fn invited(app: &Dashboard, visitor: &Visitor, id: UserId) -> Result<Response, PageError> {
    let (user, token) = app.authority().sign_in().invite(&visitor.call, id).await?;
    let page = InvitedPage {
        shell: Shell::new(visitor, MenuEntry::Users, "A link that works once"),
        email: user.email.to_string(),
        link: app.host().setup_link(token.expose()),
    };
    page::ok(&page)
}

/// Shows the confirmation before a user is suspended or removed.
pub(crate) async fn ask(
    State(app): State<Dashboard>,
    Path((id, word)): Path<(String, String)>,
    visitor: Visitor,
) -> Result<Response, PageError> {
    crate::access::require_admin(&visitor)?;
    let user = app.authority().users().get(&visitor.call, user_id(&id)?).await?;
    let keys = stopping(app.authority().users().working_keys(&visitor.call, &user).await?);
    let (verb, question, consequence, submit) = match word.as_str() {
        "suspend" => (
            "suspend",
            format!("Suspend {}?", user.email),
            format!("They are signed out, and all their keys are refused at once, until you let them in again. {keys}"),
            "Suspend user",
        ),
        "remove" => (
            "remove",
            format!("Remove {}?", user.email),
            format!(
                "They are signed out, and all their keys are refused at once and for ever. {keys} This cannot be undone."
            ),
            "Remove user",
        ),
        _ => return Err(PageError::not_found()),
    };
    let page = UserActPage {
        shell: Shell::new(&visitor, MenuEntry::Users, question.clone()),
        user: row(&user, &visitor),
        verb,
        question,
        consequence,
        submit,
    };
    page::ok(&page)
}

/// Changes a user.
pub(crate) async fn act(
    State(app): State<Dashboard>,
    Path((id, word)): Path<(String, String)>,
    form: SignedInForm,
) -> Result<Response, PageError> {
    crate::access::require_admin(&form.visitor)?;
    let id = user_id(&id)?;
    let status = |status| UserEdit {
        status: Some(status),
        ..UserEdit::default()
    };
    let edit = match word.as_str() {
        "invite" => return invited(&app, &form.visitor, id).await,
        "suspend" => status(Status::Suspended),
        "remove" => status(Status::Removed),
        "restore" => status(Status::Active),
        "role" => UserEdit {
            role: Some(role(form.fields.raw("role"))?),
            ..UserEdit::default()
        },
        _ => return Err(PageError::not_found()),
    };
    // A new role and a restored login depend on what the list showed, so they need its version. Suspending and removing
    // apply to any version.
    let call = match word.as_str() {
        "role" | "restore" => on_version(&form.visitor.call, &form.fields),
        _ => form.visitor.call.clone(),
    };
    let changed = match app.authority().users().change(&call, id, edit).await {
        Err(Failure::Outdated(conflict)) => return conflicting(&app, &form, id, &conflict).await,
        changed => changed,
    };
    let flash = match changed.map_err(PageError::from) {
        Ok(changed) => Flash::done(told(&changed)),
        Err(page_error) => match page_error.refusal() {
            Some((_, why)) => Flash::refused(why.text()),
            None => return Err(page_error),
        },
    };
    form.visitor.tell(flash).await?;
    Ok(page::on_to("/tenant/users"))
}

/// Returns how many keys stop working with a user.
fn stopping(working: Total) -> String {
    match (working.count, working.is_exact) {
        (0, true) => "No key of theirs works now.".to_owned(),
        (1, true) => "1 key of theirs works now and will stop.".to_owned(),
        _ => format!("{} keys of theirs work now and will stop.", in_all(Some(working))),
    }
}

/// Returns what a change of a user did.
fn told(changed: &UserChanged) -> String {
    let (user, keys) = (&changed.user, plural(changed.keys.into(), "key"));
    let effect = measured(&changed.effect);
    match user.status {
        Status::Suspended => format!("{} was suspended. {effect} {keys} stopped working.", user.email),
        Status::Removed => format!("{} was removed. {effect} {keys} stopped working.", user.email),
        Status::Active if changed.keys > 0 => format!("{} was let in again; {keys} may be used again.", user.email),
        Status::Active => format!("{} was changed.", user.email),
    }
}

/// Shows the list again after a conflict, with the role that was chosen and the changes since.
async fn conflicting(
    app: &Dashboard,
    form: &SignedInForm,
    id: UserId,
    conflict: &Conflict,
) -> Result<Response, PageError> {
    let visitor = &form.visitor;
    let people = People::known_to(visitor, app).await?;
    let mut page = page_of(app, visitor, &FormFields::default()).await?;
    page.stale = Some(Stale::of(conflict, &people, visitor.now));
    for row in page.users.iter_mut().filter(|row| row.id == id.to_string()) {
        row.version = conflict.present.to_tag();
        row.role = Role::parse(form.fields.raw("role")).map_or(row.role, Role::as_str);
    }
    page::render(StatusCode::PRECONDITION_FAILED, &page)
}

fn user_id(text: &str) -> Result<UserId, PageError> {
    UserId::parse(text).map_err(|_| PageError::not_found())
}

async fn page_of(app: &Dashboard, visitor: &Visitor, fields: &FormFields) -> Result<UsersPage, PageError> {
    let users = app.authority().users().list(&visitor.call, None).await?;
    Ok(UsersPage {
        shell: Shell::new(visitor, MenuEntry::Users, "Users"),
        users: users.iter().map(|user| row(user, visitor)).collect(),
        email: fields.raw("email").to_owned(),
        name: fields.raw("name").to_owned(),
        role: fields.raw("role").to_owned(),
        errors: Errors::default(),
        stale: None,
    })
}

fn row(user: &User, visitor: &Visitor) -> UserRow {
    UserRow {
        id: user.id.to_string(),
        version: Version::of_user(user).to_tag(),
        email: user.email.to_string(),
        name: user.name.as_ref().map(ToString::to_string).unwrap_or_default(),
        role: user.role.as_str(),
        is_active: user.status == Status::Active,
        has_password: user.password.is_some(),
        is_self: user.id == visitor.user.id,
        created: When::new(user.created_at, visitor.now),
    }
}
