//! A key as a row of a list, and as the heading of its own page.

use super::limits::{lines_of, networks_of};
use crate::chart::{self, Bars};
use crate::labels::Labels;
use crate::moment::{When, plural};
use crate::people::People;
use crate::visitor::Visitor;
use keyreeve_authority::model::{KeyRecord, UsageCount};
use keyreeve_core::lifecycle::{ReasonCode, Standing, State};
use keyreeve_core::policy::{Confirm, Preset, ReasonRule, Undo};
use keyreeve_core::{Key, Policy, Timestamp};

/// A key is marked as unused after 30 days without use.
pub(crate) const UNUSED_MS: u64 = 30 * 24 * 3_600_000;
/// A key is marked as expiring soon within a week.
const SOON_MS: u64 = 7 * 24 * 3_600_000;
/// Denied often: at least this many times in the hours of the bars, and more than a tenth of the valid calls.
const OFTEN: u64 = 10;
/// The state of a key whose owner is suspended or removed.
const OWNER_BLOCKED: &str = "Owner blocked";
const OWNER_BLOCKED_MORE: &str = "The owner or the tenant is suspended or removed, so the key is refused";

/// A label with an icon, so that the meaning never depends on colour alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Chip {
    /// The style (colour and icon).
    pub(crate) kind: &'static str,
    pub(crate) word: String,
    /// The long form of a short label; otherwise empty.
    pub(crate) more: String,
}

impl Chip {
    fn new(kind: &'static str, word: &str, more: String) -> Self {
        Self {
            kind,
            word: word.to_owned(),
            more,
        }
    }
}

/// An action on a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Act {
    pub(crate) verb: &'static str,
    pub(crate) label: &'static str,
    /// Executed without confirmation, as the policy allows.
    pub(crate) is_direct: bool,
    pub(crate) is_ending: bool,
}

/// The old secret of a rotation with overlap.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) until: When,
}

/// A key, ready to be shown.
#[derive(Clone, Debug)]
pub(crate) struct ShownKey {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    /// `uspl_kr1…wxyz`.
    pub(crate) mask: String,
    pub(crate) owner: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) networks: Vec<String>,
    pub(crate) limits: Vec<String>,
    pub(crate) created: When,
    pub(crate) last_used: Option<When>,
    pub(crate) expires: Option<When>,
    pub(crate) state: Chip,
    pub(crate) hint: Option<Chip>,
    /// Who revoked or disabled it, when and why.
    pub(crate) ending: Option<String>,
    pub(crate) bars: Bars,
    pub(crate) pair: Option<Pair>,
    pub(crate) acts: Vec<Act>,
}

impl ShownKey {
    /// Returns the scopes, separated by commas.
    pub(crate) fn scope_text(&self) -> String {
        self.scopes.join(", ")
    }

    /// Returns the actions in the row's menu, without revoking if that has a button on the row.
    pub(crate) fn menu(&self, labels: &Labels) -> Vec<&Act> {
        let in_menu = |act: &&Act| !(labels.has_row_button && act.verb == "revoke");
        self.acts.iter().filter(in_menu).collect()
    }

    /// Returns the row's own button, if revoking is one.
    pub(crate) fn button(&self, labels: &Labels) -> Option<&Act> {
        self.acts
            .iter()
            .find(|act| labels.has_row_button && act.verb == "revoke")
    }
}

/// Makes a row. `counts` are those of the hours of the bars.
pub(crate) fn row(record: &KeyRecord, counts: &[UsageCount], visitor: &Visitor, people: &People) -> ShownKey {
    let (key, now) = (&record.key, visitor.now);
    let labels = Labels::of(&visitor.policy);
    let own = counts.iter().filter(|count| count.key == key.id);
    let bars = chart::small(own, now);
    let is_unused = is_unused(record, now);
    ShownKey {
        id: key.id.to_string(),
        name: key.name.to_string(),
        description: key.description.as_ref().map(ToString::to_string),
        mask: mask(key),
        owner: people.name_of(key.subject.as_str()),
        scopes: key.scopes.iter().map(str::to_owned).collect(),
        networks: networks_of(&key.limits),
        limits: lines_of(&key.limits),
        created: When::new(key.created_at, now),
        last_used: record.last_used_at.map(|at| When::new(at, now)),
        expires: key.expires_at.map(|at| When::new(at, now)),
        state: shown_state(record, labels, now),
        hint: hint(record, &bars, is_unused, now),
        ending: ending(key, people, now),
        pair: key.retiring.as_ref().map(|old| Pair {
            until: When::new(old.until, now),
        }),
        acts: acts(record, visitor),
        bars,
    }
}

/// Returns the mask of a secret.
pub(crate) fn mask(key: &Key) -> String {
    let secret = &key.secret;
    format!(
        "{}{}…{}",
        secret.prefix,
        keyreeve_core::key::MARKER,
        secret.last_four.as_str()
    )
}

fn is_unused(record: &KeyRecord, now: Timestamp) -> bool {
    let since = record.last_used_at.unwrap_or(record.key.created_at);
    record.key.standing(now) == Standing::Active && now.millis_since(since) > UNUSED_MS
}

/// Returns the state in the tenant's labels; for an active key whose owner is blocked, that it does not work.
pub(super) fn shown_state(record: &KeyRecord, labels: &Labels, now: Timestamp) -> Chip {
    match record.owner_blocked && record.key.standing(now) == Standing::Active {
        true => Chip::new("held", OWNER_BLOCKED, OWNER_BLOCKED_MORE.to_owned()),
        false => state(&record.key, labels, now),
    }
}

/// Returns the state in the tenant's labels.
pub(crate) fn state(key: &Key, labels: &Labels, now: Timestamp) -> Chip {
    let chip = |kind, word: &str| Chip::new(kind, word, String::new());
    match &key.state {
        State::Revoked(ended) if ended.code.is_compromise() => chip("leaked", "Revoked"),
        State::Revoked(_) => chip("revoked", "Revoked"),
        State::Disabled(_) => chip("held", labels.held),
        State::Active if key.is_expired(now) => chip("expired", "Expired"),
        State::Active => chip("active", "Active"),
    }
}

/// Returns the most urgent hint about a key, if there is one.
fn hint(record: &KeyRecord, bars: &Bars, is_unused: bool, now: Timestamp) -> Option<Chip> {
    let key = &record.key;
    let chip = |kind, word: &str, more: String| Some(Chip::new(kind, word, more));
    let at = |time| When::new(time, now).relative;
    if let State::Revoked(ended) = &key.state {
        return match ended.code {
            ReasonCode::Leaked => chip("leaked", "Leaked", String::new()),
            ReasonCode::KeyCompromise => chip("leaked", "Compromised", String::new()),
            _ => None,
        };
    }
    if record.owner_blocked {
        let is_said = key.standing(now) == Standing::Active;
        return if is_said {
            None
        } else {
            chip("held", OWNER_BLOCKED, OWNER_BLOCKED_MORE.to_owned())
        };
    }
    if let State::Disabled(hold) = &key.state {
        let end = hold.finalize_at?;
        return chip("soon", "Final soon", format!("It becomes final {}", at(end)));
    }
    if key.is_expired(now) {
        return None;
    }
    if let Some(old) = &key.retiring {
        return chip("rotating", "Rotating", format!("The old secret ends {}", at(old.until)));
    }
    if let Some(end) = key.expires_at.filter(|end| end.millis_since(now) < SOON_MS) {
        return chip("soon", "Expires soon", format!("Expires {}", at(end)));
    }
    if bars.refused >= OFTEN && bars.refused * 10 > bars.valid {
        return chip("refused", "Refused often", bars.text.clone());
    }
    match (record.last_used_at, is_unused) {
        (None, _) => chip("unused", "Never used", String::new()),
        (Some(_), true) => chip("unused", "Unused", "Nobody has used it for 30 days".to_owned()),
        (Some(_), false) => None,
    }
}

fn ending(key: &Key, people: &People, now: Timestamp) -> Option<String> {
    let (verb, at, by, code, note) = match &key.state {
        State::Active => return None,
        State::Disabled(hold) => ("Held", hold.since, &hold.by, hold.code, &hold.note),
        State::Revoked(ended) => ("Revoked", ended.at, &ended.by, ended.code, &ended.note),
    };
    let mut text = format!("{verb} {} by {}", When::new(at, now).relative, people.name_of(by));
    if code != ReasonCode::Unspecified {
        text = format!("{text}: {}", reason_words(code));
    }
    match note {
        Some(note) => Some(format!("{text} – “{note}”")),
        None => Some(text),
    }
}

/// Returns that a key is in a state already, since when and by whom.
pub(crate) fn already(key: &Key, labels: &Labels, people: &People, now: Timestamp) -> String {
    let since = |at, by: &str| format!("{} by {}", When::new(at, now).relative, people.name_of(by));
    let name = &key.name;
    match &key.state {
        State::Active => format!("“{name}” is active already."),
        State::Disabled(hold) => {
            let held = labels.held.to_lowercase();
            format!("“{name}” was made {held} already, {}.", since(hold.since, &hold.by))
        }
        State::Revoked(ended) => format!("“{name}” was revoked already, {}.", since(ended.at, &ended.by)),
    }
}

/// Returns a reason code in words.
pub(crate) fn reason_words(code: ReasonCode) -> &'static str {
    match code {
        ReasonCode::Unspecified => "No particular reason",
        ReasonCode::KeyCompromise => "The key may be in the wrong hands",
        ReasonCode::Leaked => "The key was found where it must not be",
        ReasonCode::Superseded => "Another key took its place",
        ReasonCode::AffiliationChanged => "The owner's position changed",
        ReasonCode::Cessation => "What it was for has ended",
        ReasonCode::PrivilegeWithdrawn => "The owner may no longer have it",
    }
}

/// Returns the actions to offer to the visitor, in the order of the menu. The use cases still decide.
pub(crate) fn acts(record: &KeyRecord, visitor: &Visitor) -> Vec<Act> {
    let key = &record.key;
    if !visitor.may_change() {
        return Vec::new();
    }
    let (policy, now) = (&visitor.policy, visitor.now);
    let labels = Labels::of(policy);
    let verbs = verbs(policy);
    let is_over = matches!(key.state, State::Revoked(_));
    let is_held = matches!(key.state, State::Disabled(_));
    let can_work = !record.owner_blocked;
    let act = |verb, label, is_ending| Act {
        verb,
        label,
        is_direct: false,
        is_ending,
    };
    let mut acts = Vec::new();
    if verbs.contains(&"edit") && !is_over {
        acts.push(act("edit", labels.edit, false));
    }
    if verbs.contains(&"rotate") && !is_over && !is_held && can_work {
        acts.push(act("rotate", labels.rotate, false));
    }
    if key.retiring.is_some() {
        acts.push(act("finish", "End old secret now", true));
    }
    if is_held && can_work {
        acts.push(Act {
            is_direct: policy.revoke.undo == Undo::Always && policy.revoke.reason == ReasonRule::Off,
            ..act("reactivate", labels.reactivate, false)
        });
    }
    if verbs.contains(&"disable") && !is_held && !is_over && !key.is_expired(now) {
        acts.push(act("disable", "Disable", false));
    }
    let is_switch = policy.revoke.undo == Undo::Always;
    if !(is_over || is_held && is_switch) {
        acts.push(Act {
            is_direct: policy.revoke.confirm == Confirm::None && policy.revoke.reason == ReasonRule::Off,
            ..act("revoke", labels.revoke, true)
        });
    }
    if verbs.contains(&"delete") && (is_over || policy.preset == Preset::Hold) {
        acts.push(act("delete", labels.delete, true));
    }
    acts
}

/// Returns the actions of a preset's system, beside revoking and re-activating.
pub(crate) fn verbs(policy: &Policy) -> &'static [&'static str] {
    match policy.preset {
        Preset::Erase => &["rotate"],
        Preset::Hold => &["edit", "delete"],
        Preset::Keep => &[],
        Preset::Standard => &["edit", "rotate", "disable", "delete"],
    }
}

/// Returns how often a key was used, for a confirmation page.
pub(crate) fn calls(counts: &[UsageCount], since: Timestamp) -> String {
    let recent = counts
        .iter()
        .filter(|count| count.hour >= since && count.outcome.starts_with("valid"));
    plural(recent.map(|count| count.count).sum(), "call")
}
