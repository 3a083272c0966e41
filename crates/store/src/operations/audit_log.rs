//! The audit log: every change is numbered, chained and written in the transaction that makes it.

use crate::error::StoreError;
use crate::model::{AuditDraft, AuditRecord, WriteContext, entry_of};
use crate::tx::Tx;
use keyreeve_core::Key;
use keyreeve_core::audit::{Action, link};

/// The target of an entry.
pub(super) struct Target {
    pub(super) tenant: String,
    pub(super) kind: &'static str,
    pub(super) id: String,
    pub(super) subject: Option<String>,
}

impl Target {
    pub(super) fn key(key: &Key) -> Self {
        Self {
            tenant: key.tenant.to_string(),
            kind: "key",
            id: key.id.to_string(),
            subject: Some(key.subject.to_string()),
        }
    }
}

/// Returns a draft without a state before, for a record that was created.
pub(super) fn made(action: Action, after: String) -> AuditDraft {
    AuditDraft {
        action,
        reason: None,
        before: None,
        after: Some(after),
    }
}

/// Appends entries in order and returns the newest revision. Called last in a transaction: the head is locked from here
/// to the commit, so revision order is commit order.
pub(super) async fn append(
    tx: &mut dyn Tx,
    context: &WriteContext,
    entries: Vec<(Target, AuditDraft)>,
) -> Result<u64, StoreError> {
    let mut head = tx.lock_head().await?;
    let mut records = Vec::with_capacity(entries.len());
    for (target, draft) in entries {
        tx.actions().push(draft.action);
        let mut record = record_of(context, target, draft);
        record.revision = head.revision + 1;
        record.chain = link(&head.chain, &entry_of(&record));
        head.revision = record.revision;
        head.chain = record.chain;
        records.push(record);
    }
    if !records.is_empty() {
        tx.append(&records, head).await?;
    }
    Ok(head.revision)
}

fn record_of(context: &WriteContext, target: Target, draft: AuditDraft) -> AuditRecord {
    AuditRecord {
        revision: 0,
        at: context.at,
        tenant: target.tenant,
        actor_type: context.actor.kind().to_owned(),
        actor_id: context.actor.id(),
        action: draft.action.as_str().to_owned(),
        target_type: target.kind.to_owned(),
        target_id: target.id,
        subject: target.subject,
        reason: draft.reason.map(Into::into),
        address: context.address.as_deref().map(str::to_owned),
        request_id: context.request_id.to_string(),
        before: draft.before,
        after: draft.after,
        chain: [0; 32],
    }
}
