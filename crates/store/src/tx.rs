//! One transaction, row by row. Each database implements this; the operations are written once on top of it.

use crate::error::StoreError;
use crate::model::{AuditRecord, Head, KeyRecord, Login, RootKey, Tenant, Trace, UsageCount};
use async_trait::async_trait;
use keyreeve_core::text::{Name, Slug, Subject};
use keyreeve_core::user::Email;
use keyreeve_core::verdict::SecretStanding;
use keyreeve_core::{Digest, Key, KeyId, RootKeyId, Timestamp, User, UserId};

/// What an answer of the database looks like.
pub(crate) type Result<T> = std::result::Result<T, StoreError>;

/// A remembered request.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub(crate) actor: String,
    pub(crate) mark: String,
    pub(crate) fingerprint: [u8; 32],
    pub(crate) targets: Vec<KeyId>,
    pub(crate) created_at: Timestamp,
}

/// Keys of a subject that count: see `Key::counts`.
pub(crate) struct Counted<'a> {
    pub(crate) tenant: &'a Slug,
    pub(crate) subject: &'a Subject,
    pub(crate) count_expired: bool,
    pub(crate) now: Timestamp,
}

/// Tenants and those who manage them, in a write transaction.
#[async_trait]
pub(crate) trait PeopleTx: Send {
    async fn has_tenants(&mut self) -> Result<bool>;
    async fn tenant(&mut self, slug: &Slug) -> Result<Option<Tenant>>;
    async fn insert_tenant(&mut self, tenant: &Tenant) -> Result<()>;
    async fn update_tenant(&mut self, tenant: &Tenant) -> Result<()>;

    async fn root_key(&mut self, id: RootKeyId) -> Result<Option<RootKey>>;
    /// Root keys that are not revoked: of one tenant, or those of the instance.
    async fn live_root_keys(&mut self, tenant: Option<&Slug>) -> Result<Vec<RootKey>>;
    async fn insert_root_key(&mut self, root_key: &RootKey) -> Result<()>;
    async fn set_root_key_revoked(&mut self, id: RootKeyId, at: Timestamp) -> Result<()>;

    /// A user, removed or not.
    async fn user(&mut self, tenant: &Slug, id: UserId) -> Result<Option<User>>;
    /// Whether a user who is not removed has the address.
    async fn is_email_taken(&mut self, tenant: &Slug, email: &Email) -> Result<bool>;
    /// Active administrators of the tenant beside one.
    async fn count_other_admins(&mut self, tenant: &Slug, except: UserId) -> Result<u32>;
    async fn insert_user(&mut self, user: &User) -> Result<()>;
    async fn update_user(&mut self, user: &User) -> Result<()>;

    /// Stores a login in the place of one with the same digest, and forgets some that ended before `now`.
    async fn put_login(&mut self, login: &Login, now: Timestamp) -> Result<()>;
    /// Takes a login away and gives it, ended or not.
    async fn take_login(&mut self, digest: &Digest) -> Result<Option<Login>>;
    /// Takes away every login of a user but one.
    async fn end_logins(&mut self, user: UserId, except: Option<&Digest>) -> Result<u64>;
}

/// A write transaction.
#[async_trait]
pub(crate) trait Tx: PeopleTx {
    /// The end of the log, held until the commit. Read it last: everybody waits for it.
    async fn lock_head(&mut self) -> Result<Head>;
    async fn set_head(&mut self, head: Head) -> Result<()>;
    async fn append(&mut self, record: &AuditRecord) -> Result<()>;

    /// The key, held until the commit, as stored (not settled).
    async fn lock_key(&mut self, tenant: &Slug, id: KeyId) -> Result<Option<KeyRecord>>;
    async fn count_keys(&mut self, counted: Counted<'_>) -> Result<u32>;
    /// Whether a usable key of the subject, other than `except`, has the name.
    async fn is_name_taken(
        &mut self,
        owner: (&Slug, &Subject),
        name: &Name,
        except: Option<KeyId>,
        now: Timestamp,
    ) -> Result<bool>;
    async fn insert_key(&mut self, key: &Key) -> Result<()>;
    async fn update_key(&mut self, key: &Key) -> Result<()>;
    async fn delete_key(&mut self, id: KeyId) -> Result<()>;

    /// Fails if the digest was ever there.
    async fn insert_credential(&mut self, digest: &Digest, key: &Key) -> Result<()>;
    async fn set_credential(&mut self, digest: &Digest, standing: SecretStanding) -> Result<()>;
    /// Every secret of the key that is not retired for good.
    async fn current_credentials(&mut self, key: KeyId) -> Result<Vec<Digest>>;
    /// Makes a tombstone of every secret of the key, and says which they are: also one that was replaced long ago may
    /// still be remembered with what the key was called.
    async fn entomb_credentials(&mut self, key: KeyId) -> Result<Vec<Digest>>;
    /// Moves last-used times forward, never back.
    async fn record_uses(&mut self, uses: &[(Digest, Timestamp)]) -> Result<()>;
    /// Adds to what is counted, and forgets some counts of hours before `stale`.
    async fn add_counts(&mut self, counts: &[UsageCount], stale: Timestamp) -> Result<()>;
    /// Adds to where verdicts were asked for, and keeps the newest `kept` rows of each key.
    async fn add_traces(&mut self, traces: &[Trace], kept: u32) -> Result<()>;

    async fn mark(&mut self, actor: &str, mark: &str) -> Result<Option<Mark>>;
    /// Stores a mark in the place of an older one of the same name, and forgets some that were made before `stale`.
    async fn put_mark(&mut self, mark: &Mark, stale: Timestamp) -> Result<()>;
}
