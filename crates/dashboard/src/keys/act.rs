//! Disable, re-activate, revoke, delete, and end a rotation: a confirmation page, which script may show as a dialog,
//! and the change.

use super::pair::{Sides, named, sides};
use super::row::{ShownKey, already, calls, reason_words};
use super::{FoundKey, closed, find, hours_ago, note};
use crate::Dashboard;
use crate::errors::Errors;
use crate::fields::{FormFields, local};
use crate::flash::Flash;
use crate::form::SignedInForm;
use crate::labels::Labels;
use crate::moment::{length, plural};
use crate::page;
use crate::page_error::PageError;
use crate::shell::Shell;
use crate::visitor::Visitor;
use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use hyper::http::request::Parts;
use keyreeve_api::Problem;
use keyreeve_authority::keys::{ChangedKey, RevokeCommand};
use keyreeve_authority::model::{Done, KeyRecord};
use keyreeve_authority::{Effect, Failure};
use keyreeve_core::lifecycle::{ReasonCode, State as Stored};
use keyreeve_core::policy::{After, Confirm, ReasonRule, Undo};

/// The exact text to type before a key is finally revoked, if the policy requires it.
pub(crate) const PHRASE: &str = "REVOKE";
/// When to revoke (docs/acceptance.md, U-27 and H-11).
const ADVICE: &str = "Revoke a key that was exposed in a repository, a log or a client, that nobody needs any more, or \
                      to make room for another one.";
/// A secret that was used in the last 15 minutes counts as in use.
const LIVELY_MS: u64 = 15 * 60_000;

/// The actions that have a confirmation page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verb {
    Revoke,
    Disable,
    Reactivate,
    Delete,
    Finish,
}

impl Verb {
    const fn word(self) -> &'static str {
        match self {
            Self::Revoke => "revoke",
            Self::Disable => "disable",
            Self::Reactivate => "reactivate",
            Self::Delete => "delete",
            Self::Finish => "finish",
        }
    }

    fn of(word: &str) -> Option<Self> {
        let all = [
            Self::Revoke,
            Self::Disable,
            Self::Reactivate,
            Self::Delete,
            Self::Finish,
        ];
        all.into_iter().find(|verb| verb.word() == word)
    }
}

/// Data of the confirmation page.
#[derive(Template)]
#[template(path = "act.html")]
pub(crate) struct ActPage {
    pub(crate) shell: Shell,
    pub(crate) row: ShownKey,
    pub(crate) verb: &'static str,
    pub(crate) question: String,
    /// Facts to check before confirming, as label and value.
    pub(crate) facts: Vec<(&'static str, String)>,
    /// The consequence, and whether it can be undone.
    pub(crate) consequence: String,
    pub(crate) warning: Option<String>,
    /// When this action is the right one.
    pub(crate) advice: Option<&'static str>,
    /// An alternative: address and label.
    pub(crate) instead: Option<(String, &'static str)>,
    pub(crate) codes: Vec<(&'static str, &'static str)>,
    pub(crate) asks_reason: bool,
    pub(crate) needs_reason: bool,
    pub(crate) asks_phrase: bool,
    /// `alertdialog` for an action that ends something, otherwise `dialog`.
    pub(crate) role: &'static str,
    pub(crate) cancel: &'static str,
    pub(crate) submit: String,
    pub(crate) reason: String,
    pub(crate) reason_code: String,
    pub(crate) back: String,
    /// Why the key, as it is now, has no such form; shown in its place.
    pub(crate) closed: Option<String>,
    pub(crate) errors: Errors,
}

/// Shows the confirmation page.
pub(crate) async fn ask(
    State(app): State<Dashboard>,
    Path((id, word)): Path<(String, String)>,
    visitor: Visitor,
    parts: Parts,
) -> Result<Response, PageError> {
    let verb = Verb::of(&word).ok_or_else(PageError::not_found)?;
    crate::access::require_change(&visitor)?;
    let found = find(&app, &visitor, &id).await?;
    let fields = FormFields::of_query(&parts);
    let page = page_of(&app, &visitor, found, verb, &fields).await?;
    page::ok(&page)
}

/// Executes the action and returns to the page it was started from. If it is refused, the form is shown again with
/// everything that was filled in.
pub(crate) async fn act(
    State(app): State<Dashboard>,
    Path((id, word)): Path<(String, String)>,
    form: SignedInForm,
) -> Result<Response, PageError> {
    let verb = Verb::of(&word).ok_or_else(PageError::not_found)?;
    let visitor = &form.visitor;
    crate::access::require_change(visitor)?;
    let found = find(&app, visitor, &id).await?;
    let outcome = match wish(visitor, verb, &form.fields) {
        Ok(wish) => carry_out(&app, visitor, &found.record, verb, wish).await,
        Err(errors) => Err(errors.into()),
    };
    let changed = match outcome {
        Ok(changed) => changed,
        Err(page_error) => match page_error.refusal() {
            Some((status, why)) => {
                let mut page = page_of(&app, visitor, found, verb, &form.fields).await?;
                page.errors = why;
                return page::render(status, &page);
            }
            None => return Err(page_error),
        },
    };
    app.note_done(&changed);
    let text = said(verb, &found, visitor, &changed);
    let back = local(form.fields.get("back"));
    let is_gone = changed.done == Done::Erased;
    let own = format!("/keys/{}", found.row.id);
    let back = if is_gone && back == own { "/keys" } else { back };
    visitor.tell(Flash::done(text)).await?;
    Ok(page::on_to(if back == "/" { "/keys" } else { back }))
}

/// Reads the reason, and checks the confirmation that the policy requires.
fn wish(visitor: &Visitor, verb: Verb, fields: &FormFields) -> Result<RevokeCommand, Errors> {
    let mut errors = Errors::default();
    let code = errors.take(keyreeve_web::text::reason_code(
        "reason_code",
        fields.get("reason_code"),
    ));
    let note = errors.take(note(fields.get("reason")));
    let asks_phrase = verb == Verb::Revoke && visitor.policy.revoke.confirm == Confirm::Phrase;
    if asks_phrase && fields.raw("phrase").trim() != PHRASE {
        let why = "must be REVOKE, in capital letters. The key was not revoked";
        errors.take::<()>(Err(Problem::field("phrase", why)));
    }
    match (code, note) {
        (Some(code), Some(note)) => errors.none().map(|()| RevokeCommand { code, note }),
        _ => Err(errors),
    }
}

async fn carry_out(
    app: &Dashboard,
    visitor: &Visitor,
    record: &KeyRecord,
    verb: Verb,
    wish: RevokeCommand,
) -> Result<ChangedKey, PageError> {
    let (call, authority, id) = (&visitor.call, app.authority(), record.key.id);
    let changed = match verb {
        Verb::Revoke => authority.keys().revoke(call, id, wish).await,
        Verb::Disable => authority.keys().disable(call, id, wish.note).await,
        Verb::Reactivate => authority.keys().reactivate(call, id, wish.note).await,
        Verb::Delete => authority
            .keys()
            .delete(call, id, wish.note)
            .await
            .map(|effect| ChangedKey {
                record: record.clone(),
                done: Done::Erased,
                effect,
            }),
        Verb::Finish => authority.keys().finish_rotation(call, id).await,
    };
    changed.map_err(Failure::into)
}

/// Returns what was done, with the measured propagation.
fn said(verb: Verb, found: &FoundKey, visitor: &Visitor, changed: &ChangedKey) -> String {
    let (name, key) = (&found.row.name, &changed.record.key);
    let labels = Labels::of(&visitor.policy);
    let held = labels.held;
    let what = match (verb, changed.done, &key.state) {
        (Verb::Finish, Done::Nothing, _) => return format!("“{name}” has no old secret any more."),
        (_, Done::Nothing, _) => {
            let already = already(key, labels, &found.people, visitor.now);
            return format!("{already} Nothing was changed.");
        }
        (Verb::Reactivate, ..) => return format!("“{name}” is active again: the same secret works."),
        (Verb::Finish, ..) => format!("The old secret of “{name}” has ended."),
        (Verb::Delete, ..) => format!("“{name}” was deleted. The audit log keeps what happened to it."),
        (Verb::Revoke, Done::Erased, _) => format!("“{name}” was revoked and permanently deleted."),
        (Verb::Revoke | Verb::Disable, _, Stored::Disabled(_)) => format!("“{name}” is {} now.", held.to_lowercase()),
        (Verb::Revoke | Verb::Disable, ..) => format!("“{name}” was revoked."),
    };
    format!("{what} {}", measured(&changed.effect))
}

/// Returns the measured propagation of a change.
pub(crate) fn measured(effect: &Effect) -> String {
    let nodes = plural(u64::from(effect.verifiers), "node");
    format!("Refused everywhere: {nodes} confirmed after {} ms.", effect.waited_ms())
}

async fn page_of(
    app: &Dashboard,
    visitor: &Visitor,
    found: FoundKey,
    verb: Verb,
    fields: &FormFields,
) -> Result<ActPage, PageError> {
    let shell = Shell::new(visitor, super::place_of(visitor, &found.record), "");
    let (labels, policy) = (shell.labels, &visitor.policy);
    let (question, submit) = match verb {
        Verb::Revoke => (format!("Revoke “{}”?", found.row.name), "Revoke Key".to_owned()),
        Verb::Disable => (format!("Disable “{}”?", found.row.name), "Disable key".to_owned()),
        Verb::Reactivate => (
            format!("{} “{}”?", labels.reactivate, found.row.name),
            labels.reactivate.to_owned(),
        ),
        Verb::Delete => (format!("Delete “{}”?", found.row.name), "Delete key".to_owned()),
        Verb::Finish => (
            format!("End the old secret of “{}” now?", found.row.name),
            "End old secret".to_owned(),
        ),
    };
    let is_revoke = verb == Verb::Revoke;
    let asks_reason = policy.revoke.reason != ReasonRule::Off && !matches!(verb, Verb::Delete | Verb::Finish);
    let codes = ReasonCode::ALL.iter().map(|code| (code.as_str(), reason_words(*code)));
    let can_rotate = found.row.acts.iter().any(|act| act.verb == "rotate");
    Ok(ActPage {
        facts: facts(app, visitor, &found, verb).await?,
        closed: closed(&found, visitor, verb.word()),
        consequence: consequence(verb, &found, visitor),
        warning: warning(verb, &found, visitor),
        advice: is_revoke.then_some(ADVICE),
        instead: (is_revoke && can_rotate).then(|| {
            (
                format!("/keys/{}/rotate", found.row.id),
                "Need a replacement? Rotate the key instead.",
            )
        }),
        codes: if is_revoke { codes.collect() } else { Vec::new() },
        asks_reason,
        needs_reason: is_revoke && policy.revoke.reason == ReasonRule::Required,
        asks_phrase: is_revoke && policy.revoke.confirm == Confirm::Phrase,
        role: if verb == Verb::Reactivate {
            "dialog"
        } else {
            "alertdialog"
        },
        cancel: if is_revoke { labels.cancel_revoke } else { "Cancel" },
        reason: fields.raw("reason").to_owned(),
        reason_code: fields.raw("reason_code").to_owned(),
        back: fields.back_or(&format!("/keys/{}", found.row.id)),
        shell: Shell {
            title: question.clone(),
            ..shell
        },
        verb: verb.word(),
        question,
        submit,
        row: found.row,
        errors: Errors::default(),
    })
}

/// Returns what would break: the owner, the last use, how often and from where. To end an old secret, the numbers are
/// those of that secret alone.
async fn facts(
    app: &Dashboard,
    visitor: &Visitor,
    found: &FoundKey,
    verb: Verb,
) -> Result<Vec<(&'static str, String)>, PageError> {
    let row = &found.row;
    if let (Verb::Finish, Some(Sides { old, new })) = (verb, sides(app, visitor, found).await?) {
        let until = row
            .pair
            .as_ref()
            .map(|pair| format!("{} ({})", pair.until.exact, pair.until.relative));
        return Ok(vec![
            (
                "Old secret",
                old.mask.unwrap_or_else(|| "not known any more".to_owned()),
            ),
            ("New secret", row.mask.clone()),
            ("Ends by itself", until.unwrap_or_default()),
            ("Old, this hour", old.this_hour),
            ("Old, since rotating", old.in_all),
            ("Old, used from", said_or(old.from, "no address is known")),
            ("New, this hour", new.this_hour),
        ]);
    }
    let traces = app
        .authority()
        .keys()
        .traces(&visitor.call, found.record.key.id)
        .await?;
    let good = traces
        .iter()
        .filter(|trace| trace.outcome.starts_with("valid") && !trace.address.is_empty());
    // Without duplicates: an address that used both the old and the new secret has two traces.
    let mut addresses: Vec<&str> = Vec::new();
    for trace in good {
        if !addresses.contains(&trace.address.as_str()) {
            addresses.push(&trace.address);
        }
    }
    let from = named(addresses);
    let used = row.last_used.as_ref().map_or("Never used", |when| &when.relative);
    let mut facts = vec![
        ("Key", row.mask.clone()),
        ("Owner", row.owner.clone()),
        ("Created", row.created.exact.clone()),
        ("Last used", used.to_owned()),
        ("In the last hour", calls(&found.counts, hours_ago(visitor.now, 1))),
        ("In the last day", calls(&found.counts, hours_ago(visitor.now, 24))),
    ];
    if !from.is_empty() {
        facts.push(("From", from));
    }
    Ok(facts)
}

fn said_or(text: String, otherwise: &str) -> String {
    if text.is_empty() { otherwise.to_owned() } else { text }
}

fn consequence(verb: Verb, found: &FoundKey, visitor: &Visitor) -> String {
    let policy = &visitor.policy;
    match verb {
        Verb::Revoke => match (policy.revoke.undo, policy.revoke.after) {
            (Undo::Always, _) => "Every request with this key is refused at once. You can re-activate it at any time; \
                                  then the same secret works again."
                .to_owned(),
            (Undo::Seconds(seconds), _) => format!(
                "Every request with this key is refused at once. For {} it can be re-activated; after that it is final.",
                length(seconds)
            ),
            (Undo::Never, After::Erase) => "The key is permanently deleted and every request with it is refused at \
                                            once. This cannot be undone. The audit log keeps its name and last four \
                                            characters."
                .to_owned(),
            (Undo::Never, _) => "Every request with this key is refused at once and for ever. This cannot be undone. \
                                 The key stays in the history."
                .to_owned(),
        },
        Verb::Disable => "Every request with this key is refused until somebody re-activates it; then the same secret \
                          works again."
            .to_owned(),
        Verb::Reactivate => match found.record.key.is_expired(visitor.now) {
            true => "The hold is lifted, but the key has expired and is refused all the same.".to_owned(),
            false => "The same secret works again, for whoever has it.".to_owned(),
        },
        Verb::Delete => "The record of the key is destroyed, and every request with it is refused. This cannot be \
                         undone. The audit log keeps what happened, with its name and last four characters."
            .to_owned(),
        Verb::Finish => "Requests with the old secret are refused at once. The new one goes on working.".to_owned(),
    }
}

fn warning(verb: Verb, found: &FoundKey, visitor: &Visitor) -> Option<String> {
    let used = found.record.last_used_at?;
    let is_lively = visitor.now.millis_since(used) < LIVELY_MS;
    let old = found
        .counts
        .iter()
        .any(|count| count.outcome == "valid_retiring" && count.count > 0 && count.hour >= hours_ago(visitor.now, 1));
    match verb {
        Verb::Finish if old => {
            Some("The old secret was used within the last hour: somebody has not moved yet.".to_owned())
        }
        Verb::Revoke | Verb::Delete | Verb::Disable if is_lively => {
            let ago = found.row.last_used.as_ref().map_or("", |when| &when.relative);
            Some(format!("This key is in use: the last request came {ago}."))
        }
        _ => None,
    }
}
