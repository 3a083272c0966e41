//! The wire form of an entry of the audit log.

use keyreeve_api::audit::{AuditEvent, Party};
use keyreeve_authority::model::AuditRecord;
use keyreeve_core::hex;

/// Returns an entry as the API shows it.
pub fn event(record: &AuditRecord) -> AuditEvent {
    let json = |text: &Option<String>| text.as_deref().and_then(|text| serde_json::from_str(text).ok());
    AuditEvent {
        id: format!("evt_{}", record.revision),
        revision: record.revision,
        at: record.at.millis(),
        tenant: record.tenant.clone(),
        actor: Party {
            kind: record.actor_type.clone(),
            id: record.actor_id.clone(),
        },
        action: record.action.clone(),
        target: Party {
            kind: record.target_type.clone(),
            id: record.target_id.clone(),
        },
        subject: record.subject.clone(),
        reason: record.reason.clone(),
        address: record.address.clone(),
        request_id: record.request_id.clone(),
        before: json(&record.before),
        after: json(&record.after),
        hash: hex(&record.chain),
    }
}
