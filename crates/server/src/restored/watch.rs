//! Keeps the process from verifying keys while an operator has to decide.

use keyreeve_authority::restored::{RestoreRecord, RestoreStanding};
use keyreeve_authority::{Authority, Failure};
use keyreeve_core::Timestamp;

/// Withholds verdicts, or gives them again, as the audit log requires.
pub(crate) async fn withhold_if_undecided(authority: &Authority) -> Result<(), Failure> {
    let standing = authority.restore().standing().await?;
    let why = match &standing {
        RestoreStanding::Never | RestoreStanding::Decided(_) => None,
        RestoreStanding::Interrupted(record) => Some(format!(
            "the database was restored, and lost denials may not be written to it again, because that was \
             interrupted ({}): stop the server and repeat the restore, or `keyreeve audit accept-restore`",
            span(record)
        )),
        RestoreStanding::Undecided(record) => Some(format!(
            "the database was restored, and no denial is known of {}: choose what happens with its keys by `keyreeve \
             restore decide --hold-all`, `--hold-since TIME` or `--accept`",
            span(record)
        )),
    };
    let known = authority.verifier().withheld();
    if known.as_deref() == why.as_deref() {
        return Ok(());
    }
    authority.verifier().withhold(why.as_deref());
    match why {
        Some(why) => tracing::error!("no key is verified: {why}"),
        None => tracing::info!("keys are verified again: the operator has decided after the restore"),
    }
    Ok(())
}

fn span(record: &RestoreRecord) -> String {
    format!("{} to {}", time(record.unknown_since), time(record.unknown_until))
}

/// Returns a time as RFC 3339 has it.
pub(super) fn time(at: Timestamp) -> String {
    let parsed = jiff::Timestamp::from_millisecond(at.millis());
    parsed.map_or_else(|_| at.millis().to_string(), |at| at.to_string())
}

/// Looks whether the state has changed, by another node or by a command.
#[derive(Debug, Default)]
pub(crate) struct RestoreWatch {
    applied: Option<u64>,
}

impl RestoreWatch {
    /// Reads the state if there are new entries in the log. Call once a second.
    pub(crate) async fn look(&mut self, authority: &Authority) {
        let applied = authority.verifier().applied();
        if self.applied == Some(applied) {
            return;
        }
        // Only from a log that this process may answer from.
        if authority.holds_lease() && withhold_if_undecided(authority).await.is_ok() {
            self.applied = Some(applied);
        }
    }
}
