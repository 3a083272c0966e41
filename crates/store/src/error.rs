//! Errors between a decision and the disk.

use crate::version::Version;
use keyreeve_core::access::Role;
use keyreeve_core::lifecycle::Refusal;
use thiserror::Error;

/// An operation of the database failed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database is unavailable or too busy. Certainly nothing was done; trying again is safe.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The database can be read but not changed: the directory is read-only, or the disk is full. Nothing was done.
    #[error("nothing can be changed: {0}")]
    ReadOnly(String),
    /// The answer to the commit was lost: it may have been done. Repeating is safe.
    #[error("it is not known whether the change was stored: {0}")]
    OutcomeUnknown(String),
    /// A stored value cannot be read: it was changed by hand, or written by a newer version.
    #[error("what is stored cannot be read: {0}")]
    Corrupt(String),
    /// Nodes on one database have different settings.
    #[error("{0}")]
    Disagreement(String),
    /// Another process holds the data directory.
    #[error(
        "the data directory {path} is in use by another keyreeve process{holder}; stop it first, or name another directory with --data"
    )]
    InUse {
        /// The directory.
        path: String,
        /// ` (pid N)` if it could be read, else empty.
        holder: String,
    },
}

impl StoreError {
    /// The schema has a version that this program does not know.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn from_the_future(found: i64, newest: i64) -> Self {
        Self::Corrupt(format!(
            "the database has schema version {found}, written by a newer keyreeve; this one knows {newest}. \
             Start the newer version, or restore a backup from before the upgrade"
        ))
    }
}

/// A change was not made.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The decision was a refusal.
    #[error("refused: {refusal}")]
    Refused {
        /// The item of a batch, from 0.
        item: usize,
        /// Why.
        refusal: Refusal,
    },
    /// The record does not exist in this tenant.
    #[error("not found")]
    NotFound,
    /// The credential of the call was revoked, or its user lost the role, before the change. It is checked again inside
    /// the transaction.
    #[error("the caller's credential is no longer valid")]
    ActorGone,
    /// The record is in another version than the caller has seen.
    #[error("the record has changed since the caller has read it")]
    Outdated {
        /// The present version.
        present: Version,
    },
    /// A user of the tenant has this address.
    #[error("a user of that address exists")]
    EmailTaken,
    /// The tenant would have no active admin left.
    #[error("this is the tenant's last active admin")]
    LastAdmin,
    /// The caller would assign a role whose permissions it does not have itself.
    #[error("the caller's permissions do not cover the role {0}")]
    RoleBeyond(Role),
    /// The instance would have no root key left that can create others.
    #[error("this is the last root key that can create others")]
    LastRootKey,
    /// The caller would get a root key that can do more than its own, or for longer.
    #[error("the caller cannot have that root key")]
    RootKeyBeyond,
    /// The slug belongs to another tenant.
    #[error("a tenant of that slug exists")]
    SlugTaken,
    /// A check policy of the tenant has this name.
    #[error("a check policy of that name exists")]
    CheckPolicyTaken,
    /// The tenant has the maximum number of check policies.
    #[error("the tenant has all the check policies it may have")]
    TooManyCheckPolicies,
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    IdempotencyKeyReused,
    /// An operation of the database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
