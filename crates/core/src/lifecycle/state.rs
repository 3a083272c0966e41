//! The states a key can be in, and what each one carries.

use crate::access::{Rank, words};
use crate::text::Note;
use crate::time::Timestamp;

/// The stored state of a key. Erased is not here: an erased key has no record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// May verify.
    Active,
    /// On hold; can come back.
    Disabled(Hold),
    /// Final; never comes back.
    Revoked(Revocation),
}

/// A reversible hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hold {
    /// Why the key is on hold.
    pub cause: HoldCause,
    /// Who may lift it.
    pub lock: Lock,
    /// Since when.
    pub since: Timestamp,
    /// Who put it on, as the audit log names them.
    pub by: Box<str>,
    /// When it becomes a revocation by itself; `None` is never.
    pub finalize_at: Option<Timestamp>,
    /// Reason code of the revocation it may become.
    pub code: ReasonCode,
    /// Why, in words.
    pub note: Option<Note>,
}

words!(
    /// Why a key is on hold.
    HoldCause {
        /// Somebody disabled it.
        Manual => "manual",
        /// Somebody revoked it where revocation can be undone.
        RevokeHold => "revoke_hold",
        /// Its secret was found where it must not be, and the policy wants a hold.
        Leaked => "leaked",
    }
);

words!(
    /// Who may lift a hold.
    Lock {
        /// Whoever may re-activate at all.
        Anyone => "anyone",
        /// An administrator.
        Admin => "admin",
        /// Only Keyreeve itself.
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
    /// By whom, as the audit log names them.
    pub by: Box<str>,
    /// Why, as a code.
    pub code: ReasonCode,
    /// Why, in words; Clerk's `revocation_reason`.
    pub note: Option<Note>,
}

words!(
    /// Why a key was revoked (RFC 5280, section 5.3.1, without its hold, which is a verb of its own here).
    ReasonCode {
        /// Not said.
        Unspecified => "unspecified",
        /// The secret is, or may be, in the wrong hands.
        KeyCompromise => "key_compromise",
        /// The secret was found where it must not be.
        Leaked => "leaked",
        /// Another key took its place.
        Superseded => "superseded",
        /// The owner's position changed.
        AffiliationChanged => "affiliation_changed",
        /// What it was for has ended.
        Cessation => "cessation",
        /// The owner may no longer have it.
        PrivilegeWithdrawn => "privilege_withdrawn",
    }
);

impl ReasonCode {
    /// Whether the secret must be taken for known to others: such a revocation is final everywhere.
    pub const fn is_compromise(self) -> bool {
        matches!(self, Self::KeyCompromise | Self::Leaked)
    }
}

words!(
    /// What a key looks like from outside at one moment: its stored state, and expiry computed on read.
    Standing {
        /// Works.
        Active => "active",
        /// On hold.
        Disabled => "disabled",
        /// Past its expiry.
        Expired => "expired",
        /// Final.
        Revoked => "revoked",
    }
);
