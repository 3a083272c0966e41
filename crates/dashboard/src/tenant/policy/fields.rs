//! The form of a policy: filled in from a policy, as it was sent, read, and as fields to be compared.

use crate::errors::Errors;
use crate::fields::FormFields;
use crate::keys::limits::{counted_of, lines_of, of_new_keys};
use keyreeve_api::Problem;
use keyreeve_core::Policy;
use keyreeve_core::key::Prefix;
use keyreeve_core::policy::{After, Confirm, LeakAction, ListDefault, Names, Preset, ReasonRule, Reveal, Undo};
use keyreeve_core::scope::Scopes;

/// The fields of the form as text.
#[derive(Clone, Default, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "one for each box of the form")]
pub(crate) struct Values {
    pub(crate) preset: String,
    pub(crate) prefix: String,
    pub(crate) names: String,
    pub(crate) limit: String,
    pub(crate) count_expired: bool,
    pub(crate) choices: String,
    pub(crate) default_days: String,
    pub(crate) max_days: String,
    pub(crate) allow_never: bool,
    pub(crate) editable: bool,
    pub(crate) custom: bool,
    pub(crate) renew_expired: bool,
    pub(crate) overlap_default: String,
    pub(crate) overlap_max: String,
    pub(crate) undo: String,
    pub(crate) undo_seconds: String,
    pub(crate) after: String,
    pub(crate) confirm: String,
    pub(crate) reason: String,
    pub(crate) sticky: bool,
    pub(crate) list: String,
    pub(crate) reveal: String,
    pub(crate) leaks: String,
    pub(crate) member_scopes: String,
    pub(crate) member_claims: bool,
    pub(crate) admin_scopes: String,
    pub(crate) new_limits: String,
}

const DAY_SECONDS: u64 = 86_400;

/// The form as a browser would send it.
pub(super) fn fields_of(form: &Values) -> FormFields {
    let texts = [
        ("preset", &form.preset),
        ("prefix", &form.prefix),
        ("names", &form.names),
        ("limit", &form.limit),
        ("choices", &form.choices),
        ("default_days", &form.default_days),
        ("max_days", &form.max_days),
        ("overlap_default", &form.overlap_default),
        ("overlap_max", &form.overlap_max),
        ("undo", &form.undo),
        ("undo_seconds", &form.undo_seconds),
        ("after", &form.after),
        ("confirm", &form.confirm),
        ("reason", &form.reason),
        ("list", &form.list),
        ("reveal", &form.reveal),
        ("leaks", &form.leaks),
        ("member_scopes", &form.member_scopes),
        ("admin_scopes", &form.admin_scopes),
        ("new_limits", &form.new_limits),
    ];
    let boxes = [
        ("count_expired", form.count_expired),
        ("allow_never", form.allow_never),
        ("editable", form.editable),
        ("custom", form.custom),
        ("renew_expired", form.renew_expired),
        ("sticky", form.sticky),
        ("member_claims", form.member_claims),
    ];
    let texts = texts.into_iter().map(|(name, text)| (name, text.clone()));
    let ticked = boxes.into_iter().filter(|(_, is_ticked)| *is_ticked);
    FormFields::of(texts.chain(ticked.map(|(name, _)| (name, "yes".to_owned()))))
}

/// The form of a policy.
pub(super) fn values(policy: &Policy) -> Values {
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
        custom: policy.expiry.custom,
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
        member_scopes: policy.grant.member.scopes.joined(),
        member_claims: policy.grant.member.claims,
        admin_scopes: policy.grant.admin_scopes.joined(),
        new_limits: lines_of(&of_new_keys(policy)).join("\n"),
    }
}

/// The form as it was sent.
pub(super) fn raw(fields: &FormFields) -> Values {
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
        custom: fields.has("custom"),
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
        member_scopes: text("member_scopes"),
        member_claims: fields.has("member_claims"),
        admin_scopes: text("admin_scopes"),
        new_limits: text("new_limits"),
    }
}

/// The policy that a form holds, or everything that is wrong with it.
pub(super) fn read(fields: &FormFields) -> Result<Policy, Errors> {
    let preset = chosen(fields, "preset", Preset::parse).map_err(Errors::from)?;
    let mut policy = preset.policy();
    let mut reading = FormReading {
        fields,
        errors: Errors::default(),
    };
    reading.ends(&mut policy);
    reading.lives(&mut policy);
    // Not in a form of an older version that is still open in a browser.
    if fields.has("member_scopes") {
        reading.grants(&mut policy);
    }
    reading.secrets(&mut policy);
    reading.errors.none().map(|()| policy)
}

/// Reads the parts of a form in its order. What cannot be read leaves a rule as the preset has it, and an error.
struct FormReading<'f> {
    fields: &'f FormFields,
    errors: Errors,
}

impl FormReading<'_> {
    fn set<T>(&mut self, rule: &mut T, read: Result<T, Problem>) {
        if let Some(value) = self.errors.take(read) {
            *rule = value;
        }
    }

    /// Where revoking leads.
    fn ends(&mut self, policy: &mut Policy) {
        let fields = self.fields;
        self.set(&mut policy.revoke.undo, undo(fields));
        self.set(&mut policy.revoke.after, chosen(fields, "after", After::parse));
        self.set(&mut policy.revoke.confirm, chosen(fields, "confirm", Confirm::parse));
        self.set(&mut policy.revoke.reason, chosen(fields, "reason", ReasonRule::parse));
        self.set(&mut policy.leaks.action, chosen(fields, "leaks", LeakAction::parse));
        policy.reactivate.sticky = fields.has("sticky");
    }

    /// How many keys there may be, and how long they live.
    fn lives(&mut self, policy: &mut Policy) {
        let fields = self.fields;
        self.set(&mut policy.limit.keys_per_subject, number(fields, "limit"));
        policy.limit.count_expired = fields.has("count_expired");
        self.set(&mut policy.expiry.choices_days, choices(fields));
        self.set(&mut policy.expiry.default_days, number(fields, "default_days"));
        self.set(&mut policy.expiry.max_days, number(fields, "max_days"));
        policy.expiry.allow_never = fields.has("allow_never");
        policy.expiry.editable = fields.has("editable");
        policy.expiry.custom = fields.has("custom");
        policy.expiry.renew_expired = fields.has("renew_expired");
    }

    /// What people may write into keys, and how often new keys may be used.
    fn grants(&mut self, policy: &mut Policy) {
        let fields = self.fields;
        self.set(&mut policy.grant.member.scopes, patterns(fields, "member_scopes"));
        policy.grant.member.claims = fields.has("member_claims");
        self.set(&mut policy.grant.admin_scopes, patterns(fields, "admin_scopes"));
        self.set(&mut policy.default_limits, counted_of(fields, "new_limits"));
    }

    /// How secrets look and change, and what lists and denials tell.
    fn secrets(&mut self, policy: &mut Policy) {
        let fields = self.fields;
        let seconds = |name| number(fields, name).map(|seconds| seconds.unwrap_or(0).into());
        self.set(&mut policy.rotate.overlap_default_seconds, seconds("overlap_default"));
        self.set(&mut policy.rotate.overlap_max_seconds, seconds("overlap_max"));
        let prefix = Prefix::parse(fields.raw("prefix").trim());
        let prefix = prefix.map_err(|error| Problem::field("prefix", &error.to_string()));
        self.set(&mut policy.prefix, prefix);
        self.set(&mut policy.names, chosen(fields, "names", Names::parse));
        self.set(&mut policy.list, chosen(fields, "list", ListDefault::parse));
        self.set(&mut policy.reveal, chosen(fields, "reveal", Reveal::parse));
    }
}

fn undo(fields: &FormFields) -> Result<Undo, Problem> {
    match fields.raw("undo") {
        "never" => Ok(Undo::Never),
        "always" => Ok(Undo::Always),
        "seconds" => Ok(Undo::Seconds(
            number(fields, "undo_seconds")?.map_or(DAY_SECONDS, u64::from),
        )),
        _ => Err(Problem::field("undo", "must be one of the choices of the form")),
    }
}

fn patterns(fields: &FormFields, name: &str) -> Result<Scopes, Problem> {
    let words = fields.raw(name).split([',', ' ']).filter(|word| !word.is_empty());
    Scopes::parse(words).map_err(|error| Problem::field(name, &error.to_string()))
}

fn chosen<T>(fields: &FormFields, name: &str, parse: fn(&str) -> Option<T>) -> Result<T, Problem> {
    parse(fields.raw(name)).ok_or_else(|| Problem::field(name, "must be one of the choices of the form"))
}

fn number(fields: &FormFields, name: &str) -> Result<Option<u32>, Problem> {
    let unreadable = |_| Problem::field(name, "must be a whole number, or empty");
    fields.get(name).map(str::parse).transpose().map_err(unreadable)
}

fn choices(fields: &FormFields) -> Result<Vec<u32>, Problem> {
    let parts = fields.raw("choices").split([',', ' ']).filter(|part| !part.is_empty());
    let unreadable = |_| Problem::field("choices", "must be whole numbers of days with commas between");
    parts.map(str::parse).collect::<Result<_, _>>().map_err(unreadable)
}
