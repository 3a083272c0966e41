//! The audit log: read it, check it, and write down what was refused.

use crate::{Authority, Call, Failure};
use keyreeve_core::access::{Permission, Reach};
use keyreeve_core::audit::{Action, Broken, Milestone, Walk};
use keyreeve_core::{KeyId, Timestamp};
use keyreeve_store::Store;
use keyreeve_store::model::{AuditQuery, AuditRecord, Event, Head, UsageCount, entry_of};

/// Entries read at a time when the log is walked.
const PAGE: u32 = 1_000;
/// Most entries in a key's life line.
const LIFE_LINE_MAX: u32 = 1_000;

/// Which entries to read.
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
    /// Most entries to give.
    pub limit: u32,
}

/// What a walk along the whole log found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditCheck {
    /// Entries that are sound, from the first one on.
    pub sound: Milestone,
    /// Where it stops being so.
    pub broken: Option<Broken>,
}

/// A refusal worth writing down.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Kind of the thing it was about.
    pub target_type: &'static str,
    /// The thing: an id, or the address template. Never text of the caller's own.
    pub target_id: String,
    /// The code and what was asked for.
    pub what: String,
}

impl Authority {
    /// Entries of the caller's tenant; an instance caller in the tenant `default` sees those of the instance too.
    pub async fn audit_events(&self, call: &Call, filter: AuditFilter) -> Result<Vec<AuditRecord>, Failure> {
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
        Ok(self.store.audit(query).await?)
    }

    /// A key's life line, oldest first; also of a key that is erased.
    pub async fn key_events(&self, call: &Call, id: KeyId) -> Result<Vec<AuditRecord>, Failure> {
        call.require(Permission::KeysRead)?;
        let query = AuditQuery {
            tenant: Some(call.tenant.clone()),
            target_id: Some(id.to_string()),
            oldest_first: true,
            limit: LIFE_LINE_MAX,
            ..AuditQuery::default()
        };
        let mut events = self.store.audit(query).await?;
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

    /// What was counted for a key, by hour.
    pub async fn key_usage(
        &self,
        call: &Call,
        id: KeyId,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<UsageCount>, Failure> {
        let record = self.get(call, id).await?;
        self.flush_activity_of(&record.key).await;
        Ok(self.store.usage(id, since, until).await?)
    }

    /// Walks the whole log. `checkpoint` is an end that was recorded outside the database.
    pub async fn verify_audit(&self, call: &Call, checkpoint: Option<Milestone>) -> Result<AuditCheck, Failure> {
        call.require(Permission::AuditRead)?;
        check_log(self.store.as_ref(), checkpoint).await
    }

    /// The present end of the log, for a checkpoint.
    pub async fn audit_head(&self) -> Result<Head, Failure> {
        Ok(self.store.head().await?)
    }

    /// Writes down that a known caller was refused something. The refusal stands whether or not this can be written.
    pub async fn note_refusal(&self, call: &Call, refused: Refused) -> Result<(), Failure> {
        let event = Event {
            tenant: Some(call.tenant.clone()),
            target_type: refused.target_type,
            target_id: refused.target_id,
            subject: None,
            action: Action::AccessRefused,
            reason: Some(refused.what.into()),
        };
        self.store.record_events(call.context(self.now()), vec![event]).await?;
        Ok(())
    }
}

/// Walks the log of a store from the first entry to the head row and the checkpoint.
pub async fn check_log(store: &dyn Store, checkpoint: Option<Milestone>) -> Result<AuditCheck, Failure> {
    let head = store.head().await?;
    let recorded = Milestone {
        revision: head.revision,
        chain: head.chain,
    };
    let mut walk = Walk::new(std::iter::once(recorded).chain(checkpoint).collect());
    loop {
        let page = store.audit_after(walk.position().revision, PAGE).await?;
        if page.is_empty() {
            break;
        }
        for record in &page {
            if let Err(broken) = walk.step(&entry_of(record), &record.chain) {
                let sound = walk.position();
                let broken = Some(broken);
                return Ok(AuditCheck { sound, broken });
            }
        }
    }
    let sound = walk.position();
    let broken = walk.finish().err();
    Ok(AuditCheck { sound, broken })
}
