//! The networks and limits of a key, in forms and on pages.

use crate::fields::FormFields;
use crate::visitor::Visitor;
use keyreeve_api::Problem;
use keyreeve_api::limits::KeyLimit;
use keyreeve_core::limits::{CountedLimits, Networks};
use keyreeve_core::{Limits, Policy};
use keyreeve_web::{key_limit, text};

/// The format of a limit in the form, one per line.
const LINE_FORM: &str = "must be a name, a count and a time, such as per-minute 120/60s burst 20 hard or monthly \
                         10000/month";

/// The fields for networks and limits.
#[derive(Clone, Debug)]
pub(crate) struct LimitFields {
    pub(crate) networks: String,
    /// One limit per line; `None` for a member, who cannot set limits.
    pub(crate) lines: Option<String>,
    /// The address of the person who fills in the form, if known.
    pub(crate) own_address: Option<String>,
}

impl LimitFields {
    /// Returns the fields with what was typed, otherwise with what is stored.
    pub(super) fn of(visitor: &Visitor, fields: &FormFields, stored: &Limits) -> Self {
        let filled = |name: &str, stored: Vec<String>, between: &str| match fields.has(name) {
            true => fields.raw(name).to_owned(),
            false => stored.join(between),
        };
        Self {
            networks: filled("networks", networks_of(stored), " "),
            lines: may_limit(visitor).then(|| filled("limits", lines_of(stored), "\n")),
            own_address: visitor.call.address.as_ref().map(ToString::to_string),
        }
    }

    /// Whether both fields are empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.lines.as_ref().is_none_or(String::is_empty)
    }
}

/// Returns the default limits of a new key.
pub(crate) fn of_new_keys(policy: &Policy) -> Limits {
    Limits {
        counted: policy.default_limits.clone(),
        ..Limits::default()
    }
}

/// Returns the networks of a key as text.
pub(crate) fn networks_of(limits: &Limits) -> Vec<String> {
    limits.networks.as_slice().iter().map(ToString::to_string).collect()
}

/// Returns the limits of a key as text.
pub(crate) fn lines_of(limits: &Limits) -> Vec<String> {
    let limits = limits.counted.as_slice().iter();
    limits.map(|limit| key_limit::limit(limit).to_string()).collect()
}

/// Whether the visitor may set limits: a member may not, not even for their own keys.
fn may_limit(visitor: &Visitor) -> bool {
    visitor.call.caller.own.is_none()
}

pub(super) fn networks(fields: &FormFields) -> Result<Networks, Problem> {
    let words = fields.raw("networks").split([' ', ',', '\n', '\r', '\t']);
    text::networks("networks", words.filter(|word| !word.is_empty()))
}

/// Returns `None` if the form has no such field for the visitor.
pub(super) fn counted(visitor: &Visitor, fields: &FormFields) -> Result<Option<CountedLimits>, Problem> {
    if !may_limit(visitor) || !fields.has("limits") {
        return Ok(None);
    }
    counted_of(fields, "limits").map(Some)
}

/// Reads the limits of a field, one per line.
pub(crate) fn counted_of(fields: &FormFields, name: &str) -> Result<CountedLimits, Problem> {
    let lines = fields.raw(name).lines().map(str::trim).filter(|line| !line.is_empty());
    let wrong = |place: usize| Problem::field(&format!("{name}[{place}]"), LINE_FORM);
    let one = |(place, line)| KeyLimit::of_line(line).ok_or_else(|| wrong(place));
    let wishes: Result<Vec<_>, _> = lines.enumerate().map(one).collect();
    text::limits(name, &wishes?)
}
