//! What happens to an instance whose database was restored, or replaced by an older copy: lost denials are written
//! again, and the operator decides about the time for which no denial is known.
//!
//! The audit log is where this is stored: the newest of three entries of the instance is the state. So it is copied
//! with the log, every node of a database has the same one, and it changes only together with its audit entry.

mod hold;
mod record;

pub use hold::{HoldProgress, Release, Released};
pub use record::{RestoreChoice, RestoreRecord, RestoreStanding, RestoredFrom};

use crate::denials::{RESTORE_REQUEST, Reapplied, RecordedDenial, owed_by, reapply};
use crate::{Authority, Failure};
use keyreeve_core::audit::Action;
use keyreeve_store::model::{AuditRecord, Event};
use keyreeve_store::{Store, StoreError};

/// Returns the state of a store that no use case is connected to.
pub async fn standing_of(store: &dyn Store) -> Result<RestoreStanding, StoreError> {
    Ok(RestoreStanding::of(&store.instance_events(ENTRIES).await?))
}

/// Entries of the audit log that are read at a time.
const ENTRIES: u32 = 100;

/// The use cases of a restored instance.
#[derive(Clone, Copy, Debug)]
pub struct RestoreUseCases<'a>(pub(crate) &'a Authority);

impl Authority {
    /// Returns the use cases of a restored instance.
    pub fn restore(&self) -> RestoreUseCases<'_> {
        RestoreUseCases(self)
    }
}

impl RestoreUseCases<'_> {
    /// Returns the state, from the audit log.
    pub async fn standing(self) -> Result<RestoreStanding, Failure> {
        Ok(standing_of(&*self.0.store).await?)
    }

    /// Returns where the database ended before a restore: its newest entry that no restore has written. `None` for an
    /// empty log.
    pub async fn end_before(self) -> Result<Option<RestoredFrom>, Failure> {
        let mut before = self.0.store.head().await?.revision;
        while before > 0 {
            let start = before.saturating_sub(u64::from(ENTRIES));
            let page = self.0.store.audit_after(start, ENTRIES).await?;
            if page.is_empty() {
                return Ok(None);
            }
            let is_older = |entry: &&AuditRecord| {
                entry.revision <= before && entry.target_type != "instance" && entry.request_id != RESTORE_REQUEST
            };
            if let Some(entry) = page.iter().rev().find(is_older) {
                return Ok(Some(RestoredFrom {
                    taken_at: entry.at,
                    revision: entry.revision,
                    chain: entry.chain,
                }));
            }
            before = start;
        }
        Ok(None)
    }

    /// Records that a restore begins. From here on the state is [`RestoreStanding::Interrupted`] until
    /// [`RestoreUseCases::finish`]. Returns the entry's revision.
    pub async fn begin(self, record: &RestoreRecord, reason: &str) -> Result<u64, Failure> {
        self.note(Action::RestoreBegun, record, reason).await
    }

    /// Denies again what the database lacks. `denials` must be in the order in which they happened. May be repeated.
    pub async fn reapply(self, denials: &[RecordedDenial]) -> Result<Reapplied, Failure> {
        reapply(&*self.0.store, &owed_by(denials), self.0.earliest()).await
    }

    /// Records what was done, and the choice if one was made. Without one the state is
    /// [`RestoreStanding::Undecided`] from here on.
    pub async fn finish(self, record: &RestoreRecord, reason: &str) -> Result<u64, Failure> {
        self.note(Action::Restored, record, reason).await
    }

    /// Carries out a choice: puts keys on hold, in transactions of some hundred keys. May be repeated.
    pub async fn carry_out(self, choice: RestoreChoice, progress: &HoldProgress) -> Result<u64, Failure> {
        match choice {
            RestoreChoice::Accept => Ok(0),
            RestoreChoice::HoldAll => hold::hold(self.0, None, progress).await,
            RestoreChoice::HoldSince(time) => hold::hold(self.0, Some(time), progress).await,
        }
    }

    /// Makes the choice after a restore, and carries it out first. Holding keys is possible at any time after a
    /// restore. Fails if there was no restore, or if one was interrupted.
    pub async fn decide(
        self,
        choice: RestoreChoice,
        reason: &str,
        progress: &HoldProgress,
    ) -> Result<RestoreRecord, Failure> {
        let mut record = match self.standing().await? {
            RestoreStanding::Never => return Err(Failure::NotFound),
            RestoreStanding::Interrupted(_) => {
                let why = "the restore was interrupted: repeat it with the server stopped";
                return Err(Failure::Unavailable(why.to_owned()));
            }
            RestoreStanding::Undecided(record) | RestoreStanding::Decided(record) => record,
        };
        if let RestoreChoice::HoldSince(since) = choice
            && !record.from.reaches(since)
        {
            let why = "the restored copy ends before that time, and no key would be held: name an earlier time, or \
                       choose hold_all or accept. Nothing was changed";
            return Err(Failure::Unavailable(why.to_owned()));
        }
        record.held = self.carry_out(choice, progress).await?;
        record.choice = Some(choice);
        record.revision = self.note(Action::RestoreDecided, &record, reason).await?;
        Ok(record)
    }

    async fn note(self, action: Action, record: &RestoreRecord, reason: &str) -> Result<u64, Failure> {
        let event = Event {
            tenant: None,
            target_type: "instance",
            target_id: "keyreeve".to_owned(),
            subject: None,
            action,
            reason: Some(reason.into()),
            before: Some(record.before()),
            after: Some(record.after()),
        };
        let context = crate::denials::operator(self.0.earliest());
        Ok(self.0.store.record_events(context, vec![event]).await?)
    }

    /// Re-activates keys that a restore has put on hold and that a filter selects. With `is_dry` they are only counted.
    pub async fn release(self, filter: &Release, is_dry: bool, progress: &HoldProgress) -> Result<Released, Failure> {
        hold::release(self.0, filter, is_dry, progress).await
    }
}
