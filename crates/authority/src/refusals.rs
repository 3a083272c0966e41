//! Refused calls in the audit log: of one caller in one minute the first few, and a count of the others. A caller who
//! repeats refused calls fills neither the log nor the disk.

use crate::audit::AuditUseCases;
use crate::memory::{Refused, RefusedCall};
use crate::{Call, Failure};
use keyreeve_core::audit::Action;
use keyreeve_store::model::Event;

impl AuditUseCases<'_> {
    /// Logs that an authenticated caller was refused something, at once or together with others of the same caller and
    /// minute. The refusal holds whether or not this succeeds.
    pub async fn note_refusal(self, call: &Call, refused: Refused) -> Result<(), Failure> {
        let entries = self.0.refusals.take(call, refused, self.0.clock.moment());
        self.write_refusals(entries).await
    }

    /// Logs a refused call within a second, so that the answer does not show that it is logged.
    pub fn note_refusal_soon(self, call: &Call, refused: Refused) {
        self.0.refusals.take_soon(call, refused, self.0.clock.moment());
    }

    /// Logs the refusals of minutes that are over, or `all`. Call once a second, and at the end.
    pub async fn flush_refusals(self, all: bool) -> Result<(), Failure> {
        let entries = self.0.refusals.due(self.0.clock.moment(), all);
        self.write_refusals(entries).await
    }

    async fn write_refusals(self, entries: Vec<RefusedCall>) -> Result<(), Failure> {
        let mut entries = entries.into_iter();
        while let Some(entry) = entries.next() {
            if let Err(error) = self.write_refusal(&entry).await {
                let now = self.0.clock.moment();
                std::iter::once(entry)
                    .chain(entries)
                    .for_each(|entry| self.0.refusals.put_back(entry, now));
                return Err(error);
            }
        }
        Ok(())
    }

    async fn write_refusal(self, (call, refused, together): &RefusedCall) -> Result<(), Failure> {
        let event = Event {
            tenant: Some(call.tenant.clone()),
            target_type: refused.target_type,
            target_id: refused.target_id.clone(),
            subject: None,
            action: Action::AccessRefused,
            reason: Some(refused.reason(*together).into()),
            before: None,
            after: None,
        };
        self.0
            .store
            .record_events(call.context(self.0.earliest()), vec![event])
            .await?;
        Ok(())
    }
}
