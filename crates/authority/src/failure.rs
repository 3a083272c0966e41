//! Why a use case did not do what was asked. No HTTP here: the server has the one table from these to statuses.

use crate::env::NoEntropy;
use keyreeve_core::access::Permission;
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
    /// The store is away; surely nothing was done.
    #[error("not available: {0}")]
    Unavailable(String),
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
            WriteError::EmailTaken => Self::EmailTaken,
            WriteError::LastAdmin => Self::LastAdmin,
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
