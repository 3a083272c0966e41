//! Why a use case did not do what was asked. No HTTP here: the server has the one table from these to statuses.

use crate::Conflict;
use crate::env::NoEntropy;
use keyreeve_core::access::{Permission, Role};
use keyreeve_core::lifecycle::Refusal;
use keyreeve_store::model::KeyRecord;
use keyreeve_store::{StoreError, WriteError};
use thiserror::Error;

/// Why a use case did not do what was asked.
#[derive(Debug, Error)]
pub enum Failure {
    /// The caller lacks a permission.
    #[error("the caller lacks the permission {0}")]
    PermissionDenied(Permission),
    /// The caller is bound to a tenant, and this is for the instance.
    #[error("only an instance root key may do this")]
    InstanceOnly,
    /// A root key would give away a permission it does not have itself.
    #[error("a root key cannot give a permission it does not have")]
    Escalation,
    /// The caller would give a role whose permissions it does not have itself, or a link to log in with that role.
    #[error("the caller's permissions do not cover the role {0}")]
    RoleBeyond(Role),
    /// A password is set by its owner; only the operator sets somebody else's.
    #[error("passwords are set by links")]
    PasswordByLink,
    /// The caller's credential ended while the call was on its way.
    #[error("the caller's credential is no longer good")]
    CallerGone,
    /// Lifecycle or policy say no.
    #[error("item {item}: {refusal}")]
    Refused {
        /// Which item of a batch, from 0.
        item: usize,
        /// Why.
        refusal: Refusal,
    },
    /// No such thing in the tenant.
    #[error("not found")]
    NotFound,
    /// A member would act for somebody else.
    #[error("a member may act only on their own keys")]
    OwnKeysOnly,
    /// A member would say how often their own key may be used.
    #[error("a member may not limit their own keys")]
    OwnLimits,
    /// A policy that contradicts itself.
    #[error(transparent)]
    Contradiction(#[from] keyreeve_core::policy::Contradiction),
    /// The record is another version than the caller has seen; nothing was changed.
    #[error("the record has changed since the caller has read it")]
    Outdated(Box<Conflict>),
    /// A user of the tenant has the address.
    #[error("a user of that address exists")]
    EmailTaken,
    /// Nobody would be left to manage the tenant.
    #[error("the last admin of the tenant")]
    LastAdmin,
    /// Nobody would be left to manage the instance.
    #[error("the last root key that can make others")]
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
    /// A retry of a call that gave out a secret, and the secret has arrived or its key has moved on.
    #[error("the request was carried out before")]
    AlreadyCompleted(Vec<KeyRecord>),
    /// Verifiers of this root key were closed for being overdue too often: it is refused the stream for a while, and may
    /// ask for single verdicts meanwhile.
    #[error("its verifiers did not acknowledge in time too often; refused for {retry_after_seconds} s")]
    VerifiersOverdue {
        /// When it may try again.
        retry_after_seconds: u64,
    },
    /// There are as many verifiers as there may be, of this root key, of this tenant or in all.
    #[error("there are {max} verifiers {of} already")]
    TooManyVerifiers {
        /// How many there may be.
        max: usize,
        /// Of what.
        of: &'static str,
    },
    /// The store is away; surely nothing was done.
    #[error("not available: {0}")]
    Unavailable(String),
    /// The store can be read and not changed; surely nothing was done. The text is fit for callers.
    #[error("read-only: {0}")]
    ReadOnly(String),
    /// The store's answer was lost; it may have been done.
    #[error("outcome unknown: {0}")]
    OutcomeUnknown(String),
    /// Our own fault.
    #[error("internal: {0}")]
    Internal(String),
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
