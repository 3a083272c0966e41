//! The audit chain: every change is one entry, numbered without gaps, and each entry's hash covers all before it.
//!
//! `chain(n) = SHA-256(chain(n-1) ‖ entry(n))`. The log is also the invalidation log. This module defines the hashed
//! bytes of an entry; the store keeps the entries.

use crate::access::words;
use crate::time::Timestamp;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

words!(
    /// The action of an entry.
    Action {
        /// A key was issued.
        KeyCreated => "key.created",
        /// A field of a key changed.
        KeyUpdated => "key.updated",
        /// A key got a new secret.
        KeyRotated => "key.rotated",
        /// The counters of a key's limits were reset.
        KeyLimitsReset => "key.limits_reset",
        /// The overlap of a rotation was ended.
        KeyRotationFinished => "key.rotation_finished",
        /// A key was disabled.
        KeyDisabled => "key.disabled",
        /// A key was re-activated.
        KeyReactivated => "key.reactivated",
        /// A key was revoked.
        KeyRevoked => "key.revoked",
        /// A key's record was deleted.
        KeyErased => "key.erased",
        /// A secret of a key was reported as leaked.
        KeyLeaked => "key.leaked",
        /// A secret that a rotation replaced was presented.
        KeySecretReused => "key.secret_reused",
        /// A tenant's policy changed.
        PolicyUpdated => "policy.updated",
        /// A check policy was created.
        CheckPolicyCreated => "check_policy.created",
        /// A check policy changed.
        CheckPolicyUpdated => "check_policy.updated",
        /// A check policy was removed.
        CheckPolicyRemoved => "check_policy.removed",
        /// A tenant was created.
        TenantCreated => "tenant.created",
        /// A tenant was renamed, suspended or opened again.
        TenantUpdated => "tenant.updated",
        /// A tenant was removed, and its keys blocked.
        TenantRemoved => "tenant.removed",
        /// A user was created.
        UserCreated => "user.created",
        /// A user's role, status or name changed.
        UserUpdated => "user.updated",
        /// A user was removed, and all their keys blocked.
        UserRemoved => "user.removed",
        /// A user signed in to the dashboard.
        UserSignedIn => "user.signed_in",
        /// A sign-in with a user's address was refused.
        UserSignInRefused => "user.sign_in_refused",
        /// A link was created by which a user sets a password.
        UserInvited => "user.invited",
        /// A root key was created.
        RootKeyCreated => "root_key.created",
        /// A root key got a new secret.
        RootKeyRotated => "root_key.rotated",
        /// The overlap of a root key's rotation was ended.
        RootKeyRotationFinished => "root_key.rotation_finished",
        /// A root key was revoked.
        RootKeyRevoked => "root_key.revoked",
        /// The connection of a verifier was closed by an administrator.
        VerifierDisconnected => "verifier.disconnected",
        /// An authenticated caller was refused something.
        AccessRefused => "access.refused",
        /// The operator accepted a database that does not contain the signed checkpoint.
        RestoreAccepted => "instance.restore_accepted",
        /// Denials that a restored database has lost are about to be written to it again. Until the next entry of the
        /// instance no key is verified.
        RestoreBegun => "instance.restore_begun",
        /// The denials are written again; with the operator's choice, if one was made.
        Restored => "instance.restored",
        /// The operator made the choice, or another one, later.
        RestoreDecided => "instance.restore_decided",
    }
);

/// A hash of the chain: 32 bytes. The chain starts with zeros.
pub type ChainHash = [u8; 32];

/// One entry of the log, as it is hashed. Texts are borrowed.
#[derive(Clone, Copy, Debug)]
pub struct HashedEntry<'a> {
    /// The number of the change: 1, 2, 3, … without gaps.
    pub revision: u64,
    /// The time.
    pub at: Timestamp,
    /// The tenant.
    pub tenant: &'a str,
    /// The kind of actor.
    pub actor_type: &'a str,
    /// The actor.
    pub actor_id: &'a str,
    /// The action.
    pub action: &'a str,
    /// The kind of record that was changed.
    pub target_type: &'a str,
    /// The record.
    pub target_id: &'a str,
    /// The owner of the key, if it is about one.
    pub subject: Option<&'a str>,
    /// The reason.
    pub reason: Option<&'a str>,
    /// The actor's network address.
    pub address: Option<&'a str>,
    /// The id of the request.
    pub request_id: &'a str,
    /// The record before, as JSON without secrets.
    pub before: Option<&'a str>,
    /// The record after, as JSON without secrets.
    pub after: Option<&'a str>,
}

/// Returns the next hash: it covers the previous one and every field of the entry, each preceded by its length, so that
/// no two different entries give the same bytes.
pub fn link(previous: &ChainHash, entry: &HashedEntry<'_>) -> ChainHash {
    let mut hasher = Sha256::new();
    // Separates these hashes from any others, and names the version of the form.
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
                // With the 0 above, no text and an empty one differ.
                hasher.update([1]);
                hasher.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
                hasher.update(text.as_bytes());
            }
        }
    }
    hasher.finalize().into()
}

/// Where a log differs from what was written.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Broken {
    /// Entries are missing, or not in order.
    #[error("entry {expected} is missing: {found} follows in its place")]
    Gap {
        /// The revision that was expected.
        expected: u64,
        /// The revision that was found.
        found: u64,
    },
    /// The entry, or one before it, differs from what was written.
    #[error("entry {revision} is not what was written")]
    Changed {
        /// The revision.
        revision: u64,
    },
    /// The log ends before its recorded end.
    #[error("the log ends at {found}, and its end was recorded at {expected}")]
    CutOff {
        /// The revision at which it must end, or that it must reach at least.
        expected: u64,
        /// Where it ends.
        found: u64,
    },
    /// The log is consistent in itself, but differs from the one that the checkpoint was made of.
    #[error("entry {revision} differs from the checkpoint: the log was rewritten")]
    Rewritten {
        /// The revision of the checkpoint.
        revision: u64,
    },
}

impl Broken {
    /// Returns the first revision that cannot be trusted.
    pub const fn revision(&self) -> u64 {
        match self {
            Self::Gap { expected, .. } => *expected,
            Self::Changed { revision } | Self::Rewritten { revision } => *revision,
            Self::CutOff { found, .. } => *found + 1,
        }
    }
}

/// An end of the log that was recorded: in the head row, or in a checkpoint outside the database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Milestone {
    /// The revision.
    pub revision: u64,
    /// The chain hash at that revision.
    pub chain: ChainHash,
}

/// The relation of a log to an end of it that was recorded before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    /// The log contains the recorded end, and may continue after it.
    Contained,
    /// The log ends before the recorded end: it is an older copy, or was cut off.
    Older,
    /// The log is as long, but does not contain the recorded end.
    Other,
}

/// Compares a log with an end of it that was recorded before.
///
/// `head` is the present end of the log, and `chain_there` the chain hash that is stored with the entry at the recorded
/// revision; `None` if there is no such entry.
pub fn compare(recorded: Milestone, head: Milestone, chain_there: Option<ChainHash>) -> Comparison {
    if head.revision < recorded.revision {
        return Comparison::Older;
    }
    let there = match recorded.revision {
        0 => Some([0; 32]),
        revision if revision == head.revision => Some(head.chain),
        _ => chain_there,
    };
    match there == Some(recorded.chain) {
        true => Comparison::Contained,
        false => Comparison::Other,
    }
}

/// A verification of the log, entry by entry.
#[derive(Clone, Debug)]
pub struct Walk {
    at: Milestone,
    milestones: Vec<Milestone>,
}

impl Walk {
    /// Begins before the first entry. `milestones` are compared when they are reached.
    pub fn new(milestones: Vec<Milestone>) -> Self {
        let at = Milestone {
            revision: 0,
            chain: [0; 32],
        };
        Self { at, milestones }
    }

    /// Begins after an entry whose chain hash is known to be correct.
    pub fn after(at: Milestone, milestones: Vec<Milestone>) -> Self {
        Self { at, milestones }
    }

    /// Returns the last entry that was found consistent.
    pub const fn position(&self) -> Milestone {
        self.at
    }

    /// Verifies the next entry and the chain hash that is stored with it.
    pub fn step(&mut self, entry: &HashedEntry<'_>, chain: &ChainHash) -> Result<(), Broken> {
        let expected = self.at.revision + 1;
        if entry.revision != expected {
            let found = entry.revision;
            return Err(Broken::Gap { expected, found });
        }
        let revision = entry.revision;
        let linked = link(&self.at.chain, entry);
        if linked != *chain {
            return Err(Broken::Changed { revision });
        }
        let is_passed = |milestone: &Milestone| milestone.revision == revision && milestone.chain != linked;
        if self.milestones.iter().any(is_passed) {
            return Err(Broken::Rewritten { revision });
        }
        self.at = Milestone {
            revision,
            chain: linked,
        };
        Ok(())
    }

    /// Ends the verification: every milestone must have been reached.
    pub fn finish(self) -> Result<Milestone, Broken> {
        let found = self.at.revision;
        let beyond = self
            .milestones
            .iter()
            .map(|one| one.revision)
            .filter(|one| *one > found);
        match beyond.max() {
            Some(expected) => Err(Broken::CutOff { expected, found }),
            None => Ok(self.at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> HashedEntry<'static> {
        HashedEntry {
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
        let changes: [fn(&mut HashedEntry<'static>); 14] = [
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
        let split = HashedEntry {
            target_id: "ak_1x",
            request_id: "y",
            ..entry()
        };
        let other = HashedEntry {
            target_id: "ak_1",
            request_id: "xy",
            ..entry()
        };
        assert_ne!(link(&[0; 32], &split), link(&[0; 32], &other));
    }

    /// Returns a log of ten entries with its chain.
    fn log() -> Vec<(HashedEntry<'static>, ChainHash)> {
        let mut chain = [0; 32];
        let entries = (1..=10).map(|revision| HashedEntry { revision, ..entry() });
        entries
            .map(|entry| {
                chain = link(&chain, &entry);
                (entry, chain)
            })
            .collect()
    }

    fn walked(log: &[(HashedEntry<'_>, ChainHash)], milestones: Vec<Milestone>) -> Result<Milestone, Broken> {
        let mut walk = Walk::new(milestones);
        for (entry, chain) in log {
            walk.step(entry, chain)?;
        }
        walk.finish()
    }

    #[test]
    fn a_walk_finds_what_was_changed_removed_reordered_or_cut_off() {
        let whole = log();
        let end = Milestone {
            revision: 10,
            chain: whole[9].1,
        };
        assert_eq!(walked(&whole, vec![end]), Ok(end));
        let mut changed = log();
        changed[4].0.reason = Some("another");
        assert_eq!(walked(&changed, vec![end]), Err(Broken::Changed { revision: 5 }));
        let mut removed = log();
        removed.remove(4);
        assert_eq!(walked(&removed, vec![end]), Err(Broken::Gap { expected: 5, found: 6 }));
        let mut swapped = log();
        swapped.swap(4, 5);
        assert_eq!(walked(&swapped, vec![end]), Err(Broken::Gap { expected: 5, found: 6 }));
        let cut = &whole[..7];
        assert_eq!(walked(cut, vec![end]), Err(Broken::CutOff { expected: 10, found: 7 }));
        assert_eq!(walked(cut, Vec::new()).unwrap().revision, 7, "only a milestone tells");
    }

    #[test]
    fn a_recorded_end_is_contained_in_its_own_log_only() {
        let whole = log();
        let at = |revision: u64| Milestone {
            revision,
            chain: match revision {
                0 => [0; 32],
                _ => whole[usize::try_from(revision).unwrap() - 1].1,
            },
        };
        let stored = |revision: u64| Some(at(revision).chain);
        for revision in 0..=10 {
            assert_eq!(compare(at(revision), at(10), stored(revision)), Comparison::Contained);
        }
        assert_eq!(compare(at(10), at(9), None), Comparison::Older);
        assert_eq!(compare(at(1), at(0), None), Comparison::Older);
        let other = Milestone {
            revision: 5,
            chain: [1; 32],
        };
        assert_eq!(compare(other, at(10), stored(5)), Comparison::Other);
        assert_eq!(compare(other, at(5), None), Comparison::Other);
        assert_eq!(compare(at(5), at(10), None), Comparison::Other, "the entry is gone");
    }

    #[test]
    fn a_log_written_anew_is_sound_in_itself_and_differs_from_the_milestone() {
        let end = Milestone {
            revision: 10,
            chain: log()[9].1,
        };
        let mut chain = [0; 32];
        let entries = (1..=10).map(|revision| HashedEntry {
            revision,
            actor_id: "rk_other",
            ..entry()
        });
        let anew: Vec<_> = entries
            .map(|entry| {
                chain = link(&chain, &entry);
                (entry, chain)
            })
            .collect();
        assert!(walked(&anew, Vec::new()).is_ok());
        assert_eq!(walked(&anew, vec![end]), Err(Broken::Rewritten { revision: 10 }));
    }
}
