//! A restore, as its entries of the audit log have it.

use keyreeve_core::audit::{Action, ChainHash};
use keyreeve_core::bytes_of_hex;
use keyreeve_core::{Timestamp, hex};
use keyreeve_store::model::AuditRecord;
use serde_json::{Value, json};

/// Where a restored database ended before the restore.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RestoredFrom {
    /// When the copy was made, or the time of its newest entry: later changes are not in it.
    pub taken_at: Timestamp,
    /// Its newest entry.
    pub revision: u64,
    /// The chain hash of that entry.
    pub chain: ChainHash,
}

impl RestoredFrom {
    /// Whether the copy may have a key that was issued, changed or used at or after a time.
    pub fn reaches(&self, time: Timestamp) -> bool {
        time <= self.taken_at
    }
}

/// What the operator chose for the time for which no denial is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RestoreChoice {
    /// Every key is on hold until it is released.
    HoldAll,
    /// The same for keys that were issued, changed or used at or after a time.
    HoldSince(Timestamp),
    /// Nothing is put on hold.
    Accept,
}

impl RestoreChoice {
    /// Returns its name in the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HoldAll => "hold_all",
            Self::HoldSince(_) => "hold_since",
            Self::Accept => "accept",
        }
    }
}

/// A restore.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RestoreRecord {
    /// The newest entry of the audit log about it.
    pub revision: u64,
    /// Where the database ended.
    pub from: RestoredFrom,
    /// From here on no record of denials exists, until `unknown_until`.
    pub unknown_since: Timestamp,
    /// The time of the restore.
    pub unknown_until: Timestamp,
    /// Records that were denied again.
    pub reapplied: u64,
    /// Keys that were put on hold.
    pub held: u64,
    /// The choice; `None` if none was made.
    pub choice: Option<RestoreChoice>,
}

impl RestoreRecord {
    pub(super) fn before(&self) -> String {
        let from = &self.from;
        json!({"database": {
            "revision": from.revision, "hash": hex(&from.chain), "taken_at": from.taken_at.millis(),
        }})
        .to_string()
    }

    pub(super) fn after(&self) -> String {
        let since = match self.choice {
            Some(RestoreChoice::HoldSince(time)) => Some(time.millis()),
            _ => None,
        };
        json!({
            "unknown_since": self.unknown_since.millis(),
            "unknown_until": self.unknown_until.millis(),
            "denied_again": self.reapplied,
            "held": self.held,
            "choice": self.choice.map(RestoreChoice::as_str),
            "hold_since": since,
        })
        .to_string()
    }

    fn of(entry: &AuditRecord) -> Option<Self> {
        let parsed = |text: &Option<String>| text.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let (before, after): (Value, Value) = (parsed(&entry.before)?, parsed(&entry.after)?);
        let time = |name: &str| Some(Timestamp::from_millis(after.get(name)?.as_i64()?));
        let count = |name: &str| after.get(name).and_then(Value::as_u64).unwrap_or(0);
        let database = before.get("database")?;
        let choice = match after.get("choice").and_then(Value::as_str) {
            Some("hold_all") => Some(RestoreChoice::HoldAll),
            Some("hold_since") => Some(RestoreChoice::HoldSince(time("hold_since")?)),
            Some("accept") => Some(RestoreChoice::Accept),
            Some(_) | None => None,
        };
        Some(Self {
            revision: entry.revision,
            from: RestoredFrom {
                taken_at: Timestamp::from_millis(database.get("taken_at")?.as_i64()?),
                revision: database.get("revision")?.as_u64()?,
                chain: bytes_of_hex(database.get("hash")?.as_str()?)?,
            },
            unknown_since: time("unknown_since")?,
            unknown_until: time("unknown_until")?,
            reapplied: count("denied_again"),
            held: count("held"),
            choice,
        })
    }
}

/// How far an instance is with a restore.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RestoreStanding {
    /// There was none.
    Never,
    /// One was begun, and lost denials may not be written again. It must be repeated.
    Interrupted(RestoreRecord),
    /// The operator has not chosen. No key is verified.
    Undecided(RestoreRecord),
    /// The operator has chosen.
    Decided(RestoreRecord),
}

impl RestoreStanding {
    /// Finds the state in entries of the instance, newest first. An entry that cannot be read counts as an interrupted
    /// restore of nothing known (fail closed).
    pub(super) fn of(entries: &[AuditRecord]) -> Self {
        let is_restore = |entry: &&AuditRecord| {
            let action = Action::parse(&entry.action);
            matches!(
                action,
                Some(Action::RestoreBegun | Action::Restored | Action::RestoreDecided)
            )
        };
        let Some(newest) = entries.iter().find(is_restore) else {
            return Self::Never;
        };
        let unreadable = RestoreRecord {
            revision: newest.revision,
            from: RestoredFrom {
                taken_at: Timestamp::from_millis(0),
                revision: newest.revision,
                chain: newest.chain,
            },
            unknown_since: Timestamp::from_millis(0),
            unknown_until: newest.at,
            reapplied: 0,
            held: 0,
            choice: None,
        };
        match (Action::parse(&newest.action), RestoreRecord::of(newest)) {
            (_, None) => Self::Interrupted(unreadable),
            (Some(Action::RestoreBegun), Some(record)) => Self::Interrupted(record),
            (_, Some(record)) if record.choice.is_none() => Self::Undecided(record),
            (_, Some(record)) => Self::Decided(record),
        }
    }

    /// Returns the restore that keeps keys from being verified, if one does.
    pub const fn pending(&self) -> Option<&RestoreRecord> {
        match self {
            Self::Interrupted(record) | Self::Undecided(record) => Some(record),
            Self::Never | Self::Decided(_) => None,
        }
    }
}
