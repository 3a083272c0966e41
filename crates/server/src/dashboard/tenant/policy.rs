//! The policy: the presets side by side, every rule, and what a change would mean for keys that exist.

use crate::App;
use crate::dashboard::form::{Fields, Form};
use crate::dashboard::moment::length;
use crate::dashboard::page;
use crate::dashboard::shell::{Flash, Place, Shell};
use crate::dashboard::trouble::{Trouble, for_people};
use crate::dashboard::visitor::Visitor;
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use keyreeve_api::Problem;
use keyreeve_authority::Misfits;
use keyreeve_core::Policy;
use keyreeve_core::key::Prefix;
use keyreeve_core::policy::{After, Confirm, LeakAction, ListDefault, Names, Preset, ReasonRule, Reveal, Undo};

const DAY_SECONDS: u64 = 86_400;

/// The page.
#[derive(Template)]
#[template(path = "policy.html")]
pub(in crate::dashboard) struct PolicyPage {
    pub(in crate::dashboard) shell: Shell,
    pub(in crate::dashboard) presets: Vec<Column>,
    /// A word for a rule, and what each preset says, in their order.
    pub(in crate::dashboard) rules: Vec<(&'static str, Vec<String>)>,
    pub(in crate::dashboard) form: Values,
    /// What the form would mean, after a dry run.
    pub(in crate::dashboard) preview: Option<Preview>,
    pub(in crate::dashboard) error: Option<String>,
}

/// A preset beside the others.
#[derive(Clone, Debug)]
pub(in crate::dashboard) struct Column {
    pub(in crate::dashboard) word: &'static str,
    pub(in crate::dashboard) title: &'static str,
    pub(in crate::dashboard) is_own: bool,
}

/// The fields of the form, as texts.
#[derive(Clone, Default, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "one for each box of the form")]
pub(in crate::dashboard) struct Values {
    pub(in crate::dashboard) preset: String,
    pub(in crate::dashboard) prefix: String,
    pub(in crate::dashboard) names: String,
    pub(in crate::dashboard) limit: String,
    pub(in crate::dashboard) count_expired: bool,
    pub(in crate::dashboard) choices: String,
    pub(in crate::dashboard) default_days: String,
    pub(in crate::dashboard) max_days: String,
    pub(in crate::dashboard) allow_never: bool,
    pub(in crate::dashboard) editable: bool,
    pub(in crate::dashboard) renew_expired: bool,
    pub(in crate::dashboard) overlap_default: String,
    pub(in crate::dashboard) overlap_max: String,
    pub(in crate::dashboard) undo: String,
    pub(in crate::dashboard) undo_seconds: String,
    pub(in crate::dashboard) after: String,
    pub(in crate::dashboard) confirm: String,
    pub(in crate::dashboard) reason: String,
    pub(in crate::dashboard) sticky: bool,
    pub(in crate::dashboard) list: String,
    pub(in crate::dashboard) reveal: String,
    pub(in crate::dashboard) leaks: String,
}

/// What a policy would mean.
#[derive(Clone, Debug)]
pub(in crate::dashboard) struct Preview {
    pub(in crate::dashboard) count: u64,
    /// Keys that it would not allow today, and why.
    pub(in crate::dashboard) named: Vec<(String, String)>,
    /// Rules that would change: a word, before, after.
    pub(in crate::dashboard) changes: Vec<(&'static str, String, String)>,
}

/// The policy as it is.
pub(in crate::dashboard) async fn show(visitor: Visitor) -> Result<Response, Trouble> {
    let page = page_of(&visitor, values(&visitor.policy));
    page::ok(&page)
}

/// Tries the form, or saves it.
pub(in crate::dashboard) async fn put(State(app): State<App>, form: Form) -> Result<Response, Trouble> {
    let visitor = &form.visitor;
    crate::dashboard::require_admin(visitor)?;
    // A preset's button fills the form with what the preset says, and nothing is saved yet.
    if let Some(preset) = form.fields.get("fill").and_then(Preset::parse) {
        let filled = Policy {
            prefix: visitor.policy.prefix.clone(),
            ..preset.policy()
        };
        return tried(&app, visitor, values(&filled), &filled).await;
    }
    let policy = match read(&form.fields) {
        Ok(policy) => policy,
        Err(problem) => return refused(visitor, &form.fields, StatusCode::BAD_REQUEST, for_people(&problem)),
    };
    if form.fields.raw("intent") != "save" {
        return tried(&app, visitor, raw(&form.fields), &policy).await;
    }
    match app
        .authority()
        .set_policy(&visitor.call, policy)
        .await
        .map_err(Trouble::from)
    {
        Ok((_, misfits)) => {
            visitor.tell(Flash::done(saved(&misfits))).await?;
            Ok(page::on_to("/tenant/policy"))
        }
        Err(trouble) => match trouble.refusal() {
            Some((status, why)) => refused(visitor, &form.fields, status, why),
            None => Err(trouble),
        },
    }
}

async fn tried(app: &App, visitor: &Visitor, form: Values, policy: &Policy) -> Result<Response, Trouble> {
    let mut page = page_of(visitor, form);
    match app
        .authority()
        .try_policy(&visitor.call, policy)
        .await
        .map_err(Trouble::from)
    {
        Ok(misfits) => page.preview = Some(preview(&misfits, &visitor.policy, policy)),
        Err(trouble) => match trouble.refusal() {
            Some((_, why)) => page.error = Some(why),
            None => return Err(trouble),
        },
    }
    page::ok(&page)
}

fn refused(visitor: &Visitor, fields: &Fields, status: StatusCode, why: String) -> Result<Response, Trouble> {
    let mut page = page_of(visitor, raw(fields));
    page.error = Some(why);
    page::render(status, &page)
}

fn saved(misfits: &Misfits) -> String {
    match misfits.count {
        0 => "The policy was saved. It holds for what is done from now on.".to_owned(),
        count => format!(
            "The policy was saved. It holds for what is done from now on; {} would not be allowed today and go on \
             working.",
            crate::dashboard::moment::plural(count, "key")
        ),
    }
}

fn preview(misfits: &Misfits, old: &Policy, new: &Policy) -> Preview {
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

fn page_of(visitor: &Visitor, form: Values) -> PolicyPage {
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
        shell: Shell::new(visitor, Place::Policy, "Policy"),
        presets: Preset::ALL.iter().map(column).collect(),
        rules: side_by_side(),
        form,
        preview: None,
        error: None,
    }
}

/// What each preset says, rule by rule.
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

/// A policy in words, rule by rule.
fn rules(policy: &Policy) -> Vec<(&'static str, String)> {
    let mut rules = rules_of_ends(policy);
    rules.extend(rules_of_lives(policy));
    rules.extend(rules_of_secrets(policy));
    rules
}

fn yes(is_so: bool) -> String {
    if is_so { "yes" } else { "no" }.to_owned()
}

/// Where revoking leads.
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

/// How many keys there may be, and how long they live.
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
        ("Expiry when not said", days(expiry.default_days, unsaid)),
        ("Longest expiry", days(expiry.max_days, "no bound")),
        ("Keys may never expire", yes(expiry.allow_never)),
        ("Expiry can be changed", yes(expiry.editable)),
        ("Expired keys can be renewed", yes(expiry.renew_expired)),
    ]
}

/// How secrets look and change, and what lists and denials tell.
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

fn values(policy: &Policy) -> Values {
    let number = |number: Option<u32>| number.map_or_else(String::new, |number| number.to_string());
    let choices: Vec<_> = policy.expiry.choices_days.iter().map(ToString::to_string).collect();
    let (undo, undo_seconds) = match policy.revoke.undo {
        Undo::Never => ("never", String::new()),
        Undo::Always => ("always", String::new()),
        Undo::Seconds(seconds) => ("seconds", seconds.to_string()),
    };
    Values {
        preset: policy.preset.to_string(),
        prefix: policy.prefix.to_string(),
        names: policy.names.to_string(),
        limit: number(policy.limit.keys_per_subject),
        count_expired: policy.limit.count_expired,
        choices: choices.join(", "),
        default_days: number(policy.expiry.default_days),
        max_days: number(policy.expiry.max_days),
        allow_never: policy.expiry.allow_never,
        editable: policy.expiry.editable,
        renew_expired: policy.expiry.renew_expired,
        overlap_default: policy.rotate.overlap_default_seconds.to_string(),
        overlap_max: policy.rotate.overlap_max_seconds.to_string(),
        undo: undo.to_owned(),
        undo_seconds,
        after: policy.revoke.after.to_string(),
        confirm: policy.revoke.confirm.to_string(),
        reason: policy.revoke.reason.to_string(),
        sticky: policy.reactivate.sticky,
        list: policy.list.to_string(),
        reveal: policy.reveal.to_string(),
        leaks: policy.leaks.action.to_string(),
    }
}

/// The form as it was sent.
fn raw(fields: &Fields) -> Values {
    let text = |name: &str| fields.raw(name).to_owned();
    Values {
        preset: text("preset"),
        prefix: text("prefix"),
        names: text("names"),
        limit: text("limit"),
        count_expired: fields.has("count_expired"),
        choices: text("choices"),
        default_days: text("default_days"),
        max_days: text("max_days"),
        allow_never: fields.has("allow_never"),
        editable: fields.has("editable"),
        renew_expired: fields.has("renew_expired"),
        overlap_default: text("overlap_default"),
        overlap_max: text("overlap_max"),
        undo: text("undo"),
        undo_seconds: text("undo_seconds"),
        after: text("after"),
        confirm: text("confirm"),
        reason: text("reason"),
        sticky: fields.has("sticky"),
        list: text("list"),
        reveal: text("reveal"),
        leaks: text("leaks"),
    }
}

fn read(fields: &Fields) -> Result<Policy, Problem> {
    let mut policy = chosen(fields, "preset", Preset::parse)?.policy();
    policy.prefix =
        Prefix::parse(fields.raw("prefix").trim()).map_err(|error| Problem::field("prefix", &error.to_string()))?;
    policy.names = chosen(fields, "names", Names::parse)?;
    policy.limit.keys_per_subject = number(fields, "limit")?;
    policy.limit.count_expired = fields.has("count_expired");
    policy.expiry.choices_days = choices(fields)?;
    policy.expiry.default_days = number(fields, "default_days")?;
    policy.expiry.max_days = number(fields, "max_days")?;
    policy.expiry.allow_never = fields.has("allow_never");
    policy.expiry.editable = fields.has("editable");
    policy.expiry.renew_expired = fields.has("renew_expired");
    policy.rotate.overlap_default_seconds = number(fields, "overlap_default")?.unwrap_or(0).into();
    policy.rotate.overlap_max_seconds = number(fields, "overlap_max")?.unwrap_or(0).into();
    policy.revoke.undo = match fields.raw("undo") {
        "never" => Undo::Never,
        "always" => Undo::Always,
        "seconds" => Undo::Seconds(number(fields, "undo_seconds")?.map_or(DAY_SECONDS, u64::from)),
        _ => return Err(Problem::field("undo", "must be one of the choices of the form")),
    };
    policy.revoke.after = chosen(fields, "after", After::parse)?;
    policy.revoke.confirm = chosen(fields, "confirm", Confirm::parse)?;
    policy.revoke.reason = chosen(fields, "reason", ReasonRule::parse)?;
    policy.reactivate.sticky = fields.has("sticky");
    policy.list = chosen(fields, "list", ListDefault::parse)?;
    policy.reveal = chosen(fields, "reveal", Reveal::parse)?;
    policy.leaks.action = chosen(fields, "leaks", LeakAction::parse)?;
    Ok(policy)
}

fn chosen<T>(fields: &Fields, name: &str, parse: fn(&str) -> Option<T>) -> Result<T, Problem> {
    parse(fields.raw(name)).ok_or_else(|| Problem::field(name, "must be one of the choices of the form"))
}

fn number(fields: &Fields, name: &str) -> Result<Option<u32>, Problem> {
    let unreadable = |_| Problem::field(name, "must be a whole number, or empty");
    fields.get(name).map(str::parse).transpose().map_err(unreadable)
}

fn choices(fields: &Fields) -> Result<Vec<u32>, Problem> {
    let parts = fields.raw("choices").split([',', ' ']).filter(|part| !part.is_empty());
    let unreadable = |_| Problem::field("choices", "must be whole numbers of days with commas between");
    parts.map(str::parse).collect::<Result<_, _>>().map_err(unreadable)
}
