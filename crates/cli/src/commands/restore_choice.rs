//! The operator's choice after a restore, as options of several commands.

use super::moment::PointInTime;
use clap::Args;
use keyreeve_server::restored::{RestoreChoice, RestoreReport};

/// What happens with keys that may have been denied in the time for which no denial is known.
#[derive(Clone, Copy, Debug, Args)]
#[group(multiple = false)]
pub(crate) struct ChoiceOptions {
    /// Put every key on hold until it is released by `keyreeve restore release`
    #[arg(long)]
    hold_all: bool,
    /// Put keys on hold that were issued, changed or used at or after this time, such as 2026-11-30T12:00:00Z
    #[arg(long, value_name = "TIME")]
    hold_since: Option<PointInTime>,
    /// Put nothing on hold
    #[arg(long)]
    accept: bool,
}

impl ChoiceOptions {
    /// Returns the choice, if one was made.
    pub(crate) fn choice(self) -> Option<RestoreChoice> {
        match (self.hold_all, self.hold_since, self.accept) {
            (true, _, _) => Some(RestoreChoice::HoldAll),
            (_, Some(PointInTime(millis)), _) => {
                let since = keyreeve_server::restored::moment(millis);
                Some(RestoreChoice::HoldSince(since))
            }
            (_, _, true) => Some(RestoreChoice::Accept),
            (false, None, false) => None,
        }
    }
}

/// Describes what was done, in lines of text.
pub(crate) fn report(done: &RestoreReport) -> Vec<String> {
    let record = &done.record;
    let mut lines = Vec::new();
    for file in &done.files {
        let damage = match file.damages {
            0 => String::new(),
            places => format!("; {places} places in it cannot be read, and everything else was used"),
        };
        lines.push(format!(
            "{}: {} denials, {} of them lost by the database{damage}",
            file.path.display(),
            file.denials,
            file.lost
        ));
    }
    if done.files.is_empty() {
        lines.push("No file with denials was found: name one with --denials if another node has it.".to_owned());
    }
    let again = &done.reapplied;
    lines.push(format!(
        "Denied again: {} keys, {} users, {} tenants, {} root keys.",
        again.keys, again.users, again.tenants, again.root_keys
    ));
    lines.push(format!(
        "No denial is known of the time from {} to {}.",
        time(record.unknown_since.millis()),
        time(record.unknown_until.millis())
    ));
    lines.push(match record.choice {
        Some(RestoreChoice::Accept) => "Accepted: no key was put on hold for that time.".to_owned(),
        Some(RestoreChoice::HoldAll | RestoreChoice::HoldSince(_)) => format!(
            "{} keys are on hold. Release them by `keyreeve restore release`, with a filter.",
            record.held
        ),
        None => "No choice was made for that time: the server starts, and verifies no key until `keyreeve restore \
                 decide` was called with --hold-all, --hold-since TIME or --accept."
            .to_owned(),
    });
    lines
}

/// Returns a time as RFC 3339 has it.
pub(super) fn time(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |at| at.to_string())
}
