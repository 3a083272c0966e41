//! One transaction, row by row. Each database implements this; the operations are written once on top of it.

use crate::error::StoreError;
use crate::model::{
    AuditRecord, CheckPolicyRecord, Head, KeyRecord, Login, RootKey, Tenant, Trace, UsageCount, WriteContext,
};
use async_trait::async_trait;
use keyreeve_core::audit::Action;
use keyreeve_core::limits::Counter;
use keyreeve_core::text::{CheckPolicyName, LimitName, Name, Slug, Subject};
use keyreeve_core::user::Email;
use keyreeve_core::verdict::SecretStanding;
use keyreeve_core::{Digest, Key, KeyId, RootKeyId, Timestamp, User, UserId};

/// The result of a database operation.
pub(crate) type Result<T, E = StoreError> = std::result::Result<T, E>;

/// An idempotency record.
#[derive(Clone, Debug)]
pub(crate) struct IdempotencyRecord {
    pub(crate) actor: String,
    pub(crate) mark: String,
    pub(crate) fingerprint: [u8; 32],
    pub(crate) targets: Vec<KeyId>,
    pub(crate) created_at: Timestamp,
}

/// A count of a subject's keys: see `Key::counts`.
pub(crate) struct SubjectCount<'a> {
    pub(crate) tenant: &'a Slug,
    pub(crate) subject: &'a Subject,
    pub(crate) count_expired: bool,
    pub(crate) now: Timestamp,
    /// How many keys are to be created.
    pub(crate) adding: u32,
    /// How many keys may count.
    pub(crate) max: u32,
}

/// Tenants and the people and root keys that manage them, in a write transaction.
#[async_trait]
pub(crate) trait PeopleTx: Send {
    async fn has_tenants(&mut self) -> Result<bool>;
    async fn tenant(&mut self, slug: &Slug) -> Result<Option<Tenant>>;
    async fn insert_tenant(&mut self, tenant: &Tenant) -> Result<()>;
    async fn update_tenant(&mut self, tenant: &Tenant) -> Result<()>;

    async fn root_key(&mut self, id: RootKeyId) -> Result<Option<RootKey>>;
    /// Returns root keys that are not revoked: of one tenant, or those of the instance.
    async fn live_root_keys(&mut self, tenant: Option<&Slug>) -> Result<Vec<RootKey>>;
    async fn insert_root_key(&mut self, root_key: &RootKey) -> Result<()>;
    async fn set_root_key_revoked(&mut self, id: RootKeyId, at: Timestamp) -> Result<()>;
    /// Stores the secrets of a root key and their times: what a rotation changes.
    async fn set_root_key_secrets(&mut self, root_key: &RootKey) -> Result<()>;
    /// Returns the secrets of a root key that are replaced for good, as far as they are kept.
    async fn replaced_root_secrets(&mut self, id: RootKeyId) -> Result<Vec<Digest>>;
    /// Stores secrets of a root key that are replaced for good, and deletes those that were replaced before `stale`.
    async fn add_replaced_root_secrets(
        &mut self,
        id: RootKeyId,
        secrets: &[Digest],
        at: Timestamp,
        stale: Timestamp,
    ) -> Result<()>;
    /// Moves last-used times of root keys forward, never back.
    async fn record_root_key_uses(&mut self, uses: &[(Digest, Timestamp)]) -> Result<()>;

    /// Returns a user, removed or not.
    async fn user(&mut self, tenant: &Slug, id: UserId) -> Result<Option<User>>;
    /// Whether a user who is not removed has the address.
    async fn is_email_taken(&mut self, tenant: &Slug, email: &Email) -> Result<bool>;
    /// Counts active administrators of the tenant, except one.
    async fn count_other_admins(&mut self, tenant: &Slug, except: UserId) -> Result<u32>;
    async fn insert_user(&mut self, user: &User) -> Result<()>;
    async fn update_user(&mut self, user: &User) -> Result<()>;

    /// Stores a login, replacing one with the same digest, and deletes some that ended before `now`.
    async fn put_login(&mut self, login: &Login, now: Timestamp) -> Result<()>;
    /// Removes and returns a login, ended or not.
    async fn take_login(&mut self, digest: &Digest) -> Result<Option<Login>>;
    /// Removes every login of a user but one.
    async fn end_logins(&mut self, user: UserId, except: Option<&Digest>) -> Result<u64>;
}

/// Check policies of gateways, in a write transaction.
#[async_trait]
pub(crate) trait CheckTx: Send {
    async fn check_policy(&mut self, tenant: &Slug, name: &CheckPolicyName) -> Result<Option<CheckPolicyRecord>>;
    /// Returns how many the tenant has.
    async fn count_check_policies(&mut self, tenant: &Slug) -> Result<u32>;
    /// Stores a check policy, replacing one with the same name.
    async fn put_check_policy(&mut self, record: &CheckPolicyRecord) -> Result<()>;
    async fn delete_check_policy(&mut self, tenant: &Slug, name: &CheckPolicyName) -> Result<()>;
}

/// Counters of hard limits, in a write transaction.
#[async_trait]
pub(crate) trait LimitTx: Send {
    /// Returns the stored counters of a key's limits. They are locked until the commit.
    async fn counters(&mut self, key: KeyId) -> Result<Vec<(LimitName, Counter)>>;
    /// Stores counters, replacing those with the same name.
    async fn put_counters(&mut self, key: KeyId, counters: &[(LimitName, Counter)]) -> Result<()>;
    /// Deletes counters.
    async fn drop_counters(&mut self, key: KeyId, names: &[LimitName]) -> Result<()>;
}

/// What a change will read, besides its tenant, its actor and its idempotency record.
pub(crate) struct PrefetchHint<'a> {
    pub(crate) tenant: &'a Slug,
    pub(crate) context: &'a WriteContext,
    /// The key that is changed.
    pub(crate) key: Option<KeyId>,
    /// Owners and names of keys to be created.
    pub(crate) names: &'a [(Subject, Name)],
}

/// A secret of a key that is not retired for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CurrentSecret {
    pub(crate) key: KeyId,
    pub(crate) digest: Digest,
    pub(crate) is_live: bool,
}

/// A write transaction. Operations that may concern many keys take all of them at once: a database across a network
/// answers each call in one round trip.
#[async_trait]
pub(crate) trait Tx: PeopleTx + CheckTx + LimitTx {
    /// Entries that this transaction has appended so far. The commit passes them to the observer.
    fn actions(&mut self) -> &mut Vec<Action>;

    /// Prefetches what is certain to be read, before anything is changed: a database across a network answers all of it
    /// in one round trip. Reading something else is not an error.
    async fn prefetch(&mut self, _soon: PrefetchHint<'_>) -> Result<()> {
        Ok(())
    }

    /// Locks the end of the log until the commit, and returns it. Call it last: every other writer waits for it.
    async fn lock_head(&mut self) -> Result<Head>;
    /// Appends to the log and moves its end.
    async fn append(&mut self, records: &[AuditRecord], head: Head) -> Result<()>;

    /// Returns those of the keys that exist, in the requested order, as stored (not settled). They are locked until the
    /// commit.
    async fn lock_keys(&mut self, tenant: &Slug, ids: &[KeyId]) -> Result<Vec<KeyRecord>>;
    /// Returns how many keys of each subject count, or more if the new keys fit even so.
    async fn count_keys(&mut self, counted: &[SubjectCount<'_>]) -> Result<Vec<u32>>;
    /// Whether a usable key of each owner, other than `except`, has the name.
    async fn are_names_taken(
        &mut self,
        tenant: &Slug,
        names: &[(&Subject, &Name)],
        except: Option<KeyId>,
        now: Timestamp,
    ) -> Result<Vec<bool>>;
    /// Whether each of these users is suspended or removed. False for one that is not a user of the tenant.
    async fn are_users_blocked(&mut self, tenant: &Slug, users: &[UserId]) -> Result<Vec<bool>>;
    /// Counts the keys of an owner that work at `now`, assuming that the owner is not blocked.
    async fn count_working_keys(&mut self, tenant: &Slug, subject: &Subject, now: Timestamp) -> Result<u32>;
    /// Stores new keys and their secrets. Fails if a digest ever existed.
    async fn insert_keys(&mut self, keys: &[&Key]) -> Result<()>;
    async fn update_keys(&mut self, keys: &[&Key]) -> Result<()>;
    async fn delete_key(&mut self, id: KeyId) -> Result<()>;

    /// Stores the current secrets of keys. Fails if a digest ever existed.
    async fn insert_credentials(&mut self, keys: &[&Key]) -> Result<()>;
    async fn set_credentials(&mut self, standings: &[(Digest, SecretStanding)]) -> Result<()>;
    /// Returns every secret of the keys that is not retired for good.
    async fn current_credentials(&mut self, keys: &[&Key]) -> Result<Vec<CurrentSecret>>;
    /// Makes a tombstone of every secret of the key, and returns their digests: also one that was replaced long ago may
    /// still be remembered with the key's name.
    async fn tombstone_credentials(&mut self, key: KeyId) -> Result<Vec<Digest>>;
    /// Moves last-used times forward, never back.
    async fn record_uses(&mut self, uses: &[(Digest, Timestamp)]) -> Result<()>;
    /// Stores the first time at which secrets were presented, if none is stored.
    async fn record_presented(&mut self, presented: &[(Digest, Timestamp)]) -> Result<()>;
    /// Moves last-refused times forward, never back.
    async fn record_refusals(&mut self, refused: &[(KeyId, Timestamp)]) -> Result<()>;
    /// Adds to the counts, and deletes some counts of hours before `stale`.
    async fn add_counts(&mut self, counts: &[UsageCount], stale: Timestamp) -> Result<()>;
    /// Adds to the traces, and keeps the newest `kept` rows of each key.
    async fn add_traces(&mut self, traces: &[Trace], kept: u32) -> Result<()>;

    async fn idempotency_record(&mut self, actor: &str, mark: &str) -> Result<Option<IdempotencyRecord>>;
    /// Stores an idempotency record, replacing an older one of the same key, and deletes some that were made before
    /// `stale`.
    async fn put_idempotency_record(&mut self, mark: &IdempotencyRecord, stale: Timestamp) -> Result<()>;
}
