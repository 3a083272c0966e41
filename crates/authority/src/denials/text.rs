//! Lines of the file with denials. The file adds a number and a checksum to each.

use super::{DenialChange, DeniedRecord, RecordedDenial};
use keyreeve_core::access::Role;
use keyreeve_core::audit::{ChainHash, Milestone};
use keyreeve_core::bytes_of_hex;
use keyreeve_core::text::Slug;
use keyreeve_core::{KeyId, RootKeyId, Timestamp, UserId, hex};

/// A line of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LedgerLine {
    /// The chain hash of the log's first entry. Another one belongs to another instance.
    Origin(ChainHash),
    /// From here on the lines are complete for the log that contains this entry: every denial after it follows.
    Begins(Milestone, Timestamp),
    /// Every denial up to this entry was written, and there was no later entry at this time.
    Seen(Milestone, Timestamp),
    /// A denial.
    Denial(RecordedDenial),
}

impl LedgerLine {
    /// Returns the text, without a line feed.
    pub fn write(&self) -> String {
        match self {
            Self::Origin(chain) => format!("origin {}", hex(chain)),
            Self::Begins(end, at) => format!("begins {}", position(*end, *at)),
            Self::Seen(end, at) => format!("seen {}", position(*end, *at)),
            Self::Denial(denial) => {
                let position = position(denial.entry, denial.at);
                let change = word(denial.change);
                match &denial.target {
                    DeniedRecord::Key(tenant, id) => format!("key {position} {change} {id} {tenant}"),
                    DeniedRecord::User(tenant, id) => format!("user {position} {change} {id} {tenant}"),
                    DeniedRecord::Tenant(slug) => format!("tenant {position} {change} {slug}"),
                    DeniedRecord::RootKey(id) => format!("root_key {position} {change} {id}"),
                }
            }
        }
    }

    /// Reads a line; `None` if it is none.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let kind = words.next()?;
        if kind == "origin" {
            return ended(Self::Origin(bytes_of_hex(words.next()?)?), words);
        }
        let entry = Milestone {
            revision: words.next()?.parse().ok()?,
            chain: bytes_of_hex(words.next()?)?,
        };
        let at = Timestamp::from_millis(words.next()?.parse().ok()?);
        match kind {
            "begins" => return ended(Self::Begins(entry, at), words),
            "seen" => return ended(Self::Seen(entry, at), words),
            _ => {}
        }
        let change = parse_word(words.next()?)?;
        let first = words.next()?;
        let target = match kind {
            "key" => DeniedRecord::Key(Slug::parse(words.next()?).ok()?, KeyId::parse(first).ok()?),
            "user" => DeniedRecord::User(Slug::parse(words.next()?).ok()?, UserId::parse(first).ok()?),
            "tenant" => DeniedRecord::Tenant(Slug::parse(first).ok()?),
            "root_key" => DeniedRecord::RootKey(RootKeyId::parse(first).ok()?),
            _ => return None,
        };
        let denial = RecordedDenial {
            entry,
            at,
            target,
            change,
        };
        ended(Self::Denial(denial), words)
    }
}

/// Returns the line, if nothing follows it.
fn ended<'t>(line: LedgerLine, mut rest: impl Iterator<Item = &'t str>) -> Option<LedgerLine> {
    rest.next().is_none().then_some(line)
}

fn position(entry: Milestone, at: Timestamp) -> String {
    format!("{} {} {}", entry.revision, hex(&entry.chain), at.millis())
}

fn word(change: DenialChange) -> String {
    match change {
        DenialChange::Ended => "ended".to_owned(),
        DenialChange::Withdrawn => "withdrawn".to_owned(),
        DenialChange::Held => "held".to_owned(),
        DenialChange::GivenBack => "given_back".to_owned(),
        DenialChange::Rotated => "rotated".to_owned(),
        DenialChange::Finished => "finished".to_owned(),
        DenialChange::Narrowed => "narrowed".to_owned(),
        DenialChange::Suspended => "suspended".to_owned(),
        DenialChange::Removed => "removed".to_owned(),
        DenialChange::Opened => "opened".to_owned(),
        DenialChange::Demoted(role) => format!("role:{role}"),
    }
}

fn parse_word(word: &str) -> Option<DenialChange> {
    Some(match word {
        "ended" => DenialChange::Ended,
        "withdrawn" => DenialChange::Withdrawn,
        "held" => DenialChange::Held,
        "given_back" => DenialChange::GivenBack,
        "rotated" => DenialChange::Rotated,
        "finished" => DenialChange::Finished,
        "narrowed" => DenialChange::Narrowed,
        "suspended" => DenialChange::Suspended,
        "removed" => DenialChange::Removed,
        "opened" => DenialChange::Opened,
        _ => DenialChange::Demoted(Role::parse(word.strip_prefix("role:")?)?),
    })
}
