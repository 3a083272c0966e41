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
    /// So many are to be made.
    pub(crate) adding: u32,
    /// So many may count.
    pub(crate) max: u32,
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

/// What gateways ask of keys, in a write transaction.
#[async_trait]
pub(crate) trait CheckTx: Send {
    async fn check_policy(&mut self, tenant: &Slug, name: &CheckPolicyName) -> Result<Option<CheckPolicyRecord>>;
    /// How many the tenant has.
    async fn count_check_policies(&mut self, tenant: &Slug) -> Result<u32>;
    /// Stores one in the place of one with the same name.
    async fn put_check_policy(&mut self, record: &CheckPolicyRecord) -> Result<()>;
    async fn delete_check_policy(&mut self, tenant: &Slug, name: &CheckPolicyName) -> Result<()>;
}

/// What is counted of hard limits, in a write transaction.
#[async_trait]
pub(crate) trait LimitTx: Send {
    /// The counters of those limits of a key that have one, held until the commit.
    async fn counters(&mut self, key: KeyId) -> Result<Vec<(LimitName, Counter)>>;
    /// Stores counters in the place of those with the same name.
    async fn put_counters(&mut self, key: KeyId, counters: &[(LimitName, Counter)]) -> Result<()>;
    /// Forgets counters.
    async fn drop_counters(&mut self, key: KeyId, names: &[LimitName]) -> Result<()>;
}

/// What a change will ask about, besides its tenant, its actor and its mark.
pub(crate) struct Soon<'a> {
    pub(crate) tenant: &'a Slug,
    pub(crate) context: &'a WriteContext,
    /// The key that is changed.
    pub(crate) key: Option<KeyId>,
    /// Owners and names that keys are to be given.
    pub(crate) names: &'a [(Subject, Name)],
}

/// A secret of a key that is not retired for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Current {
    pub(crate) key: KeyId,
    pub(crate) digest: Digest,
    pub(crate) is_live: bool,
}

/// A write transaction. What may be about many keys takes them all at once: a database across a network answers each
/// call in one journey.
#[async_trait]
pub(crate) trait Tx: PeopleTx + CheckTx + LimitTx {
    /// Entries that this transaction has appended so far: whoever commits it tells the observer.
    fn actions(&mut self) -> &mut Vec<Action>;

    /// Told of what will surely be asked, before anything is changed: a database across a network answers all of it in
    /// one journey. Asking for something else is no mistake.
    async fn foresee(&mut self, _soon: Soon<'_>) -> Result<()> {
        Ok(())
    }

    /// The end of the log, held until the commit. Read it last: everybody waits for it.
    async fn lock_head(&mut self) -> Result<Head>;
    /// Appends to the log, and moves its end.
    async fn append(&mut self, records: &[AuditRecord], head: Head) -> Result<()>;

    /// Those of the keys that there are, in the order asked for, held until the commit, as stored (not settled).
    async fn lock_keys(&mut self, tenant: &Slug, ids: &[KeyId]) -> Result<Vec<KeyRecord>>;
    /// How many keys of each subject count; or more, if even then all that are to be made may be.
    async fn count_keys(&mut self, counted: &[Counted<'_>]) -> Result<Vec<u32>>;
    /// Whether a usable key of each owner, other than `except`, has the name.
    async fn are_names_taken(
        &mut self,
        tenant: &Slug,
        names: &[(&Subject, &Name)],
        except: Option<KeyId>,
        now: Timestamp,
    ) -> Result<Vec<bool>>;
    /// Whether each of these users is suspended or removed. Who is no user of the tenant is neither.
    async fn are_users_blocked(&mut self, tenant: &Slug, users: &[UserId]) -> Result<Vec<bool>>;
    /// How many keys of an owner work at `now`, as far as the owner is not blocked.
    async fn count_working_keys(&mut self, tenant: &Slug, subject: &Subject, now: Timestamp) -> Result<u32>;
    /// Stores new keys and their secrets. Fails if a digest was ever there.
    async fn insert_keys(&mut self, keys: &[&Key]) -> Result<()>;
    async fn update_keys(&mut self, keys: &[&Key]) -> Result<()>;
    async fn delete_key(&mut self, id: KeyId) -> Result<()>;

    /// Stores the secrets that keys have now. Fails if a digest was ever there.
    async fn insert_credentials(&mut self, keys: &[&Key]) -> Result<()>;
    async fn set_credentials(&mut self, standings: &[(Digest, SecretStanding)]) -> Result<()>;
    /// Every secret of the keys that is not retired for good.
    async fn current_credentials(&mut self, keys: &[&Key]) -> Result<Vec<Current>>;
    /// Makes a tombstone of every secret of the key, and says which they are: also one that was replaced long ago may
    /// still be remembered with what the key was called.
    async fn entomb_credentials(&mut self, key: KeyId) -> Result<Vec<Digest>>;
    /// Moves last-used times forward, never back.
    async fn record_uses(&mut self, uses: &[(Digest, Timestamp)]) -> Result<()>;
    /// Notes that secrets were presented, where it is not noted yet.
    async fn record_presented(&mut self, presented: &[(Digest, Timestamp)]) -> Result<()>;
    /// Moves last-refused times forward, never back.
    async fn record_refusals(&mut self, refused: &[(KeyId, Timestamp)]) -> Result<()>;
    /// Adds to what is counted, and forgets some counts of hours before `stale`.
    async fn add_counts(&mut self, counts: &[UsageCount], stale: Timestamp) -> Result<()>;
    /// Adds to where verdicts were asked for, and keeps the newest `kept` rows of each key.
    async fn add_traces(&mut self, traces: &[Trace], kept: u32) -> Result<()>;

    async fn mark(&mut self, actor: &str, mark: &str) -> Result<Option<Mark>>;
    /// Stores a mark in the place of an older one of the same name, and forgets some that were made before `stale`.
    async fn put_mark(&mut self, mark: &Mark, stale: Timestamp) -> Result<()>;
}
