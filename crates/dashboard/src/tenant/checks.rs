//! The check policies: what gateways require of keys, and what to write into a gateway's configuration.

use crate::Dashboard;
use crate::errors::Errors;
use crate::fields::FormFields;
use crate::flash::Flash;
use crate::form::SignedInForm;
use crate::keys::act::measured;
use crate::page;
use crate::page_error::PageError;
use crate::people::People;
use crate::shell::{MenuEntry, Shell};
use crate::stale::{SeenFields, Stale, merged, on_version};
use crate::visitor::Visitor;
use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use hyper::StatusCode;
use keyreeve_api::Problem;
use keyreeve_api::seconds::Whole;
use keyreeve_authority::check::ManagedCheckPolicy;
use keyreeve_authority::model::Version;
use keyreeve_authority::tenants::DEFAULT_TENANT;
use keyreeve_authority::{Conflict, Failure};
use keyreeve_core::CheckPolicy;
use keyreeve_core::check::{CheckPolicyEdit, GatewayCredential};
use keyreeve_core::text::CheckPolicyName;
use keyreeve_web::check_policy_text as text;

const ADDRESS: &str = "/tenant/check-policies";

/// Data of the list's page.
#[derive(Template)]
#[template(path = "checks.html")]
pub(crate) struct ChecksPage {
    pub(crate) shell: Shell,
    pub(crate) checks: Vec<CheckRow>,
    pub(crate) form: CheckForm,
    pub(crate) errors: Errors,
}

/// A check policy in the list.
#[derive(Clone, Debug)]
pub(crate) struct CheckRow {
    pub(crate) name: String,
    /// Its name in a gateway's path.
    pub(crate) path: String,
    pub(crate) is_built_in: bool,
    pub(crate) scopes: Vec<String>,
    pub(crate) headers: String,
    pub(crate) rules: Vec<String>,
}

/// The fields of the form as text.
#[derive(Clone, Default, Debug)]
pub(crate) struct CheckForm {
    pub(crate) name: String,
    pub(crate) scopes: String,
    pub(crate) headers: String,
    pub(crate) realm: String,
    pub(crate) seconds: String,
    pub(crate) meta: bool,
    pub(crate) credential: String,
}

/// Data of the page that edits a check policy.
#[derive(Template)]
#[template(path = "check_edit.html")]
pub(crate) struct CheckEditPage {
    pub(crate) shell: Shell,
    pub(crate) form: CheckForm,
    pub(crate) errors: Errors,
    pub(crate) stale: Option<Stale>,
    pub(crate) seen: SeenFields,
}

/// Data of the page that confirms a removal.
#[derive(Template)]
#[template(path = "check_remove.html")]
pub(crate) struct CheckRemovePage {
    pub(crate) shell: Shell,
    pub(crate) name: String,
    pub(crate) consequence: &'static str,
}

/// Shows the list.
pub(crate) async fn show(State(app): State<Dashboard>, visitor: Visitor) -> Result<Response, PageError> {
    crate::access::require_tenant(&visitor)?;
    let built_in = CheckPolicy::any(known("default")?);
    let form = CheckForm {
        name: String::new(),
        ..form_of(&built_in)
    };
    page::ok(&list(&app, &visitor, form, Errors::default()).await?)
}

/// Creates a check policy.
pub(crate) async fn add(State(app): State<Dashboard>, form: SignedInForm) -> Result<Response, PageError> {
    crate::access::require_admin(&form.visitor)?;
    let sent = sent(&form.fields);
    let mut errors = Errors::default();
    let name = errors.take(text::name(sent.name.trim()));
    let edit = read(&sent, &mut errors);
    let made = match (name, errors.none()) {
        (Some(name), Ok(())) => {
            let policy = CheckPolicy::any(name).edited(edit);
            let made = app
                .authority()
                .check_policies()
                .create(&form.visitor.call, policy)
                .await;
            made.map_err(PageError::from)
        }
        (_, Err(errors)) => Err(errors.into()),
        (None, Ok(())) => Err(PageError::internal("a name is neither good nor wrong")),
    };
    match made {
        Ok((made, effect)) => {
            let text = format!("{} was made. {}", made.policy.name, measured(&effect));
            form.visitor.tell(Flash::done(text)).await?;
            Ok(page::on_to(ADDRESS))
        }
        Err(page_error) => match page_error.refusal() {
            Some((status, why)) => {
                let page = list(&app, &form.visitor, sent, why).await?;
                page::render(status, &page)
            }
            None => Err(page_error),
        },
    }
}

/// Shows the form to edit a check policy, or the confirmation of its removal.
pub(crate) async fn ask(
    State(app): State<Dashboard>,
    Path((name, verb)): Path<(String, String)>,
    visitor: Visitor,
) -> Result<Response, PageError> {
    crate::access::require_admin(&visitor)?;
    let found = app
        .authority()
        .check_policies()
        .get(&visitor.call, &known(&name)?)
        .await?;
    match verb.as_str() {
        "edit" => {
            let form = form_of(&found.policy);
            let seen = SeenFields::new(&version_of(&visitor, &found), &fields_of(&form));
            page::ok(&edit_page(&visitor, form, seen))
        }
        "remove" => page::ok(&CheckRemovePage {
            shell: Shell::new(&visitor, MenuEntry::Checks, format!("Remove {name}?")),
            consequence: match name.as_str() {
                "default" => "It is again as it comes: any key of this tenant, without scopes.",
                _ => "Gateways that still name it let nobody through, from now on.",
            },
            name,
        }),
        _ => Err(PageError::not_found()),
    }
}

/// Changes or removes a check policy.
pub(crate) async fn act(
    State(app): State<Dashboard>,
    Path((name, verb)): Path<(String, String)>,
    form: SignedInForm,
) -> Result<Response, PageError> {
    crate::access::require_admin(&form.visitor)?;
    let name = known(&name)?;
    let sent = CheckForm {
        name: name.to_string(),
        ..sent(&form.fields)
    };
    let (word, done) = match verb.as_str() {
        "edit" => {
            let mut errors = Errors::default();
            let edit = read(&sent, &mut errors);
            if let Err(errors) = errors.none() {
                return refused(&form, sent, &errors.into());
            }
            let call = on_version(&form.visitor.call, &form.fields);
            let changed = app.authority().check_policies().change(&call, name.clone(), edit).await;
            ("changed", changed)
        }
        "remove" => {
            let removed = app
                .authority()
                .check_policies()
                .remove(&form.visitor.call, name.clone());
            ("removed", removed.await)
        }
        _ => return Err(PageError::not_found()),
    };
    match done {
        Ok((managed, effect)) => {
            let text = format!("{} was {word}. {}", managed.policy.name, measured(&effect));
            form.visitor.tell(Flash::done(text)).await?;
            Ok(page::on_to(ADDRESS))
        }
        Err(Failure::Outdated(conflict)) => conflicting(&app, &form, &name, &conflict).await,
        Err(failure) => refused(&form, sent, &failure.into()),
    }
}

/// Shows the form again after a conflict: touched fields as typed, the others as the policy is now.
async fn conflicting(
    app: &Dashboard,
    form: &SignedInForm,
    name: &CheckPolicyName,
    conflict: &Conflict,
) -> Result<Response, PageError> {
    let visitor = &form.visitor;
    let found = app.authority().check_policies().get(&visitor.call, name).await?;
    let present = fields_of(&form_of(&found.policy));
    let people = People::known_to(visitor, app).await?;
    let kept = CheckForm {
        name: name.to_string(),
        ..sent(&merged(&form.fields, &present))
    };
    let mut page = edit_page(visitor, kept, SeenFields::new(&conflict.present, &present));
    page.stale = Some(Stale::of(conflict, &people, visitor.now));
    page::render(StatusCode::PRECONDITION_FAILED, &page)
}

fn refused(form: &SignedInForm, sent: CheckForm, page_error: &PageError) -> Result<Response, PageError> {
    match page_error.refusal() {
        Some((status, why)) => {
            let mut page = edit_page(&form.visitor, sent, SeenFields::sent(&form.fields));
            page.errors = why;
            page::render(status, &page)
        }
        None => Err(page_error.clone()),
    }
}

fn version_of(visitor: &Visitor, managed: &ManagedCheckPolicy) -> Version {
    Version::of_check(&visitor.call.tenant, &managed.policy, managed.times)
}

fn edit_page(visitor: &Visitor, form: CheckForm, seen: SeenFields) -> CheckEditPage {
    CheckEditPage {
        shell: Shell::new(visitor, MenuEntry::Checks, format!("Check policy {}", form.name)),
        form,
        errors: Errors::default(),
        stale: None,
        seen,
    }
}

fn known(name: &str) -> Result<CheckPolicyName, PageError> {
    CheckPolicyName::parse(name).map_err(|_| PageError::not_found())
}

async fn list(app: &Dashboard, visitor: &Visitor, form: CheckForm, errors: Errors) -> Result<ChecksPage, PageError> {
    let policies = app.authority().check_policies().list(&visitor.call).await?;
    let tenant = visitor.user.tenant.as_str();
    Ok(ChecksPage {
        shell: Shell::new(visitor, MenuEntry::Checks, "Gateways"),
        checks: policies.iter().map(|policy| row(policy, tenant)).collect(),
        form,
        errors,
    })
}

fn row(managed: &ManagedCheckPolicy, tenant: &str) -> CheckRow {
    let policy = &managed.policy;
    let headers: Vec<_> = policy.key_headers.iter().map(ToString::to_string).collect();
    let mut rules = Vec::new();
    if policy.meta {
        rules.push("claims are handed on".to_owned());
    }
    if policy.cache_max_age_seconds > 0 {
        rules.push(format!("answers are kept for {} s", policy.cache_max_age_seconds));
    }
    if policy.gateway_credential == GatewayCredential::Required {
        rules.push("the gateway shows a root key".to_owned());
    }
    CheckRow {
        name: policy.name.to_string(),
        path: match tenant {
            DEFAULT_TENANT => policy.name.to_string(),
            tenant => format!("{tenant}:{}", policy.name),
        },
        is_built_in: managed.times.is_none(),
        scopes: policy.scopes.iter().map(str::to_owned).collect(),
        headers: headers.join(", "),
        rules,
    }
}

fn form_of(policy: &CheckPolicy) -> CheckForm {
    let headers: Vec<_> = policy.key_headers.iter().map(ToString::to_string).collect();
    CheckForm {
        name: policy.name.to_string(),
        scopes: policy.scopes.joined(),
        headers: headers.join(", "),
        realm: policy.realm.as_str().to_owned(),
        seconds: policy.cache_max_age_seconds.to_string(),
        meta: policy.meta,
        credential: policy.gateway_credential.to_string(),
    }
}

/// Returns the form's fields as a browser would send them.
fn fields_of(form: &CheckForm) -> FormFields {
    let texts = [
        ("scopes", &form.scopes),
        ("headers", &form.headers),
        ("realm", &form.realm),
        ("seconds", &form.seconds),
        ("credential", &form.credential),
    ];
    let texts = texts.into_iter().map(|(name, text)| (name, text.clone()));
    FormFields::of(texts.chain(form.meta.then(|| ("meta", "yes".to_owned()))))
}

/// Returns the form as it was sent.
fn sent(fields: &FormFields) -> CheckForm {
    let text = |name: &str| fields.raw(name).to_owned();
    CheckForm {
        name: text("name"),
        scopes: text("scopes"),
        headers: text("headers"),
        realm: text("realm"),
        seconds: text("seconds"),
        meta: fields.has("meta"),
        credential: text("credential"),
    }
}

/// Reads the edit from a form. The name of a new policy is read before.
fn read(form: &CheckForm, errors: &mut Errors) -> CheckPolicyEdit {
    let words = |text: &str| -> Vec<String> {
        let parts = text.split([',', ' ', '\n']).filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect()
    };
    let unreadable = |_| Problem::field("cache_max_age_seconds", "must be a whole number");
    let seconds = form.seconds.trim().parse().map_err(unreadable);
    CheckPolicyEdit {
        scopes: errors.take(text::scopes(&words(&form.scopes))),
        key_headers: errors.take(text::key_headers(&words(&form.headers))),
        meta: Some(form.meta),
        realm: errors.take(text::realm(form.realm.trim())),
        cache_max_age_seconds: errors.take(seconds.and_then(|seconds| text::seconds(Whole(seconds)))),
        gateway_credential: errors.take(text::credential(&form.credential)),
    }
}
