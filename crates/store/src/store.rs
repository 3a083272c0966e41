//! The store, as the authority sees it. A method is a transaction.

use crate::error::{StoreError, WriteError};
use crate::model::{
    Activity, AuditQuery, AuditRecord, Census, ChangeManyRequest, ChangeRequest, Changed, ChangedCheckPolicy,
    ChangedMany, CheckPolicyChange, CheckPolicyRecord, Credential, Event, Founding, Head, IssueRequest, Issued,
    KeyPage, KeyQuery, KeyRecord, Login, Refusals, RootKey, SliceRequest, Stamped, Tenant, TenantEdit, Trace,
    UsageCount, UserChange, WriteContext,
};
use async_trait::async_trait;
use keyreeve_core::audit::Action;
use keyreeve_core::limits::Slice;
use keyreeve_core::text::{Slug, Subject};
use keyreeve_core::user::Email;
use keyreeve_core::{Digest, KeyId, RootKeyId, Timestamp, User, UserId};

/// Told of every commit of this process after it is durable and before its caller is answered, in commit order.
///
/// It is called by the store itself and not by whoever asked for the change, so that a caller who gives up waiting
/// cannot leave a verifier's memory behind the truth.
pub trait CommitObserver: Send + Sync + 'static {
    /// A commit, or a group of commits, is durable.
    fn committed(&self, commit: &Commit);
    /// A commit may or may not be durable: nothing remembered can be trusted.
    fn outcome_unknown(&self);
}

/// What a commit touched, as far as a verifier's memory is concerned.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// The newest revision in it.
    pub revision: u64,
    /// Secrets of API keys whose verdict may have changed (also new ones).
    pub secrets: Vec<Digest>,
    /// Secrets of root keys that were made or revoked.
    pub root_keys: Vec<Digest>,
    /// Tenants that were made or changed.
    pub tenants: Vec<Tenant>,
    /// Owners whose keys are now blocked, or judged again.
    pub owners: Vec<OwnerGate>,
    /// Tenants whose check policies changed.
    pub check_policies: Vec<Slug>,
    /// Keys that were ended, held, rotated or given back: what a database that lost it must be told again.
    pub keys: Vec<KeyNews>,
    /// Entries that this process has written into the log.
    pub actions: Vec<Action>,
}

impl Commit {
    /// Whether others may remember something of what it touched. What has just come is remembered by nobody, and that it
    /// was unknown neither.
    pub(crate) fn is_news(&self) -> bool {
        let others = [
            self.root_keys.is_empty(),
            self.tenants.is_empty(),
            self.owners.is_empty(),
            self.check_policies.is_empty(),
            self.keys.is_empty(),
        ];
        let is_new = |action: &Action| *action == Action::KeyCreated;
        others.contains(&false) || !self.actions.iter().all(is_new)
    }
}

/// What became of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyNews {
    /// The tenant.
    pub tenant: Slug,
    /// The key.
    pub id: KeyId,
    /// What became of it.
    pub fate: Fate,
}

/// What a change made of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Revoked, as the policy says, or erased.
    Ended,
    /// Disabled.
    Held,
    /// Given a new secret: the old one is dead.
    Rotated,
    /// Given back.
    Live,
}

impl Fate {
    /// Whether somebody's requests are refused that were not before.
    pub const fn takes(self) -> bool {
        !matches!(self, Self::Live)
    }

    /// What an action of the audit log makes of a key; `None` if it neither takes nor gives.
    pub fn of(action: &str) -> Option<Self> {
        match action {
            "key.revoked" | "key.erased" => Some(Self::Ended),
            "key.disabled" => Some(Self::Held),
            "key.rotated" | "key.rotation_finished" => Some(Self::Rotated),
            "key.reactivated" => Some(Self::Live),
            _ => None,
        }
    }
}

/// Whether an owner's keys are blocked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnerGate {
    /// The tenant.
    pub tenant: Slug,
    /// The owner.
    pub subject: Subject,
    /// Whether they are.
    pub is_blocked: bool,
}

/// Durable truth.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Makes the first tenant and the first root key if there is no tenant at all, else does nothing.
    async fn found(&self, context: WriteContext, tenant: Tenant, root_key: RootKey) -> Result<Founding, WriteError>;

    /// Makes a tenant and its first root key.
    async fn create_tenant(&self, context: WriteContext, tenant: Tenant, root_key: RootKey) -> Result<u64, WriteError>;

    /// One tenant.
    async fn tenant(&self, slug: &Slug) -> Result<Option<Tenant>, StoreError>;

    /// All tenants by slug, at most `limit`, after `after`.
    async fn tenants(&self, after: Option<Slug>, limit: u32) -> Result<Vec<Tenant>, StoreError>;

    /// Changes a tenant, and gives the newest revision with it. [`WriteError::NotFound`] if it does not exist or is removed.
    async fn change_tenant(
        &self,
        context: WriteContext,
        slug: Slug,
        edit: TenantEdit,
    ) -> Result<(Tenant, u64), WriteError>;

    /// Subjects of a tenant whose keys are blocked because their user is suspended or removed.
    async fn blocked_owners(&self, slug: &Slug) -> Result<Vec<Subject>, StoreError>;

    /// The check policies that a tenant has stored, by name: not more than `CHECK_POLICIES_MAX` of `keyreeve_core`.
    async fn check_policies(&self, tenant: &Slug) -> Result<Stamped<Vec<CheckPolicyRecord>>, StoreError>;

    /// Makes, changes or removes a check policy. [`WriteError::NotFound`] if it, or its tenant, does not exist.
    async fn change_check_policy(
        &self,
        context: WriteContext,
        tenant: Slug,
        change: CheckPolicyChange,
    ) -> Result<ChangedCheckPolicy, WriteError>;

    /// Makes a user. [`WriteError::EmailTaken`] if another one of the tenant has the address.
    async fn create_user(&self, context: WriteContext, user: User) -> Result<u64, WriteError>;

    /// Changes a user. With `is_forced` also the last admin.
    async fn change_user(&self, context: WriteContext, change: UserChange) -> Result<(User, u64), WriteError>;

    /// One user of a tenant who is not removed.
    async fn user(&self, tenant: &Slug, id: UserId) -> Result<Option<User>, StoreError>;

    /// Users of a tenant who are not removed, by id, at most `limit`, after `after`.
    async fn users(&self, tenant: &Slug, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError>;

    /// Makes a root key. [`WriteError::NotFound`] if its tenant does not exist.
    async fn create_root_key(&self, context: WriteContext, root_key: RootKey) -> Result<u64, WriteError>;

    /// Revokes a root key; again is no change. With `tenant`, only one bound to that tenant is found.
    async fn revoke_root_key(
        &self,
        context: WriteContext,
        tenant: Option<Slug>,
        id: RootKeyId,
    ) -> Result<(RootKey, u64), WriteError>;

    /// Root keys, newest first, at most `limit`; with `tenant`, only those bound to it.
    async fn root_keys(&self, tenant: Option<Slug>, limit: u32) -> Result<Vec<RootKey>, StoreError>;

    /// The root key with this secret, revoked or not.
    async fn find_root_key(&self, digest: &Digest) -> Result<Stamped<Option<RootKey>>, StoreError>;

    /// Issues keys, all or none.
    async fn issue(&self, context: WriteContext, request: IssueRequest) -> Result<Issued, WriteError>;

    /// Changes one key.
    async fn change(&self, context: WriteContext, request: ChangeRequest) -> Result<Changed, WriteError>;

    /// Changes many keys in one way, in one transaction: not more than a few hundred, because others wait meanwhile.
    async fn change_many(&self, context: WriteContext, request: ChangeManyRequest) -> Result<ChangedMany, WriteError>;

    /// One key, settled at `now`. Erased keys are not found.
    async fn key(&self, tenant: &Slug, id: KeyId, now: Timestamp) -> Result<Option<KeyRecord>, StoreError>;

    /// A page of keys.
    async fn list(&self, query: KeyQuery) -> Result<KeyPage, StoreError>;

    /// The secret with this digest, whatever became of it. Of every tenant.
    async fn find_credential(&self, digest: &Digest) -> Result<Stamped<Option<Credential>>, StoreError>;

    /// Keys whose time to undo a revocation is over, though that is not written down yet; at most `limit`.
    async fn lapsed(&self, now: Timestamp, limit: u32) -> Result<Vec<(Slug, KeyId)>, StoreError>;

    /// Writes down when secrets were last used, and counts. No revision, no audit entry; never moves a time back.
    async fn record_activity(&self, activity: Activity) -> Result<(), StoreError>;

    /// Takes slices of a key's hard limits, in the order of the needs. What they count is durable when this returns.
    async fn take_slices(&self, request: SliceRequest) -> Result<Vec<Slice>, StoreError>;

    /// What was counted for a key, by hour, oldest first.
    async fn usage(&self, key: KeyId, since: Timestamp, until: Timestamp) -> Result<Vec<UsageCount>, StoreError>;

    /// The counts of several keys, by key and hour.
    async fn usage_of(&self, keys: &[KeyId], since: Timestamp, until: Timestamp)
    -> Result<Vec<UsageCount>, StoreError>;

    /// Which keys were refused most: one row a key and denial, the largest first; `hour` is the last one.
    async fn refusals(&self, wanted: Refusals) -> Result<Vec<UsageCount>, StoreError>;

    /// How many keys there are. Reads all of them: for whoever asks now and then.
    async fn census(&self, now: Timestamp) -> Result<Census, StoreError>;

    /// Where verdicts on a key were asked for, the newest first.
    async fn traces(&self, key: KeyId) -> Result<Vec<Trace>, StoreError>;

    /// A login that has not ended.
    async fn login(&self, digest: &Digest, now: Timestamp) -> Result<Option<Login>, StoreError>;

    /// Stores a login in the place of one with the same digest.
    async fn put_login(&self, login: Login, now: Timestamp) -> Result<(), StoreError>;

    /// Takes a login that has not ended away: of two who come with the same link, one gets it.
    async fn take_login(&self, digest: Digest, now: Timestamp) -> Result<Option<Login>, StoreError>;

    /// Takes away every login of a user but one, and gives how many.
    async fn end_logins(&self, user: UserId, except: Option<Digest>) -> Result<u64, StoreError>;

    /// Users of any tenant who have an address and are not removed.
    async fn people(&self, email: &Email, limit: u32) -> Result<Vec<User>, StoreError>;

    /// Writes events into the log that change nothing else: refusals, presented old secrets.
    async fn record_events(&self, context: WriteContext, events: Vec<Event>) -> Result<u64, WriteError>;

    /// The end of the log.
    async fn head(&self) -> Result<Head, StoreError>;

    /// The log after a revision, at most `limit` entries, oldest first.
    async fn audit_after(&self, revision: u64, limit: u32) -> Result<Vec<AuditRecord>, StoreError>;

    /// Entries of the log that a filter lets through.
    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditRecord>, StoreError>;

    /// Finishes what was begun and closes the database. Calls after this fail as unavailable.
    async fn close(&self);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_that_have_just_come_are_no_news() {
        let of = |actions: &[Action]| Commit {
            actions: actions.to_vec(),
            secrets: vec![Digest::of(b"x")],
            ..Commit::default()
        };
        assert!(!Commit::default().is_news(), "counts and last uses");
        assert!(!of(&[Action::KeyCreated, Action::KeyCreated]).is_news());
        assert!(of(&[Action::KeyCreated, Action::KeyRevoked]).is_news());
        assert!(of(&[Action::KeyRotated]).is_news(), "a secret that a retry replaced");
        let blocked = Commit {
            root_keys: vec![Digest::of(b"x")],
            ..Commit::default()
        };
        assert!(blocked.is_news());
    }
}
