//! A store in memory, for tests and for the simulator. It keeps every promise of the trait except durability.

mod activity;
mod check_policies;
mod cluster;
mod limits;
mod people;
mod table;
mod tables;
mod tx;

use crate::error::{StoreError, WriteError};
use crate::model::{
    Activity, AuditQuery, AuditRecord, Bootstrap, Census, ChangeManyRequest, ChangeRequest, Changed,
    ChangedCheckPolicy, ChangedMany, ChangedUser, CheckPolicyChange, CheckPolicyRecord, Credential, Event, Head,
    IssueRequest, Issued, KeyPage, KeyQuery, KeyRecord, Login, Refusals, RootKey, ShowRootKey, SliceRequest, Stamped,
    Tenant, TenantEdit, Trace, UsageCount, UserChange, WriteContext,
};
use crate::operations::{self, Written};
use crate::store::{CommitObserver, Store};
use crate::tx::Tx;
use async_trait::async_trait;
pub use cluster::MemoryCopy;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use keyreeve_core::limits::{Counter, Slice};
use keyreeve_core::text::{LimitName, Slug, Subject};
use keyreeve_core::user::{Email, Status};
use keyreeve_core::{Digest, KeyId, RootKeyId, Timestamp, User, UserId};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tables::Tables;
use tx::MemoryTx;

/// A store in this process's memory.
pub struct MemoryStore {
    /// `None` after [`Store::close`].
    tables: Arc<Mutex<Option<Tables>>>,
    observer: Arc<dyn CommitObserver>,
}

impl MemoryStore {
    /// Returns an empty store.
    pub fn new(observer: Arc<dyn CommitObserver>) -> Self {
        Self {
            tables: Arc::new(Mutex::new(Some(Tables::default()))),
            observer,
        }
    }

    fn read<T>(&self, read: impl FnOnce(&Tables) -> T) -> Result<T, StoreError> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.as_ref().map(read).ok_or_else(closed)
    }

    fn stamped<T>(&self, read: impl FnOnce(&Tables) -> T) -> Result<Stamped<T>, StoreError> {
        self.read(|tables| Stamped {
            value: read(tables),
            revision: tables.head.revision,
        })
    }

    /// Runs a transaction to its end under the lock. It does not suspend, so the caller cannot be dropped in the middle
    /// of it.
    fn write<T>(
        &self,
        operation: impl for<'t> FnOnce(&'t mut dyn Tx) -> BoxFuture<'t, Result<Written<T>, WriteError>>,
    ) -> Result<T, WriteError> {
        let mut guard = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let tables = guard.as_mut().ok_or_else(closed)?;
        let actions = Vec::new();
        let mut tx = MemoryTx { tables, actions };
        let done = operation(&mut tx).now_or_never();
        let MemoryTx { tables, actions } = tx;
        match done {
            Some(Ok(mut written)) => {
                written.commit.actions = actions;
                tables.commit();
                tables.meeting.note(&written.commit);
                self.observer.committed(&written.commit);
                Ok(written.value)
            }
            Some(Err(error)) => {
                tables.roll_back();
                Err(error)
            }
            None => {
                tables.roll_back();
                Err(StoreError::Unavailable("a transaction in memory had to wait".to_owned()).into())
            }
        }
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}

#[async_trait]
impl Store for MemoryStore {
    async fn found(
        &self,
        context: WriteContext,
        tenant: Tenant,
        root_key: RootKey,
        show: ShowRootKey,
    ) -> Result<Bootstrap, WriteError> {
        self.write(|tx| Box::pin(async move { operations::found(tx, &context, &tenant, &root_key, show).await }))
    }

    async fn create_tenant(&self, context: WriteContext, tenant: Tenant, root_key: RootKey) -> Result<u64, WriteError> {
        self.write(|tx| Box::pin(async move { operations::create_tenant(tx, &context, &tenant, &root_key).await }))
    }

    async fn tenant(&self, slug: &Slug) -> Result<Option<Tenant>, StoreError> {
        self.read(|tables| tables.tenants.get(slug).cloned())
    }

    async fn tenants(&self, after: Option<Slug>, limit: u32) -> Result<Vec<Tenant>, StoreError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.read(|tables| {
            let by_slug = tables.tenants.rows().values();
            let rest = by_slug
                .filter(|tenant| tenant.status != Status::Removed)
                .filter(|tenant| after.as_ref().is_none_or(|after| tenant.slug > *after));
            rest.take(limit).cloned().collect()
        })
    }

    async fn change_tenant(
        &self,
        context: WriteContext,
        slug: Slug,
        edit: TenantEdit,
    ) -> Result<(Tenant, u64), WriteError> {
        self.write(|tx| Box::pin(async move { operations::change_tenant(tx, &context, &slug, edit).await }))
    }

    async fn blocked_owners(&self, slug: &Slug) -> Result<Vec<Subject>, StoreError> {
        self.read(|tables| {
            let users = tables.users.rows().values();
            let blocked = users.filter(|user| user.tenant == *slug && user.is_blocked());
            blocked.filter_map(User::subject).collect()
        })
    }

    async fn check_policies(&self, tenant: &Slug) -> Result<Stamped<Vec<CheckPolicyRecord>>, StoreError> {
        self.stamped(|tables| tables.check_policies_of(tenant).cloned().collect())
    }

    async fn change_check_policy(
        &self,
        context: WriteContext,
        tenant: Slug,
        change: CheckPolicyChange,
    ) -> Result<ChangedCheckPolicy, WriteError> {
        self.write(|tx| Box::pin(async move { operations::change_check_policy(tx, &context, &tenant, change).await }))
    }

    async fn create_user(&self, context: WriteContext, user: User) -> Result<u64, WriteError> {
        self.write(|tx| Box::pin(async move { operations::create_user(tx, &context, &user).await }))
    }

    async fn change_user(&self, context: WriteContext, change: UserChange) -> Result<ChangedUser, WriteError> {
        self.write(|tx| Box::pin(async move { operations::change_user(tx, &context, change).await }))
    }

    async fn user(&self, tenant: &Slug, id: UserId) -> Result<Option<User>, StoreError> {
        let is_it = |user: &&User| user.tenant == *tenant && user.status != Status::Removed;
        self.read(|tables| tables.users.get(&id).filter(is_it).cloned())
    }

    async fn users(&self, tenant: &Slug, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let is_asked_for = |user: &&User| {
            user.tenant == *tenant && user.status != Status::Removed && after.is_none_or(|after| user.id > after)
        };
        self.read(|tables| {
            let users = tables.users.rows().values();
            users.filter(is_asked_for).take(limit).cloned().collect()
        })
    }

    async fn create_root_key(&self, context: WriteContext, root_key: RootKey) -> Result<u64, WriteError> {
        self.write(|tx| Box::pin(async move { operations::create_root_key(tx, &context, &root_key).await }))
    }

    async fn revoke_root_key(
        &self,
        context: WriteContext,
        tenant: Option<Slug>,
        id: RootKeyId,
    ) -> Result<(RootKey, u64), WriteError> {
        self.write(|tx| Box::pin(async move { operations::revoke_root_key(tx, &context, tenant.as_ref(), id).await }))
    }

    async fn root_keys(&self, tenant: Option<Slug>, limit: u32) -> Result<Vec<RootKey>, StoreError> {
        self.read(|tables| tables.root_keys(tenant.as_ref(), limit))
    }

    async fn find_root_key(&self, digest: &Digest) -> Result<Stamped<Option<RootKey>>, StoreError> {
        self.stamped(|tables| {
            let mut root_keys = tables.root_keys.rows().values();
            root_keys.find(|root_key| root_key.digest == *digest).cloned()
        })
    }

    async fn issue(&self, context: WriteContext, request: IssueRequest) -> Result<Issued, WriteError> {
        self.write(|tx| Box::pin(async move { operations::issue(tx, &context, request).await }))
    }

    async fn change(&self, context: WriteContext, request: ChangeRequest) -> Result<Changed, WriteError> {
        self.write(|tx| Box::pin(async move { operations::change(tx, &context, request).await }))
    }

    async fn change_many(&self, context: WriteContext, request: ChangeManyRequest) -> Result<ChangedMany, WriteError> {
        self.write(|tx| Box::pin(async move { operations::change_many(tx, &context, request).await }))
    }

    async fn key(&self, tenant: &Slug, id: KeyId, now: Timestamp) -> Result<Option<KeyRecord>, StoreError> {
        self.read(|tables| tables.key(tenant, id).map(|record| tables::settled(record, now)))
    }

    async fn list(&self, query: KeyQuery) -> Result<KeyPage, StoreError> {
        self.read(|tables| tables.list(&query))
    }

    async fn find_credential(&self, digest: &Digest) -> Result<Stamped<Option<Credential>>, StoreError> {
        self.stamped(|tables| tables.credential(digest))
    }

    async fn lapsed(&self, now: Timestamp, limit: u32) -> Result<Vec<(Slug, KeyId)>, StoreError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.read(|tables| tables.lapsed(now).take(limit).collect())
    }

    async fn record_activity(&self, activity: Activity) -> Result<(), StoreError> {
        self.write(|tx| Box::pin(async move { operations::record_activity(tx, &activity).await }))
            .map_err(operations::only_store_error)
    }

    async fn take_slices(&self, request: SliceRequest) -> Result<Vec<Slice>, StoreError> {
        self.write(|tx| Box::pin(async move { operations::take_slices(tx, &request).await }))
            .map_err(operations::only_store_error)
    }

    async fn counters(&self, key: KeyId) -> Result<Vec<(LimitName, Counter)>, StoreError> {
        self.read(|tables| tables.counters_of(key))
    }

    async fn usage(&self, key: KeyId, since: Timestamp, until: Timestamp) -> Result<Vec<UsageCount>, StoreError> {
        self.read(|tables| tables.usage_of(&[key], since, until))
    }

    async fn usage_of(
        &self,
        keys: &[KeyId],
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<UsageCount>, StoreError> {
        self.read(|tables| tables.usage_of(keys, since, until))
    }

    async fn refusals(&self, wanted: Refusals) -> Result<Vec<UsageCount>, StoreError> {
        self.read(|tables| tables.refusals(&wanted))
    }

    async fn census(&self, now: Timestamp) -> Result<Census, StoreError> {
        self.read(|tables| tables.census(now))
    }

    async fn traces(&self, key: KeyId) -> Result<Vec<Trace>, StoreError> {
        self.read(|tables| tables.traces_of(key))
    }

    async fn login(&self, digest: &Digest, now: Timestamp) -> Result<Option<Login>, StoreError> {
        self.read(|tables| {
            let login = tables.logins.get(digest.bytes());
            login.filter(|login| login.expires_at > now).cloned()
        })
    }

    async fn put_login(&self, login: Login, now: Timestamp) -> Result<(), StoreError> {
        self.write(|tx| Box::pin(async move { operations::put_login(tx, &login, now).await }))
            .map_err(operations::only_store_error)
    }

    async fn take_login(&self, digest: Digest, now: Timestamp) -> Result<Option<Login>, StoreError> {
        self.write(|tx| Box::pin(async move { operations::take_login(tx, &digest, now).await }))
            .map_err(operations::only_store_error)
    }

    async fn end_logins(&self, user: UserId, except: Option<Digest>) -> Result<u64, StoreError> {
        self.write(|tx| Box::pin(async move { operations::end_logins(tx, user, except.as_ref()).await }))
            .map_err(operations::only_store_error)
    }

    async fn people(&self, email: &Email, limit: u32) -> Result<Vec<User>, StoreError> {
        self.read(|tables| tables.people(email, limit))
    }

    async fn record_events(&self, context: WriteContext, events: Vec<Event>) -> Result<u64, WriteError> {
        self.write(|tx| Box::pin(async move { operations::record_events(tx, &context, events).await }))
    }

    async fn probe_write(&self) -> Result<(), StoreError> {
        self.write(|tx| Box::pin(async move { operations::probe_write(tx).await }))
            .map_err(operations::only_store_error)
    }

    async fn head(&self) -> Result<Head, StoreError> {
        self.read(|tables| tables.head)
    }

    async fn audit_after(&self, revision: u64, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.read(|tables| {
            let rest = tables.log.rows().range(revision.saturating_add(1)..);
            rest.take(limit).map(|(_, record)| record.clone()).collect()
        })
    }

    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditRecord>, StoreError> {
        self.read(|tables| tables.audit(&query))
    }

    async fn close(&self) {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}
