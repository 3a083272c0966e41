//! Why a change is refused.

use super::Standing;
use crate::access::words;
use crate::policy::Violation;
use thiserror::Error;

words!(
    /// What is done to a key.
    Verb {
        /// Make it.
        Issue => "issue",
        /// Change its name, scopes, claims or expiry.
        Update => "update",
        /// Put a hold on it.
        Disable => "disable",
        /// Lift the hold.
        Reactivate => "reactivate",
        /// End it, as the policy says.
        Revoke => "revoke",
        /// Make a revocation final before its undo window is over.
        Finalize => "finalize",
        /// Give it a new secret.
        Rotate => "rotate",
        /// End the old secret of a rotation now.
        FinishRotation => "finish_rotation",
        /// Destroy its record.
        Delete => "delete",
    }
);

/// Why a change is refused. Nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Refusal {
    /// The state does not allow the verb.
    #[error("a key that is {from} cannot take {verb}")]
    InvalidTransition {
        /// Where the key stands.
        from: Standing,
        /// What was asked.
        verb: Verb,
    },
    /// The hold was put on by someone of a higher rank.
    #[error("the hold was put on by an administrator and can be lifted only by one")]
    Locked,
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
    /// The policy wants a reason.
    #[error("the policy asks for a reason")]
    ReasonRequired,
    /// The policy does not let a person in this role give the scope.
    #[error("the policy does not let this role give the scope {scope}")]
    ScopeNotGiven {
        /// The scope.
        scope: Box<str>,
        /// The patterns of what the role may give, joined by spaces.
        allowed: Box<str>,
    },
    /// The policy does not let members set claims.
    #[error("the policy does not let members set claims")]
    ClaimsNotGiven,
    /// Our own fault: the store asked for something that was not in the request. Nothing was changed.
    #[error("the store and its caller are out of step")]
    OutOfStep,
}
