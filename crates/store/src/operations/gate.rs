//! Rules for a key that works again (re-activated, rotated or renewed). They are those of a new key: its owner must not
//! be suspended or removed, and the owner's limit and the names of the owner's other keys are checked in the same
//! transaction.

use crate::error::WriteError;
use crate::model::{KeyRecord, Tenant};
use crate::tx::{SubjectCount, Tx};
use keyreeve_core::lifecycle::{Refusal, State};
use keyreeve_core::policy::Names;
use keyreeve_core::{Key, Timestamp};

/// The state of a key, its owner and its tenant before a change.
pub(super) struct ChangeGate<'t> {
    tenant: &'t Tenant,
    before: Key,
    owner_blocked: bool,
    now: Timestamp,
}

impl<'t> ChangeGate<'t> {
    /// Records the state before the change, as of `now`.
    pub(super) fn of(record: &KeyRecord, tenant: &'t Tenant, now: Timestamp) -> Self {
        Self {
            tenant,
            before: record.key.clone().settled(now),
            owner_blocked: record.owner_blocked,
            now,
        }
    }

    /// Whether a change gives the key a new secret, re-activates it, or renews it.
    fn brings_back(&self, after: &Key) -> bool {
        let (before, now) = (&self.before, self.now);
        let is_lifted = before.state != State::Active;
        let is_renewed = before.is_expired(now) && !after.is_expired(now);
        after.state == State::Active && (is_lifted || is_renewed || after.secret.digest != before.secret.digest)
    }

    /// Called after the decision and before the write. Refuses if the key would count again and the owner's limit is
    /// reached, or if it would hold its name again and another key has taken it since.
    pub(super) async fn admit(&self, tx: &mut dyn Tx, after: &Key) -> Result<(), WriteError> {
        let refused = |refusal| Err(WriteError::Refused { item: 0, refusal });
        if self.owner_blocked && self.brings_back(after) {
            return refused(Refusal::OwnerBlocked);
        }
        let limit = self.tenant.policy.limit;
        if let Some(max) = limit.keys_per_subject
            && !self.before.counts(&self.tenant.policy, self.now)
            && after.counts(&self.tenant.policy, self.now)
        {
            let counted = SubjectCount {
                tenant: &self.tenant.slug,
                subject: &after.subject,
                count_expired: limit.count_expired,
                now: self.now,
                adding: 1,
                max,
            };
            let used = tx.count_keys(&[counted]).await?.first().copied().unwrap_or(u32::MAX);
            if used >= max {
                return refused(Refusal::LimitReached { max, used });
            }
        }
        if self.tenant.policy.names == Names::Unique
            && !self.before.holds_its_name(self.now)
            && after.holds_its_name(self.now)
        {
            let names = [(&after.subject, &after.name)];
            let taken = tx.are_names_taken(&self.tenant.slug, &names, Some(after.id), self.now);
            if taken.await?.contains(&true) {
                return refused(Refusal::NameTaken);
            }
        }
        Ok(())
    }
}

/// Refuses to give a key of a blocked owner a new secret.
pub(super) fn not_blocked(item: usize, record: &KeyRecord) -> Result<(), WriteError> {
    match record.owner_blocked {
        true => Err(WriteError::Refused {
            item,
            refusal: Refusal::OwnerBlocked,
        }),
        false => Ok(()),
    }
}
