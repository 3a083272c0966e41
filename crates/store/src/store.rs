//! The store, as the authority uses it. A method is a transaction.

use crate::error::{StoreError, WriteError};
use crate::model::{
    ActivityBatch, AuditQuery, AuditRecord, Bootstrap, Census, ChangeManyRequest, ChangeRequest, Changed,
    ChangedCheckPolicy, ChangedMany, ChangedUser, CheckPolicyChange, CheckPolicyRecord, Credential, Event, Head,
    IssueRequest, Issued, KeyPage, KeyQuery, KeyRecord, Login, RefusalQuery, RootKey, RootKeyRotation, RotatedRootKey,
    ShowRootKey, SliceRequest, Stamped, Tenant, TenantEdit, Trace, UsageCount, UserChange, WriteContext,
};
use crate::news::KeyNews;
use async_trait::async_trait;
use keyreeve_core::audit::Action;
use keyreeve_core::coherence::holding::{ChangeScope, Span};
use keyreeve_core::limits::{Counter, Slice};
use keyreeve_core::text::{LimitName, Slug, Subject};
use keyreeve_core::user::Email;
use keyreeve_core::{Digest, KeyId, RootKeyId, Timestamp, User, UserId};
use std::time::Duration;

/// Notified of every commit of this process, in commit order, after the commit is durable and before its caller is
/// answered.
///
/// The store makes the call, and not the caller that requested the change, so that a caller that gives up cannot leave
/// a verifier's memory behind the database.
pub trait CommitObserver: Send + Sync + 'static {
    /// A commit, or a group of commits, is durable.
    fn committed(&self, commit: &Commit);
    /// A commit may or may not be durable, now or later. Only what `touched` names may have changed; its revision is
    /// the one that the commit would have.
    fn outcome_unknown(&self, touched: &Commit);
}

/// What a commit touched, as far as a verifier's memory is concerned.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// The newest revision in it.
    pub revision: u64,
    /// The tenant; `None` for the instance. For a group of changes see [`Commit::parts`].
    pub tenant: Option<Slug>,
    /// Secrets of API keys whose verdict may have changed (also new ones).
    pub secrets: Vec<Digest>,
    /// Secrets of root keys that were created, rotated or revoked.
    pub root_keys: Vec<Digest>,
    /// Of these, those that were revoked, or replaced for good.
    pub ended_root_keys: Vec<Digest>,
    /// Tenants that were created or changed.
    pub tenants: Vec<Tenant>,
    /// Owners whose keys are now blocked, or no longer blocked.
    pub owners: Vec<OwnerGate>,
    /// Tenants whose check policies changed.
    pub check_policies: Vec<Slug>,
    /// Keys that were revoked, disabled, rotated, re-activated or edited: nodes write these changes again into a
    /// database that has lost them.
    pub keys: Vec<KeyNews>,
    /// Root keys that were revoked: likewise.
    pub revoked_root_keys: Vec<RootKeyId>,
    /// Root keys with secrets that a rotation has replaced for good: likewise.
    pub replaced_root_secrets: Vec<(RootKeyId, Vec<Digest>)>,
    /// Root keys with the secrets that a rotation has made retiring ones, which are never the present one again: likewise.
    pub rotated_root_secrets: Vec<(RootKeyId, Vec<Digest>)>,
    /// Entries that this process has written into the audit log.
    pub actions: Vec<Action>,
    /// The changes in the commit, if there are several: how much of the lists above belongs to each, in their order.
    pub group: Vec<CommitShare>,
}

/// How much of a commit belongs to one change of a group.
#[derive(Clone, Debug)]
pub struct CommitShare {
    scope: ChangeScope,
    span: Span,
    secrets: usize,
    ended_root_keys: usize,
    tenants: usize,
    owners: usize,
    keys: usize,
}

/// One change of a commit.
#[derive(Clone, Debug)]
pub struct Part<'c> {
    /// What it is about.
    pub scope: ChangeScope,
    /// Its revisions.
    pub span: Span,
    /// See [`Commit::secrets`].
    pub secrets: &'c [Digest],
    /// See [`Commit::ended_root_keys`].
    pub ended_root_keys: &'c [Digest],
    /// See [`Commit::tenants`].
    pub tenants: &'c [Tenant],
    /// See [`Commit::owners`].
    pub owners: &'c [OwnerGate],
    /// See [`Commit::keys`].
    pub keys: &'c [KeyNews],
}

/// Splits off the first `count` elements.
fn take<'c, T>(rest: &mut &'c [T], count: usize) -> &'c [T] {
    let (taken, left) = rest.split_at_checked(count).unwrap_or((*rest, &[]));
    *rest = left;
    taken
}

impl Commit {
    fn share(&self) -> CommitShare {
        // Each entry of the log has one revision, and those of a change are consecutive. A commit of another node has
        // one entry, and no actions of this process.
        let more = u64::try_from(self.actions.len()).unwrap_or(0).saturating_sub(1);
        CommitShare {
            scope: self.tenant.clone().map_or(ChangeScope::Instance, ChangeScope::Tenant),
            span: Span {
                first: self.revision.saturating_sub(more),
                last: self.revision,
            },
            secrets: self.secrets.len(),
            ended_root_keys: self.ended_root_keys.len(),
            tenants: self.tenants.len(),
            owners: self.owners.len(),
            keys: self.keys.len(),
        }
    }

    /// Returns the changes of the commit, each with what it touched.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let alone = self.group.is_empty().then(|| self.share());
        let (mut secrets, mut root_keys) = (self.secrets.as_slice(), self.ended_root_keys.as_slice());
        let (mut tenants, mut owners) = (self.tenants.as_slice(), self.owners.as_slice());
        let mut keys = self.keys.as_slice();
        self.group.iter().cloned().chain(alone).map(move |share| Part {
            scope: share.scope,
            span: share.span,
            secrets: take(&mut secrets, share.secrets),
            ended_root_keys: take(&mut root_keys, share.ended_root_keys),
            tenants: take(&mut tenants, share.tenants),
            owners: take(&mut owners, share.owners),
            keys: take(&mut keys, share.keys),
        })
    }

    /// Adds a change that is committed together with those in this commit.
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres", test)),
        expect(dead_code, reason = "only a database commits changes together")
    )]
    pub(crate) fn merge(&mut self, one: Self) {
        self.group.push(one.share());
        self.revision = self.revision.max(one.revision);
        self.secrets.extend(one.secrets);
        self.root_keys.extend(one.root_keys);
        self.ended_root_keys.extend(one.ended_root_keys);
        self.tenants.extend(one.tenants);
        self.owners.extend(one.owners);
        self.check_policies.extend(one.check_policies);
        self.keys.extend(one.keys);
        self.revoked_root_keys.extend(one.revoked_root_keys);
        self.replaced_root_secrets.extend(one.replaced_root_secrets);
        self.rotated_root_secrets.extend(one.rotated_root_secrets);
        self.actions.extend(one.actions);
    }

    /// Whether other nodes may remember something that it touched. No memory has a new key, and digests that were not
    /// found are not remembered either.
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres", test)),
        expect(dead_code, reason = "only a database tells others of a commit")
    )]
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

/// Whether writing succeeds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WriteHealth {
    /// Time since the last commit; `None` if there was none since the store was opened.
    pub last_success_ago: Option<Duration>,
    /// How often the database did not accept a change, or did not confirm it in time, since the store was opened.
    pub failures: u64,
    /// The same since the last commit: as long as it is not 0, no write succeeds.
    pub failures_in_a_row: u64,
    /// The reason of the last failure.
    pub last_failure: Option<String>,
}

impl WriteHealth {
    /// Whether the last write failed, and none has succeeded since.
    pub const fn is_failing(&self) -> bool {
        self.failures_in_a_row > 0
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

/// The durable store.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Creates the first tenant and the first root key if there is no tenant, else does nothing. The root key is shown
    /// with `show` inside the transaction; if that fails, nothing is created.
    async fn found(
        &self,
        context: WriteContext,
        tenant: Tenant,
        root_key: RootKey,
        show: ShowRootKey,
    ) -> Result<Bootstrap, WriteError>;

    /// Creates a tenant and its first root key.
    async fn create_tenant(&self, context: WriteContext, tenant: Tenant, root_key: RootKey) -> Result<u64, WriteError>;

    /// Returns a tenant.
    async fn tenant(&self, slug: &Slug) -> Result<Option<Tenant>, StoreError>;

    /// Returns tenants by slug, at most `limit`, after `after`.
    async fn tenants(&self, after: Option<Slug>, limit: u32) -> Result<Vec<Tenant>, StoreError>;

    /// Changes a tenant. Returns it with the newest revision. [`WriteError::NotFound`] if it does not exist or is
    /// removed.
    async fn change_tenant(
        &self,
        context: WriteContext,
        slug: Slug,
        edit: TenantEdit,
    ) -> Result<(Tenant, u64), WriteError>;

    /// Returns the subjects of a tenant whose keys are blocked because their user is suspended or removed.
    async fn blocked_owners(&self, slug: &Slug) -> Result<Vec<Subject>, StoreError>;

    /// Returns the stored check policies of a tenant, by name: at most `CHECK_POLICIES_MAX` of `keyreeve_core`.
    async fn check_policies(&self, tenant: &Slug) -> Result<Stamped<Vec<CheckPolicyRecord>>, StoreError>;

    /// Creates, changes or removes a check policy. [`WriteError::NotFound`] if it, or its tenant, does not exist.
    async fn change_check_policy(
        &self,
        context: WriteContext,
        tenant: Slug,
        change: CheckPolicyChange,
    ) -> Result<ChangedCheckPolicy, WriteError>;

    /// Creates a user. [`WriteError::EmailTaken`] if another one of the tenant has the address.
    async fn create_user(&self, context: WriteContext, user: User) -> Result<u64, WriteError>;

    /// Changes a user. With `is_forced` also the last admin.
    async fn change_user(&self, context: WriteContext, change: UserChange) -> Result<ChangedUser, WriteError>;

    /// Returns a user of a tenant who is not removed.
    async fn user(&self, tenant: &Slug, id: UserId) -> Result<Option<User>, StoreError>;

    /// Returns users of a tenant who are not removed, by id, at most `limit`, after `after`.
    async fn users(&self, tenant: &Slug, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError>;

    /// Creates a root key. [`WriteError::NotFound`] if its tenant does not exist.
    async fn create_root_key(&self, context: WriteContext, root_key: RootKey) -> Result<u64, WriteError>;

    /// Revokes a root key; a repeat is no change. With `tenant`, only one bound to that tenant is found.
    async fn revoke_root_key(
        &self,
        context: WriteContext,
        tenant: Option<Slug>,
        id: RootKeyId,
    ) -> Result<(RootKey, u64), WriteError>;

    /// Gives a root key a new secret. [`WriteError::RootKeyBeyond`] if the caller must not get it.
    async fn rotate_root_key(
        &self,
        context: WriteContext,
        rotation: RootKeyRotation,
    ) -> Result<RotatedRootKey, WriteError>;

    /// Ends the overlap of a root key's rotation; without one it is no change. `tenant` as for a revocation.
    async fn finish_root_key_rotation(
        &self,
        context: WriteContext,
        tenant: Option<Slug>,
        id: RootKeyId,
    ) -> Result<(RootKey, u64), WriteError>;

    /// Returns root keys, newest first, at most `limit`; with `tenant`, only those bound to it.
    async fn root_keys(&self, tenant: Option<Slug>, limit: u32) -> Result<Vec<RootKey>, StoreError>;

    /// Returns the root key with this secret, or of which it is retiring; revoked, expired or not.
    async fn find_root_key(&self, digest: &Digest) -> Result<Stamped<Option<RootKey>>, StoreError>;

    /// Issues keys, all or none.
    async fn issue(&self, context: WriteContext, request: IssueRequest) -> Result<Issued, WriteError>;

    /// Changes one key.
    async fn change(&self, context: WriteContext, request: ChangeRequest) -> Result<Changed, WriteError>;

    /// Changes many keys in one way, in one transaction: at most a few hundred, because other writers wait for it.
    async fn change_many(&self, context: WriteContext, request: ChangeManyRequest) -> Result<ChangedMany, WriteError>;

    /// Returns a key, settled at `now`. Erased keys are not found.
    async fn key(&self, tenant: &Slug, id: KeyId, now: Timestamp) -> Result<Option<KeyRecord>, StoreError>;

    /// Returns a page of keys.
    async fn list(&self, query: KeyQuery) -> Result<KeyPage, StoreError>;

    /// Returns the secret with this digest, of any tenant and in any standing.
    async fn find_credential(&self, digest: &Digest) -> Result<Stamped<Option<Credential>>, StoreError>;

    /// Returns keys whose time to undo a revocation is over, although that is not stored yet; at most `limit`.
    async fn lapsed(&self, now: Timestamp, limit: u32) -> Result<Vec<(Slug, KeyId)>, StoreError>;

    /// Stores last uses and counts. Makes no revision and no audit entry; never moves a time back.
    async fn record_activity(&self, activity: ActivityBatch) -> Result<(), StoreError>;

    /// Takes slices of a key's hard limits, in the order of the needs: of all requested limits or of none. The counters
    /// are durable when this returns.
    async fn take_slices(&self, request: SliceRequest) -> Result<Vec<Slice>, StoreError>;

    /// Returns the counters of a key's hard limits, by name: of those limits from which anything was taken.
    async fn counters(&self, key: KeyId) -> Result<Vec<(LimitName, Counter)>, StoreError>;

    /// Returns the counts of a key, by hour, oldest first.
    async fn usage(&self, key: KeyId, since: Timestamp, until: Timestamp) -> Result<Vec<UsageCount>, StoreError>;

    /// Returns the counts of several keys, by key and hour.
    async fn usage_of(&self, keys: &[KeyId], since: Timestamp, until: Timestamp)
    -> Result<Vec<UsageCount>, StoreError>;

    /// Returns which keys were refused most: one row per key and denial, the largest first; `hour` is the last one.
    async fn refusals(&self, wanted: RefusalQuery) -> Result<Vec<UsageCount>, StoreError>;

    /// Counts all keys. Reads every key, so it must not be called often.
    async fn census(&self, now: Timestamp) -> Result<Census, StoreError>;

    /// Returns the addresses for which a key was verified, the newest first.
    async fn traces(&self, key: KeyId) -> Result<Vec<Trace>, StoreError>;

    /// Returns a login that has not ended.
    async fn login(&self, digest: &Digest, now: Timestamp) -> Result<Option<Login>, StoreError>;

    /// Stores a login, replacing one with the same digest.
    async fn put_login(&self, login: Login, now: Timestamp) -> Result<(), StoreError>;

    /// Removes and returns a login that has not ended. A link that is presented twice is returned once.
    async fn take_login(&self, digest: Digest, now: Timestamp) -> Result<Option<Login>, StoreError>;

    /// Removes every login of a user but one. Returns their number.
    async fn end_logins(&self, user: UserId, except: Option<Digest>) -> Result<u64, StoreError>;

    /// Returns users of any tenant who have an address and are not removed.
    async fn people(&self, email: &Email, limit: u32) -> Result<Vec<User>, StoreError>;

    /// Returns whether writing succeeds, from the outcomes of this process's changes, without a query.
    fn write_health(&self) -> WriteHealth {
        WriteHealth::default()
    }

    /// Commits a transaction that changes nothing and, like every change, waits for the disk. For use when the last
    /// commit has failed and no other change is made.
    async fn probe_write(&self) -> Result<(), StoreError>;

    /// Writes events into the audit log that change nothing else: refusals, old secrets that were presented.
    async fn record_events(&self, context: WriteContext, events: Vec<Event>) -> Result<u64, WriteError>;

    /// Returns the end of the audit log.
    async fn head(&self) -> Result<Head, StoreError>;

    /// Returns the audit log after a revision, at most `limit` entries, oldest first.
    async fn audit_after(&self, revision: u64, limit: u32) -> Result<Vec<AuditRecord>, StoreError>;

    /// Returns the newest entries about the instance itself, newest first, at most `limit`. Reads no other entries.
    async fn instance_events(&self, limit: u32) -> Result<Vec<AuditRecord>, StoreError>;

    /// Returns entries of the audit log that match a filter.
    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditRecord>, StoreError>;

    /// Stops all reads and writes, because the data on the disk differs from what was answered. A database that several
    /// nodes share is not stopped by one of them.
    fn halt(&self, _why: &str) {}

    /// Returns why nothing can be changed now, if that is known without trying.
    fn obstacle(&self) -> Option<String> {
        None
    }

    /// Finishes what was begun and closes the database. Later calls fail as unavailable.
    async fn close(&self);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_that_are_committed_together_stay_what_they_are() {
        let change = |tenant: &str, revision, secrets: &[&[u8]], entries| Commit {
            revision,
            tenant: Slug::parse(tenant).ok(),
            secrets: secrets.iter().map(|secret| Digest::of(secret)).collect(),
            actions: vec![Action::KeyRevoked; entries],
            ..Commit::default()
        };
        let mut group = Commit::default();
        group.merge(change("acme", 7, &[b"a", b"b"], 2));
        group.merge(change("other", 8, &[b"c"], 1));
        let parts: Vec<_> = group.parts().collect();
        let spans: Vec<_> = parts.iter().map(|part| (part.span.first, part.span.last)).collect();
        assert_eq!(spans, [(6, 7), (8, 8)]);
        assert_eq!(parts[0].secrets, [Digest::of(b"a"), Digest::of(b"b")]);
        assert_eq!(parts[1].secrets, [Digest::of(b"c")]);
        assert_eq!(parts[1].scope, ChangeScope::Tenant(Slug::parse("other").unwrap()));
        let alone = change("acme", 7, &[b"a"], 1);
        assert_eq!(alone.parts().map(|part| part.secrets.len()).collect::<Vec<_>>(), [1]);
    }

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
