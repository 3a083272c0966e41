//! Why a change is refused.

use super::Standing;
use crate::access::words;
use crate::policy::Violation;
use thiserror::Error;

words!(
    /// The operations on a key.
    Verb {
        /// Create it.
        Issue => "issue",
        /// Change its name, scopes, claims or expiry.
        Update => "update",
        /// Disable it.
        Disable => "disable",
        /// Re-activate it.
        Reactivate => "reactivate",
        /// End it, as the policy requires.
        Revoke => "revoke",
        /// Make a revocation final before its undo window is over.
        Finalize => "finalize",
        /// Give it a new secret.
        Rotate => "rotate",
        /// End the old secret of a rotation now.
        FinishRotation => "finish_rotation",
        /// Delete its record.
        Delete => "delete",
    }
);

/// Why a change is refused. Nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Refusal {
    /// The state does not allow the verb.
    #[error("a key that is {from} cannot take {verb}")]
    InvalidTransition {
        /// The state of the key.
        from: Standing,
        /// The operation.
        verb: Verb,
    },
    /// An actor of a higher rank has put the key on hold.
    #[error("an administrator disabled the key, and only an administrator can re-activate it")]
    Locked,
    /// Keyreeve has put the key on hold because the database has lost its newest secret: an older one would be accepted
    /// again.
    #[error("the database has lost the key's newest secret, and re-activating it would accept an older one again")]
    SecretLost,
    /// The policy forbids it.
    #[error(transparent)]
    Policy(#[from] Violation),
    /// A rotation would keep an expiry that is already past.
    #[error("the key's expiry is past, so a rotation needs a new one")]
    ExpiryPast,
    /// The subject has all the keys it may have.
    #[error("the subject has {used} of {max} keys")]
    LimitReached {
        /// Most keys allowed.
        max: u32,
        /// Keys that count now.
        used: u32,
    },
    /// Another usable key of the subject has this name.
    #[error("the subject has a usable key of that name")]
    NameTaken,
    /// The owner is a user who is suspended or removed, or the tenant is: the key would not work.
    #[error("the key's owner is suspended or removed")]
    OwnerBlocked,
    /// An update would move the key to another owner.
    #[error("a key cannot be moved to another subject")]
    OwnershipMove,
    /// The policy requires a reason.
    #[error("the policy asks for a reason")]
    ReasonRequired,
    /// The policy does not allow a user in this role to give the scope.
    #[error("the policy does not allow this role to grant the scope {scope}")]
    ScopeNotGiven {
        /// The scope.
        scope: Box<str>,
        /// The patterns of the scopes that the role may give, joined by spaces.
        allowed: Box<str>,
    },
    /// The policy does not allow members to set claims.
    #[error("the policy does not allow members to set claims")]
    ClaimsNotGiven,
    /// A bug: the store requested something that was not in the order. Nothing was changed.
    #[error("the store and its caller are inconsistent")]
    OutOfStep,
}
