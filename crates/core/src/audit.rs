//! The audit chain: every change is one entry, numbered without gaps, and each entry's hash covers all before it.
//!
//! `chain(n) = SHA-256(chain(n-1) ‖ entry(n))` (coherence.md, section 2.1). One log is audit trail and invalidation
//! feed in one. This module only knows how an entry is put into bytes; keeping it is the store's business.

use crate::access::words;
use crate::time::Timestamp;
use sha2::{Digest as _, Sha256};

words!(
    /// What was done (http.md, section 2c).
    Action {
        /// A key was issued.
        KeyCreated => "key.created",
        /// What is written about a key changed.
        KeyUpdated => "key.updated",
        /// A key got a new secret.
        KeyRotated => "key.rotated",
        /// The overlap of a rotation was ended.
        KeyRotationFinished => "key.rotation_finished",
        /// A hold was put on a key.
        KeyDisabled => "key.disabled",
        /// A hold was lifted.
        KeyReactivated => "key.reactivated",
        /// A key was revoked.
        KeyRevoked => "key.revoked",
        /// A key's record was destroyed.
        KeyErased => "key.erased",
        /// A tenant was made.
        TenantCreated => "tenant.created",
        /// A root key was made.
        RootKeyCreated => "root_key.created",
        /// A root key was revoked.
        RootKeyRevoked => "root_key.revoked",
    }
);

/// A link of the chain: 32 bytes. The chain starts with zeros.
pub type ChainHash = [u8; 32];

/// One entry of the log, as it is hashed. Texts are borrowed from wherever they are kept.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The number of the change: 1, 2, 3, … without gaps.
    pub revision: u64,
    /// When.
    pub at: Timestamp,
    /// In which tenant.
    pub tenant: &'a str,
    /// Kind of actor.
    pub actor_type: &'a str,
    /// Who.
    pub actor_id: &'a str,
    /// What was done.
    pub action: &'a str,
    /// Kind of thing it was done to.
    pub target_type: &'a str,
    /// The thing.
    pub target_id: &'a str,
    /// The owner of the key, where there is one.
    pub subject: Option<&'a str>,
    /// Why.
    pub reason: Option<&'a str>,
    /// From which network address.
    pub address: Option<&'a str>,
    /// In which request.
    pub request_id: &'a str,
    /// The thing before, as JSON without secrets.
    pub before: Option<&'a str>,
    /// The thing after, as JSON without secrets.
    pub after: Option<&'a str>,
}

/// The next link: covers the previous link and every field of the entry, each with its length before it, so that no
/// two different entries give the same bytes.
pub fn link(previous: &ChainHash, entry: &Entry<'_>) -> ChainHash {
    let mut hasher = Sha256::new();
    hasher.update(b"keyreeve audit 1");
    hasher.update(previous);
    hasher.update(entry.revision.to_be_bytes());
    hasher.update(entry.at.millis().to_be_bytes());
    let always = [
        entry.tenant,
        entry.actor_type,
        entry.actor_id,
        entry.action,
        entry.target_type,
        entry.target_id,
        entry.request_id,
    ];
    let sometimes = [entry.subject, entry.reason, entry.address, entry.before, entry.after];
    for text in always.into_iter().map(Some).chain(sometimes) {
        match text {
            None => hasher.update([0]),
            Some(text) => {
                hasher.update([1]);
                hasher.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
                hasher.update(text.as_bytes());
            }
        }
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry<'static> {
        Entry {
            revision: 1,
            at: Timestamp::from_millis(5),
            tenant: "default",
            actor_type: "root_key",
            actor_id: "rk_1",
            action: "key.revoked",
            target_type: "key",
            target_id: "ak_1",
            subject: Some("user_1"),
            reason: None,
            address: None,
            request_id: "req_1",
            before: Some("{}"),
            after: None,
        }
    }

    #[test]
    fn every_field_and_the_previous_link_change_the_hash() {
        let changes: [fn(&mut Entry<'static>); 14] = [
            |entry| entry.revision = 2,
            |entry| entry.at = Timestamp::from_millis(6),
            |entry| entry.tenant = "other",
            |entry| entry.actor_type = "key",
            |entry| entry.actor_id = "rk_2",
            |entry| entry.action = "key.erased",
            |entry| entry.target_type = "tenant",
            |entry| entry.target_id = "ak_2",
            |entry| entry.subject = None,
            |entry| entry.reason = Some(""),
            |entry| entry.address = Some("::1"),
            |entry| entry.request_id = "req_2",
            |entry| entry.before = None,
            |entry| entry.after = Some("{}"),
        ];
        let base = link(&[0; 32], &entry());
        assert_eq!(base, link(&[0; 32], &entry()));
        assert_ne!(base, link(&[1; 32], &entry()));
        for (place, change) in changes.iter().enumerate() {
            let mut changed = entry();
            change(&mut changed);
            assert_ne!(base, link(&[0; 32], &changed), "change {place}");
        }
    }

    #[test]
    fn text_cannot_slip_from_one_field_into_the_next() {
        let split = Entry {
            target_id: "ak_1x",
            request_id: "y",
            ..entry()
        };
        let other = Entry {
            target_id: "ak_1",
            request_id: "xy",
            ..entry()
        };
        assert_ne!(link(&[0; 32], &split), link(&[0; 32], &other));
    }
}
