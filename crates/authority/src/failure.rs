//! Why a use case failed. No HTTP here: the server has the one table from these to statuses.

use crate::conflict::Conflict;
use crate::env::NoEntropy;
use keyreeve_core::access::{Permission, Role};
use keyreeve_core::lifecycle::Refusal;
use keyreeve_store::model::KeyRecord;
use keyreeve_store::{StoreError, WriteError};
use std::fmt;
use thiserror::Error;

/// Why a use case failed.
#[derive(Debug, Error)]
pub enum Failure {
    /// The caller lacks a permission.
    #[error("the caller lacks the permission {0}")]
    PermissionDenied(Permission),
    /// The caller is bound to a tenant, and the call is for the instance.
    #[error("only an instance root key may do this")]
    InstanceOnly,
    /// A root key would give away more than it has itself: a permission, a longer life or other networks.
    #[error("a root key cannot give more than it has")]
    Escalation,
    /// The caller would give a role whose permissions it does not have itself, or a link to log in with that role.
    #[error("the caller's permissions do not cover the role {0}")]
    RoleBeyond(Role),
    /// Passwords are set by their owners; only the operator sets one for a user.
    #[error("passwords are set by links")]
    PasswordByLink,
    /// The caller's credential ended during the call.
    #[error("the caller's credential is no longer valid")]
    CallerGone,
    /// The lifecycle or the policy refuses it.
    #[error("item {item}: {refusal}")]
    Refused {
        /// Which item of a batch, from 0.
        item: usize,
        /// Why.
        refusal: Refusal,
    },
    /// The tenant has no such record.
    #[error("not found")]
    NotFound,
    /// A member acts on a key of another owner.
    #[error("a member may act only on their own keys")]
    OwnKeysOnly,
    /// A member sets the limits of their own key.
    #[error("a member may not limit their own keys")]
    OwnLimits,
    /// The policy contradicts itself.
    #[error(transparent)]
    Contradiction(#[from] keyreeve_core::policy::Contradiction),
    /// The record has another version than the caller has seen. Nothing was changed.
    #[error("the record has changed since the caller has read it")]
    Outdated(Box<Conflict>),
    /// A user of the tenant has this address.
    #[error("a user of that address exists")]
    EmailTaken,
    /// The tenant would be left without an administrator.
    #[error("the last admin of the tenant")]
    LastAdmin,
    /// The instance would be left without a root key that can make others.
    #[error("the last root key that can create others")]
    LastRootKey,
    /// The tenant's short name is taken.
    #[error("a tenant of that slug exists")]
    SlugTaken,
    /// A check policy of the tenant has this name.
    #[error("a check policy of that name exists")]
    CheckPolicyTaken,
    /// The tenant has as many check policies as it may have.
    #[error("the tenant has all the check policies it may have")]
    TooManyCheckPolicies,
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    IdempotencyKeyReused,
    /// A retry of a call that returned a secret, which was delivered, or whose key has changed since.
    #[error("the request was carried out before")]
    AlreadyCompleted(Vec<KeyRecord>),
    /// Verifiers of this root key were closed too often because they were overdue. It is refused the stream for some
    /// minutes, and may send single verifications instead.
    #[error("its verifiers did not acknowledge in time too often; refused for {retry_after_seconds} s")]
    VerifiersOverdue {
        /// When it may try again.
        retry_after_seconds: u64,
    },
    /// The limit of verifiers is reached: of this root key, of this tenant or in all.
    #[error("there are {max} verifiers {of} already")]
    TooManyVerifiers {
        /// The limit.
        max: usize,
        /// What the limit is for.
        of: &'static str,
    },
    /// The store cannot be reached; nothing was done.
    #[error("not available: {0}")]
    Unavailable(String),
    /// The store can be read and not changed; nothing was done. The text may be shown to callers.
    #[error("read-only: {0}")]
    ReadOnly(String),
    /// The change may have been made, in part or completely: the store's answer was lost, or the call failed after some
    /// of its changes were committed. Repeating the call is harmless.
    #[error("outcome unknown: {0}")]
    OutcomeUnknown(String),
    /// A bug or a broken installation.
    #[error("internal: {0}")]
    Internal(String),
}

impl Failure {
    /// The failure without a lease, or of a process that was halted, with the reason. Nothing may be answered then, not
    /// even from the store: the node may be partitioned from the primary and read from an old one.
    pub(crate) fn no_lease(halted: Option<&str>) -> Self {
        let usual = "this node holds no lease: it cannot reach the database, or has not for too long";
        Self::Unavailable(halted.unwrap_or(usual).to_owned())
    }

    /// Returns the error of a call that failed after `done` of its changes were committed; `what` describes these. "Nothing
    /// was changed" is then not true, whatever failed. Only for calls that are harmless to repeat.
    pub(crate) fn after(self, done: u64, what: impl fmt::Display) -> Self {
        match done {
            0 => self,
            _ => Self::OutcomeUnknown(format!("{what}; then: {self}")),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(why) => Self::Unavailable(why),
            StoreError::ReadOnly(why) => Self::ReadOnly(why),
            StoreError::OutcomeUnknown(why) => Self::OutcomeUnknown(why),
            StoreError::Corrupt(_) | StoreError::InUse { .. } | StoreError::Disagreement(_) => {
                Self::Internal(error.to_string())
            }
        }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Refused { item, refusal } => Self::Refused { item, refusal },
            WriteError::NotFound => Self::NotFound,
            WriteError::ActorGone => Self::CallerGone,
            WriteError::Outdated { present } => Self::Outdated(Box::new(Conflict {
                present,
                changes: Vec::new(),
                is_complete: false,
            })),
            WriteError::EmailTaken => Self::EmailTaken,
            WriteError::LastAdmin => Self::LastAdmin,
            WriteError::RoleBeyond(role) => Self::RoleBeyond(role),
            WriteError::LastRootKey => Self::LastRootKey,
            WriteError::RootKeyBeyond => Self::Escalation,
            WriteError::SlugTaken => Self::SlugTaken,
            WriteError::CheckPolicyTaken => Self::CheckPolicyTaken,
            WriteError::TooManyCheckPolicies => Self::TooManyCheckPolicies,
            WriteError::IdempotencyKeyReused => Self::IdempotencyKeyReused,
            WriteError::Store(error) => error.into(),
        }
    }
}

impl From<NoEntropy> for Failure {
    fn from(error: NoEntropy) -> Self {
        Self::Unavailable(error.to_string())
    }
}
