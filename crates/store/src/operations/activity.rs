//! Writes that no decision depends on: uses, counts, and events that only the audit log has.

use super::audit_log::{Target, append};
use super::{Written, recheck_actor};
use crate::error::WriteError;
use crate::model::{ActivityBatch, AuditDraft, Event, WriteContext};
use crate::store::Commit;
use crate::tx::Tx;
use keyreeve_core::Timestamp;
use keyreeve_core::audit::Action;
use keyreeve_core::text::Slug;

/// How long counts are kept: 90 days.
const COUNTS_KEPT_MS: i64 = 90 * 24 * 3_600_000;
/// Maximum number of outcomes and addresses that are kept of a key, the newest ones.
const TRACES_KEPT: u32 = 50;

/// Stores uses and counts. Makes no revision and no audit entry.
pub(crate) async fn record_activity(tx: &mut dyn Tx, activity: &ActivityBatch) -> Result<Written<()>, WriteError> {
    if !activity.uses.is_empty() {
        tx.record_uses(&activity.uses).await?;
    }
    if !activity.presented.is_empty() {
        tx.record_presented(&activity.presented).await?;
    }
    if !activity.refused.is_empty() {
        tx.record_refusals(&activity.refused).await?;
    }
    if let Some(newest) = activity.counts.iter().map(|count| count.hour).max() {
        let stale = Timestamp::from_millis(newest.millis().saturating_sub(COUNTS_KEPT_MS));
        tx.add_counts(&activity.counts, stale).await?;
    }
    if !activity.traces.is_empty() {
        tx.add_traces(&activity.traces, TRACES_KEPT).await?;
    }
    if !activity.root_key_uses.is_empty() {
        tx.record_root_key_uses(&activity.root_key_uses).await?;
    }
    Ok(Written {
        value: (),
        commit: Commit::default(),
    })
}

/// Rewrites the end of the log unchanged: a write like every other that changes nothing.
pub(crate) async fn probe_write(tx: &mut dyn Tx) -> Result<Written<()>, WriteError> {
    let head = tx.lock_head().await?;
    tx.append(&[], head).await?;
    Ok(Written {
        value: (),
        commit: Commit::default(),
    })
}

/// Writes events into the audit log.
pub(crate) async fn record_events(
    tx: &mut dyn Tx,
    context: &WriteContext,
    events: Vec<Event>,
) -> Result<Written<u64>, WriteError> {
    // An invitation gives access: it is refused like a change if the caller has lost its credential since. Refusals and
    // what was noticed are recorded in any case.
    let invited = events.iter().find(|event| event.action == Action::UserInvited);
    if let Some(tenant) = invited.and_then(|event| event.tenant.as_ref()) {
        recheck_actor(tx, context, tenant).await?;
    }
    let entries = events.into_iter().map(entry).collect();
    let revision = append(tx, context, entries).await?;
    Ok(Written {
        value: revision,
        commit: Commit {
            revision,
            ..Commit::default()
        },
    })
}

fn entry(event: Event) -> (Target, AuditDraft) {
    let target = Target {
        tenant: event.tenant.as_ref().map(Slug::to_string).unwrap_or_default(),
        kind: event.target_type,
        id: event.target_id,
        subject: event.subject,
    };
    let draft = AuditDraft {
        action: event.action,
        reason: event.reason,
        before: event.before,
        after: event.after,
    };
    (target, draft)
}
