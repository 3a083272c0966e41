//! The states of a key, and the data of each.

use crate::access::{Actor, Rank, words};
use crate::text::Note;
use crate::time::Timestamp;

/// The stored state of a key. Erased is not here: an erased key has no record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// Accepted.
    Active,
    /// On hold; can be re-activated.
    Disabled(Hold),
    /// Final; never accepted again.
    Revoked(Revocation),
}

/// A reversible hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hold {
    /// Why the key is on hold.
    pub cause: HoldCause,
    /// The rank that may lift it.
    pub lock: Lock,
    /// Since when.
    pub since: Timestamp,
    /// Who put it on, as the audit log names the actor.
    pub by: Box<str>,
    /// When it becomes a revocation, without a further call; `None` is never.
    pub finalize_at: Option<Timestamp>,
    /// The reason code of that revocation.
    pub code: ReasonCode,
    /// The reason, as free text.
    pub note: Option<Note>,
}

impl Hold {
    /// Whether the system has put it on after a restore, and no actor has disabled the key since.
    pub fn is_of_restore(&self) -> bool {
        self.cause == HoldCause::Manual && self.lock == Lock::Admin && *self.by == *Actor::System.id()
    }
}

words!(
    /// Why a key is on hold.
    HoldCause {
        /// It was disabled.
        Manual => "manual",
        /// It was revoked where the policy lets a revocation be undone.
        RevokeHold => "revoke_hold",
        /// Its secret was reported as leaked, and the policy requires a hold.
        Leaked => "leaked",
    }
);

words!(
    /// The rank that may lift a hold.
    Lock {
        /// Any caller who may re-activate keys.
        Anyone => "anyone",
        /// An administrator.
        Admin => "admin",
        /// No actor: the database has lost the newest secret of the key.
        System => "system",
    }
);

impl Lock {
    /// Whether an actor of this rank may lift the hold.
    pub const fn opens_for(self, rank: Rank) -> bool {
        match self {
            Self::Anyone => true,
            Self::Admin => !matches!(rank, Rank::Owner),
            Self::System => matches!(rank, Rank::System),
        }
    }
}

/// A final revocation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Revocation {
    /// When it was revoked.
    pub at: Timestamp,
    /// Who revoked it, as the audit log names the actor.
    pub by: Box<str>,
    /// The reason, as a code.
    pub code: ReasonCode,
    /// The reason, as free text; Clerk's `revocation_reason`.
    pub note: Option<Note>,
}

words!(
    /// Why a key was revoked (RFC 5280, section 5.3.1, without its hold, which is a verb of its own here).
    ReasonCode {
        /// No reason was given.
        Unspecified => "unspecified",
        /// The secret is, or may be, known to others.
        KeyCompromise => "key_compromise",
        /// The secret was reported as leaked.
        Leaked => "leaked",
        /// Another key replaces it.
        Superseded => "superseded",
        /// The owner's position changed.
        AffiliationChanged => "affiliation_changed",
        /// Its purpose has ended.
        Cessation => "cessation",
        /// The owner may no longer have it.
        PrivilegeWithdrawn => "privilege_withdrawn",
    }
);

impl ReasonCode {
    /// Whether others may know the secret: such a revocation is final under every policy.
    pub const fn is_compromise(self) -> bool {
        matches!(self, Self::KeyCompromise | Self::Leaked)
    }
}

words!(
    /// The state of a key at one moment: its stored state, and expiry computed on read.
    Standing {
        /// Accepted.
        Active => "active",
        /// On hold.
        Disabled => "disabled",
        /// Past its expiry.
        Expired => "expired",
        /// Final.
        Revoked => "revoked",
    }
);
