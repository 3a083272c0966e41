//! Creates a key.

use super::expiry::{Choice, choices, has_custom, wish};
use super::limits::{self, LimitFields};
use super::reveal::{MadeSecret, reveal};
use crate::Dashboard;
use crate::errors::Errors;
use crate::fields::{FormFields, local};
use crate::form::SignedInForm;
use crate::labels::Labels;
use crate::page;
use crate::page_error::PageError;
use crate::people::People;
use crate::sentences::Sentence;
use crate::shell::{MenuEntry, Shell};
use crate::visitor::Visitor;
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use hyper::http::request::Parts;
use keyreeve_authority::keys::IssueCommand;
use keyreeve_core::text::Subject;
use keyreeve_core::user::Email;
use keyreeve_web::text;

/// The name of a key that was created without one, where that is allowed (docs/acceptance.md, U-10).
const UNNAMED: &str = "Unnamed key";

/// The error for an owner that looks like a user's address and is none.
const STRANGER: &str = "No user of this tenant has this address. Correct it, or tick the box below it to create the key all the \
                        same: it then is in no user's list, and does not end with a user.";

/// Data of the form.
#[derive(Template)]
#[template(path = "create.html")]
pub(crate) struct CreatePage {
    pub(crate) shell: Shell,
    pub(crate) is_tenant: bool,
    pub(crate) choices: Vec<Choice>,
    pub(crate) has_custom: bool,
    pub(crate) owners: Vec<String>,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) owner: String,
    /// For an owner that looks like a user's address and is none: whether the box that confirms this owner is ticked.
    pub(crate) stranger: Option<bool>,
    pub(crate) scopes: String,
    /// The patterns of the scopes that the visitor may give; `None` if every scope.
    pub(crate) scopes_given: Option<String>,
    pub(crate) limits: LimitFields,
    pub(crate) expires_on: String,
    pub(crate) asks_password: bool,
    /// The idempotency token of this form: a form that is sent twice creates one key.
    pub(crate) once: String,
    pub(crate) path: &'static str,
    pub(crate) back: String,
    pub(crate) errors: Errors,
}

/// Shows the form, empty or filled in from the query. A GET creates nothing.
pub(crate) async fn ask(State(app): State<Dashboard>, visitor: Visitor, parts: Parts) -> Result<Response, PageError> {
    crate::access::require_change(&visitor)?;
    let is_tenant = parts.uri.path().starts_with("/tenant/");
    if is_tenant {
        crate::access::require_admin(&visitor)?;
    }
    let people = People::known_to(&visitor, &app).await?;
    let fields = FormFields::of_query(&parts);
    let owner = NewKeyOwner::of(&app, &visitor, &people, is_tenant, &fields).await?;
    // An unknown address is reported when the form is sent, not when it is shown.
    let page = page_of(
        &visitor,
        &people,
        is_tenant,
        &fields,
        &NewKeyOwner {
            is_stranger: false,
            ..owner
        },
    )?;
    page::ok(&page)
}

/// Creates the key and shows its secret, once.
pub(crate) async fn make(State(app): State<Dashboard>, mut form: SignedInForm) -> Result<Response, PageError> {
    crate::access::require_change(&form.visitor)?;
    let is_tenant = form.path.starts_with("/tenant/");
    if is_tenant {
        crate::access::require_admin(&form.visitor)?;
    }
    let people = People::known_to(&form.visitor, &app).await?;
    let owner = NewKeyOwner::of(&app, &form.visitor, &people, is_tenant, &form.fields).await?;
    let made = issue(&app, &mut form, &owner).await;
    if let Err(page_error) = &made
        && let Some(answer) = crate::confirm::repeated(&form.visitor, page_error).await?
    {
        return Ok(answer);
    }
    match made {
        Ok(made) => reveal(&form.visitor, &made, local(form.fields.get("back"))),
        Err(page_error) => match page_error.refusal() {
            Some((status, why)) => {
                let mut page = page_of(&form.visitor, &people, is_tenant, &form.fields, &owner)?;
                page.errors = why;
                page::render(status, &page)
            }
            None => Err(page_error),
        },
    }
}

/// The owner of a new key.
struct NewKeyOwner {
    subject: String,
    /// Whether it looks like an address, and no user of the tenant has it.
    is_stranger: bool,
}

impl NewKeyOwner {
    /// Reads the owner field: empty is the visitor, an address is a user, any other text is an id.
    async fn of(
        app: &Dashboard,
        visitor: &Visitor,
        people: &People,
        is_tenant: bool,
        fields: &FormFields,
    ) -> Result<Self, PageError> {
        let known = |subject| Self {
            subject,
            is_stranger: false,
        };
        let Some(text) = fields.get("owner").filter(|_| is_tenant) else {
            return Ok(known(visitor.user.id.to_string()));
        };
        let subject = people.id_of(text);
        let Ok(email) = Email::parse(text) else {
            return Ok(known(subject));
        };
        if subject != text {
            return Ok(known(subject));
        }
        // `people` holds only a part of the users of a large tenant; the store has all of them.
        let user = app.authority().users().of_email(&visitor.call, &email).await?;
        Ok(Self {
            is_stranger: user.is_none(),
            subject: user.map_or(subject, |user| user.id.to_string()),
        })
    }
}

/// Whether the box was ticked for exactly this owner.
fn is_meant(fields: &FormFields) -> bool {
    fields
        .get("owner_anyway")
        .is_some_and(|meant| Some(meant) == fields.get("owner"))
}

async fn issue(app: &Dashboard, form: &mut SignedInForm, owner: &NewKeyOwner) -> Result<MadeSecret, PageError> {
    let read = command(&form.visitor, owner, &form.fields);
    let command = crate::confirm::with(app, form, read).await?;
    let call = crate::confirm::once(&form.visitor, &form.fields, &form.path);
    let issued = app.authority().keys().issue(&call, vec![command]).await?;
    let key = issued.keys.into_iter().next();
    key.map(MadeSecret::created)
        .ok_or_else(|| PageError::internal("no key was made"))
}

fn command(visitor: &Visitor, owner: &NewKeyOwner, fields: &FormFields) -> Result<IssueCommand, Errors> {
    let labels = Labels::of(&visitor.policy);
    let name = match fields.get("name") {
        None if !labels.needs_name => UNNAMED,
        named => named.unwrap_or(""),
    };
    let own = visitor.user.id.to_string();
    let mut errors = Errors::default();
    // In the order of the form: the first field with an error gets the focus.
    let name = errors.take(text::name("name", name));
    let subject = errors.take(text::new_subject("owner", &owner.subject));
    if owner.is_stranger && !is_meant(fields) {
        errors.add(Sentence::about("owner", STRANGER).into());
    }
    let description = errors.take(super::description(fields));
    let expiry = errors.take(wish(&visitor.policy, fields, visitor.now));
    let scopes = errors.take(super::scopes(fields));
    let networks = errors.take(limits::networks(fields));
    let counted = errors.take(limits::counted(visitor, fields));
    match (name, subject, description, expiry, scopes, networks, counted) {
        (Some(name), Some(subject), Some(description), Some(expiry), Some(scopes), Some(networks), Some(counted)) => {
            errors.none().map(|()| IssueCommand {
                subject,
                name,
                description,
                claims: None,
                scopes,
                networks,
                counted,
                created_by: Subject::parse(&own).ok(),
                expiry,
            })
        }
        _ => Err(errors),
    }
}

fn page_of(
    visitor: &Visitor,
    people: &People,
    is_tenant: bool,
    fields: &FormFields,
    owner: &NewKeyOwner,
) -> Result<CreatePage, PageError> {
    let place = if is_tenant {
        MenuEntry::TenantKeys
    } else {
        MenuEntry::OwnKeys
    };
    let shell = Shell::new(visitor, place, Labels::of(&visitor.policy).add.trim_start_matches("+ "));
    let path = if is_tenant { "/tenant/keys/new" } else { "/keys/new" };
    Ok(CreatePage {
        is_tenant,
        choices: choices(&visitor.policy, visitor.now, None, fields.raw("expires")),
        has_custom: has_custom(&visitor.policy),
        owners: people.addresses(),
        name: fields.raw("name").to_owned(),
        description: fields.raw("description").to_owned(),
        owner: fields.raw("owner").to_owned(),
        stranger: owner.is_stranger.then(|| is_meant(fields)),
        scopes: fields.raw("scopes").to_owned(),
        scopes_given: visitor.scopes_given(),
        limits: LimitFields::of(visitor, fields, &limits::of_new_keys(&visitor.policy)),
        expires_on: fields.raw("expires_on").to_owned(),
        asks_password: !visitor.is_confirmed(),
        once: visitor.random_hex()?,
        path,
        back: fields.back_or(super::list::path_of(place)),
        shell,
        errors: Errors::default(),
    })
}
