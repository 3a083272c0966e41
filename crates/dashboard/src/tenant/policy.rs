//! The policy page: the presets side by side, every rule, and what a change would mean for existing keys.

mod fields;

use crate::Dashboard;
use crate::errors::Errors;
use crate::fields::FormFields;
use crate::flash::Flash;
use crate::form::SignedInForm;
use crate::keys::limits::{lines_of, of_new_keys};
use crate::moment::length;
use crate::page;
use crate::page_error::PageError;
use crate::people::People;
use crate::shell::{MenuEntry, Shell};
use crate::stale::{SeenFields, Stale, merged, on_version};
use crate::visitor::Visitor;
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use fields::{fields_of, raw, read, values};
use hyper::StatusCode;
use keyreeve_authority::model::Version;
use keyreeve_authority::{Conflict, Failure, NonCompliantKeys};
use keyreeve_core::Policy;
use keyreeve_core::policy::{After, Confirm, LeakAction, Preset, Reveal, Undo};
use keyreeve_core::scope::Scopes;

pub(crate) use fields::Values;

/// Data of the page.
#[derive(Template)]
#[template(path = "policy.html")]
pub(crate) struct PolicyPage {
    pub(crate) shell: Shell,
    pub(crate) presets: Vec<Column>,
    /// A rule, and its value in each preset, in the order of the columns.
    pub(crate) rules: Vec<(&'static str, Vec<String>)>,
    pub(crate) form: Values,
    /// The result of a dry run of the form.
    pub(crate) preview: Option<Preview>,
    pub(crate) errors: Errors,
    pub(crate) stale: Option<Stale>,
    pub(crate) seen: SeenFields,
}

/// A preset's column.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) word: &'static str,
    pub(crate) title: &'static str,
    pub(crate) is_own: bool,
}

/// The result of a dry run.
#[derive(Clone, Debug)]
pub(crate) struct Preview {
    pub(crate) count: u64,
    /// Keys that the policy would not allow today, and why.
    pub(crate) named: Vec<(String, String)>,
    /// Changed rules: label, before, after.
    pub(crate) changes: Vec<(&'static str, String, String)>,
}

/// Shows the present policy.
pub(crate) async fn show(visitor: Visitor) -> Result<Response, PageError> {
    let page = page_of(&visitor, &FormFields::default(), values(&visitor.policy));
    page::ok(&page)
}

/// Runs the form dry, or saves it.
pub(crate) async fn put(State(app): State<Dashboard>, form: SignedInForm) -> Result<Response, PageError> {
    let visitor = &form.visitor;
    crate::access::require_admin(visitor)?;
    // A preset's button only fills in the form. Nothing is saved.
    if let Some(preset) = form.fields.get("fill").and_then(Preset::parse) {
        let filled = Policy {
            prefix: visitor.policy.prefix.clone(),
            ..preset.policy()
        };
        return tried(&app, visitor, &form.fields, values(&filled), &filled).await;
    }
    let policy = match read(&form.fields) {
        Ok(policy) => policy,
        Err(errors) => return refused(visitor, &form.fields, StatusCode::BAD_REQUEST, errors),
    };
    if form.fields.raw("intent") != "save" {
        return tried(&app, visitor, &form.fields, raw(&form.fields), &policy).await;
    }
    let call = on_version(&visitor.call, &form.fields);
    match app.authority().policy().set(&call, policy).await {
        Ok((_, misfits)) => {
            visitor.tell(Flash::done(saved(&misfits))).await?;
            Ok(page::on_to("/tenant/policy"))
        }
        Err(Failure::Outdated(conflict)) => conflicting(&app, visitor, &form.fields, &conflict).await,
        Err(failure) => {
            let page_error = PageError::from(failure);
            match page_error.refusal() {
                Some((status, why)) => refused(visitor, &form.fields, status, why),
                None => Err(page_error),
            }
        }
    }
}

/// Shows the form again after a conflict: touched fields as typed, the others as the policy is now.
async fn conflicting(
    app: &Dashboard,
    visitor: &Visitor,
    fields: &FormFields,
    conflict: &Conflict,
) -> Result<Response, PageError> {
    let present = fields_of(&values(&app.authority().policy().get(&visitor.call).await?));
    let people = People::known_to(visitor, app).await?;
    let mut page = page_of(visitor, fields, raw(&merged(fields, &present)));
    page.stale = Some(Stale::of(conflict, &people, visitor.now));
    page.seen = SeenFields::new(&conflict.present, &present);
    page::render(StatusCode::PRECONDITION_FAILED, &page)
}

async fn tried(
    app: &Dashboard,
    visitor: &Visitor,
    sent: &FormFields,
    form: Values,
    policy: &Policy,
) -> Result<Response, PageError> {
    let mut page = page_of(visitor, sent, form);
    match app
        .authority()
        .policy()
        .compare(&visitor.call, policy)
        .await
        .map_err(PageError::from)
    {
        Ok(misfits) => page.preview = Some(preview(&misfits, &visitor.policy, policy)),
        Err(page_error) => match page_error.refusal() {
            Some((_, why)) => page.errors = why,
            None => return Err(page_error),
        },
    }
    page::ok(&page)
}

fn refused(visitor: &Visitor, fields: &FormFields, status: StatusCode, why: Errors) -> Result<Response, PageError> {
    let mut page = page_of(visitor, fields, raw(fields));
    page.errors = why;
    page::render(status, &page)
}

fn saved(misfits: &NonCompliantKeys) -> String {
    match misfits.count {
        0 => "The policy was saved. It holds for what is done from now on.".to_owned(),
        count => format!(
            "The policy was saved. It holds for what is done from now on; {} would not be allowed today and go on \
             working.",
            crate::moment::plural(count, "key")
        ),
    }
}

fn preview(misfits: &NonCompliantKeys, old: &Policy, new: &Policy) -> Preview {
    let named = misfits.named.iter().map(|(id, why)| (id.to_string(), why.to_string()));
    let pairs = rules(old).into_iter().zip(rules(new));
    Preview {
        count: misfits.count,
        named: named.collect(),
        changes: pairs
            .filter(|((_, before), (_, after))| before != after)
            .map(|((word, before), (_, after))| (word, before, after))
            .collect(),
    }
}

/// `sent`: the form that was sent, if any.
fn page_of(visitor: &Visitor, sent: &FormFields, form: Values) -> PolicyPage {
    let column = |&preset: &Preset| Column {
        word: preset.as_str(),
        title: match preset {
            Preset::Erase => "Erase",
            Preset::Hold => "Hold",
            Preset::Keep => "Keep",
            Preset::Standard => "Standard",
        },
        is_own: preset == visitor.policy.preset,
    };
    PolicyPage {
        shell: Shell::new(visitor, MenuEntry::Policy, "Policy"),
        presets: Preset::ALL.iter().map(column).collect(),
        rules: side_by_side(),
        form,
        preview: None,
        errors: Errors::default(),
        stale: None,
        seen: SeenFields::kept(
            sent,
            &Version::of_policy(&visitor.call.tenant, &visitor.policy),
            &fields_of(&values(&visitor.policy)),
        ),
    }
}

/// Returns the value of each rule in each preset.
fn side_by_side() -> Vec<(&'static str, Vec<String>)> {
    let columns: Vec<_> = Preset::ALL.iter().map(|preset| rules(&preset.policy())).collect();
    let words = rules(&Preset::Standard.policy()).into_iter().map(|(word, _)| word);
    let row = |(place, word)| {
        let cells = columns
            .iter()
            .filter_map(|column: &Vec<(&str, String)>| column.get(place));
        (word, cells.map(|(_, value): &(&str, String)| value.clone()).collect())
    };
    words.enumerate().map(row).collect()
}

/// Returns a policy in words, rule by rule.
fn rules(policy: &Policy) -> Vec<(&'static str, String)> {
    let mut rules = rules_of_ends(policy);
    rules.extend(rules_of_lives(policy));
    rules.extend(rules_of_secrets(policy));
    rules.extend(rules_of_grants(policy));
    rules
}

fn yes(is_so: bool) -> String {
    if is_so { "yes" } else { "no" }.to_owned()
}

/// The rules on leaks, revoking and re-activating.
fn rules_of_ends(policy: &Policy) -> Vec<(&'static str, String)> {
    let undo = match policy.revoke.undo {
        Undo::Never => "never".to_owned(),
        Undo::Always => "always".to_owned(),
        Undo::Seconds(seconds) => format!("for {}", length(seconds)),
    };
    let after = match policy.revoke.after {
        After::Keep => "the key stays in the list",
        After::Hide => "the key stays in the history",
        After::Erase => "the key is deleted",
    };
    let confirm = match policy.revoke.confirm {
        Confirm::None => "nothing",
        Confirm::Dialog => "a second button",
        Confirm::Phrase => "typing REVOKE",
    };
    let leaks = match policy.leaks.action {
        LeakAction::Revoke => "is revoked for good",
        LeakAction::Hold => "is put on hold",
        LeakAction::Notify => "is only reported",
    };
    vec![
        ("A leaked key", leaks.to_owned()),
        ("Revoking can be undone", undo),
        ("After revoking", after.to_owned()),
        ("Asked before revoking", confirm.to_owned()),
        ("Reason", policy.revoke.reason.to_string()),
        (
            "An admin's hold is lifted by admins only",
            yes(policy.reactivate.sticky),
        ),
    ]
}

/// The rules on the number of keys and their expiry.
fn rules_of_lives(policy: &Policy) -> Vec<(&'static str, String)> {
    let (limit, expiry) = (policy.limit, &policy.expiry);
    let days = |days: Option<u32>, none: &str| days.map_or_else(|| none.to_owned(), |days| format!("{days} days"));
    let choices: Vec<_> = expiry.choices_days.iter().map(ToString::to_string).collect();
    let unsaid = if expiry.allow_never { "never" } else { "longest allowed" };
    let most = limit
        .keys_per_subject
        .map_or_else(|| "no limit".to_owned(), |max| max.to_string());
    let offered = if choices.is_empty() {
        "any".to_owned()
    } else {
        choices.join(", ")
    };
    vec![
        ("Keys of one owner", most),
        ("Expired keys count", yes(limit.count_expired)),
        ("Expiry offered (days)", offered),
        ("Another expiry can be asked for", yes(expiry.custom)),
        ("Expiry when not said", days(expiry.default_days, unsaid)),
        ("Longest expiry", days(expiry.max_days, "no bound")),
        ("Keys may never expire", yes(expiry.allow_never)),
        ("Expiry can be changed", yes(expiry.editable)),
        ("Expired keys can be renewed", yes(expiry.renew_expired)),
    ]
}

/// The rules on rotation, prefixes, names, lists and denials.
fn rules_of_secrets(policy: &Policy) -> Vec<(&'static str, String)> {
    let reveal = match policy.reveal {
        Reveal::None => "nothing",
        Reveal::OwnerSafe => "disabled and expired apart",
    };
    let default = match policy.rotate.overlap_default_seconds {
        0 => "ends at once".to_owned(),
        seconds => format!("ends after {}", length(seconds)),
    };
    let most = match policy.rotate.overlap_max_seconds {
        0 => "none".to_owned(),
        seconds => length(seconds),
    };
    vec![
        ("Old secret after rotating", default),
        ("Longest overlap", most),
        ("Prefix of keys", policy.prefix.to_string()),
        ("Names of one owner's keys", policy.names.to_string()),
        ("Lists show", policy.list.to_string()),
        ("A denial tells", reveal.to_owned()),
    ]
}

/// The rules on what people may write into keys, and on the limits of new keys.
fn rules_of_grants(policy: &Policy) -> Vec<(&'static str, String)> {
    let scopes = |scopes: &Scopes| match scopes.joined() {
        none if none.is_empty() => "none".to_owned(),
        every if every == "*" => "any".to_owned(),
        some => some,
    };
    let limits = match lines_of(&of_new_keys(policy)) {
        none if none.is_empty() => "none".to_owned(),
        some => some.join(", "),
    };
    vec![
        ("Scopes that members may give", scopes(&policy.grant.member.scopes)),
        ("Members may set claims", yes(policy.grant.member.claims)),
        ("Scopes that admins may give", scopes(&policy.grant.admin_scopes)),
        ("Limits of new keys", limits),
    ]
}
