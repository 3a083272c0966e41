//! The audit log: reading it, verifying it, and recording what was refused.

use crate::keys::KeyUseCases;
use crate::{Authority, Call, Failure};
use keyreeve_core::access::{Actor, Permission, Reach};
use keyreeve_core::audit::{Action, Broken, Comparison, Milestone, Walk, compare};
use keyreeve_core::{KeyId, Timestamp};
use keyreeve_store::Store;
use keyreeve_store::model::{AuditQuery, AuditRecord, Event, Head, UsageCount, WriteContext, entry_of};

/// Entries read at a time when the log is verified.
const PAGE: u32 = 1_000;
/// Most entries of one key's history.
const LIFE_LINE_MAX: u32 = 1_000;

/// The filter of audit entries.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Only about this key, user or root key.
    pub target_id: Option<String>,
    /// Only by this actor.
    pub actor_id: Option<String>,
    /// Only of this action, or of a kind of action (`key.`).
    pub action: Option<String>,
    /// Only at or after this time.
    pub since: Option<Timestamp>,
    /// Only before this time.
    pub until: Option<Timestamp>,
    /// Only entries before this revision.
    pub before: Option<u64>,
    /// Only entries after this revision.
    pub after: Option<u64>,
    /// Oldest first; else newest first.
    pub oldest_first: bool,
    /// Most entries to return.
    pub limit: u32,
}

/// Most entries that are verified for a caller who is bound to a tenant.
const TAIL_MAX: u64 = 100_000;

/// The result of verifying the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditCheck {
    /// Where it began: entries up to here were not read again. 0 is the complete log.
    pub since: u64,
    /// The last of the entries that are consistent, counted from the first one on.
    pub sound: Milestone,
    /// The first entry that is not.
    pub broken: Option<Broken>,
}

/// The use cases of the audit log.
#[derive(Clone, Copy, Debug)]
pub struct AuditUseCases<'a>(pub(crate) &'a Authority);

impl Authority {
    /// Returns the use cases of the audit log.
    pub fn audit(&self) -> AuditUseCases<'_> {
        AuditUseCases(self)
    }
}

impl AuditUseCases<'_> {
    /// Returns entries of the caller's tenant. An instance caller in the tenant `default` also sees those of the
    /// instance.
    pub async fn events(self, call: &Call, filter: AuditFilter) -> Result<Vec<AuditRecord>, Failure> {
        call.require(Permission::AuditRead)?;
        let with_instance =
            call.caller.reach == Reach::Instance && call.tenant.as_str() == crate::tenants::DEFAULT_TENANT;
        let query = AuditQuery {
            tenant: Some(call.tenant.clone()),
            with_instance,
            target_id: filter.target_id,
            actor_id: filter.actor_id,
            subject: None,
            action: filter.action,
            since: filter.since,
            until: filter.until,
            before: filter.before,
            after: filter.after,
            oldest_first: filter.oldest_first,
            limit: filter.limit,
        };
        Ok(self.0.store.audit(query).await?)
    }

    /// Verifies the log: for an instance caller all of it; for a tenant's caller what came after `signed`, the newest
    /// end that this process has signed, and at most 100 000 entries. `held` is an end that was recorded outside the
    /// database and that the log must contain.
    pub async fn verify(
        self,
        call: &Call,
        signed: Option<Milestone>,
        held: Option<Milestone>,
    ) -> Result<AuditCheck, Failure> {
        call.require(Permission::AuditRead)?;
        match call.caller.reach {
            Reach::Instance => check_log(self.0.store.as_ref(), held).await,
            Reach::Tenant(_) => check_tail(self.0.store.as_ref(), signed, held).await,
        }
    }

    /// Returns the present end of the log, for a checkpoint.
    pub async fn head(self) -> Result<Head, Failure> {
        Ok(self.0.store.head().await?)
    }

    /// Returns the log after a revision, oldest entry first: at most `limit` entries, of all tenants. For the process
    /// itself.
    pub async fn after(self, revision: u64, limit: u32) -> Result<Vec<AuditRecord>, Failure> {
        Ok(self.0.store.audit_after(revision, limit).await?)
    }

    /// Returns whether the log contains an end that was recorded before.
    pub async fn compare(self, recorded: Milestone) -> Result<Comparison, Failure> {
        compare_log(self.0.store.as_ref(), recorded).await
    }

    /// Records that the operator accepted a database whose log does not contain the signed end. `before` is the signed
    /// end and `after` the one of the database, both as JSON. Returns the revision of the entry.
    pub async fn note_restore(self, reason: &str, before: String, after: String) -> Result<u64, Failure> {
        let event = Event {
            tenant: None,
            target_type: "instance",
            target_id: "keyreeve".to_owned(),
            subject: None,
            action: Action::RestoreAccepted,
            reason: Some(reason.into()),
            before: Some(before),
            after: Some(after),
        };
        let context = WriteContext {
            at: self.0.earliest(),
            actor: Actor::Operator,
            acting: None,
            secret: None,
            address: None,
            request_id: "accept-restore".into(),
            idempotency: None,
            only_if: None,
        };
        Ok(self.0.store.record_events(context, vec![event]).await?)
    }
}

impl KeyUseCases<'_> {
    /// Returns the history of a key, oldest entry first; also of a key that is erased.
    pub async fn events(self, call: &Call, id: KeyId) -> Result<Vec<AuditRecord>, Failure> {
        call.require(Permission::KeysRead)?;
        let query = AuditQuery {
            tenant: Some(call.tenant.clone()),
            target_id: Some(id.to_string()),
            oldest_first: true,
            limit: LIFE_LINE_MAX,
            ..AuditQuery::default()
        };
        let mut events = self.0.store.audit(query).await?;
        let is_own = |event: &AuditRecord| match (&call.caller.own, &event.subject) {
            (None, _) => true,
            (Some(own), subject) => subject.as_deref() == Some(own.as_str()),
        };
        events.retain(is_own);
        match events.iter().any(|event| event.action == Action::KeyCreated.as_str()) {
            true => Ok(events),
            false => Err(Failure::NotFound),
        }
    }

    /// Returns the counts of a key, by hour.
    pub async fn usage(
        self,
        call: &Call,
        id: KeyId,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<UsageCount>, Failure> {
        let record = self.get(call, id).await?;
        self.0.flush_activity_of(&record.key).await;
        Ok(self.0.store.usage(id, since, until).await?)
    }
}

/// Returns whether the log of a store contains an end that was recorded before. Reads its head and at most one entry.
pub async fn compare_log(store: &dyn Store, recorded: Milestone) -> Result<Comparison, Failure> {
    let head = store.head().await?;
    let head = Milestone {
        revision: head.revision,
        chain: head.chain,
    };
    let chain_there = match recorded.revision.checked_sub(1) {
        Some(before) if recorded.revision < head.revision => {
            let entries = store.audit_after(before, 1).await?;
            let found = entries.first().filter(|entry| entry.revision == recorded.revision);
            found.map(|entry| entry.chain)
        }
        Some(_) | None => None,
    };
    Ok(compare(recorded, head, chain_there))
}

/// Verifies the log of a store from the first entry to the head row and the checkpoint.
pub async fn check_log(store: &dyn Store, checkpoint: Option<Milestone>) -> Result<AuditCheck, Failure> {
    let head = head_of(store).await?;
    let walk = Walk::new(std::iter::once(head).chain(checkpoint).collect());
    walked(store, walk, u64::MAX).await
}

/// Verifies the end of a store's log: from `signed`, but at most the last [`TAIL_MAX`] entries, to the head row.
/// Whether it contains `signed` and `held` takes one entry each.
async fn check_tail(
    store: &dyn Store,
    signed: Option<Milestone>,
    held: Option<Milestone>,
) -> Result<AuditCheck, Failure> {
    let head = head_of(store).await?;
    for recorded in signed.into_iter().chain(held) {
        let (expected, found) = (recorded.revision, head.revision);
        let broken = match compare_log(store, recorded).await? {
            Comparison::Contained => continue,
            Comparison::Older => Broken::CutOff { expected, found },
            Comparison::Other => Broken::Rewritten { revision: expected },
        };
        return Ok(AuditCheck {
            since: 0,
            sound: Milestone {
                revision: 0,
                chain: [0; 32],
            },
            broken: Some(broken),
        });
    }
    let furthest = head.revision.saturating_sub(TAIL_MAX);
    let walk = match signed.filter(|signed| signed.revision >= furthest) {
        Some(signed) => Walk::after(signed, vec![head]),
        None if furthest == 0 => Walk::new(vec![head]),
        None => {
            let entries = store.audit_after(furthest.saturating_sub(1), 1).await?;
            let start = entries.first().ok_or(Failure::NotFound)?;
            let start = Milestone {
                revision: start.revision,
                chain: start.chain,
            };
            Walk::after(start, vec![head])
        }
    };
    walked(store, walk, head.revision).await
}

async fn head_of(store: &dyn Store) -> Result<Milestone, Failure> {
    let head = store.head().await?;
    Ok(Milestone {
        revision: head.revision,
        chain: head.chain,
    })
}

/// Reads on to the last entry, or until revision `until` is reached.
async fn walked(store: &dyn Store, mut walk: Walk, until: u64) -> Result<AuditCheck, Failure> {
    let since = walk.position().revision;
    while walk.position().revision < until {
        let page = store.audit_after(walk.position().revision, PAGE).await?;
        if page.is_empty() {
            break;
        }
        for record in &page {
            if let Err(broken) = walk.step(&entry_of(record), &record.chain) {
                let sound = walk.position();
                let broken = Some(broken);
                return Ok(AuditCheck { since, sound, broken });
            }
        }
    }
    let sound = walk.position();
    let broken = walk.finish().err();
    Ok(AuditCheck { since, sound, broken })
}
