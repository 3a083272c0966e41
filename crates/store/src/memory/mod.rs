//! A store in memory, for tests and for the simulator. It keeps every promise of the trait except durability.

mod activity;
mod check_policies;
mod cluster;
mod limits;
mod people;
mod table;
mod tables;
mod tx;

use crate::backend::Backend;
use crate::error::{StoreError, WriteError};
use crate::model::{
    AuditQuery, AuditRecord, Census, CheckPolicyRecord, Credential, Head, KeyPage, KeyQuery, KeyRecord, Login,
    RefusalQuery, RootKey, Stamped, Tenant, Trace, UsageCount,
};
use crate::operations::Written;
use crate::reads::Reads;
use crate::store::CommitObserver;
use crate::tx::{Result, Tx};
pub use cluster::MemoryCopy;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use keyreeve_core::limits::Counter;
use keyreeve_core::text::{LimitName, Slug, Subject};
use keyreeve_core::user::{Email, Status};
use keyreeve_core::{Digest, KeyId, Timestamp, User, UserId};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tables::Tables;
use tx::MemoryTx;

/// A store in this process's memory. A clone is the same store.
#[derive(Clone)]
pub struct MemoryStore {
    /// `None` after [`crate::Store::close`].
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

    fn read<T>(&self, read: impl FnOnce(&Tables) -> T) -> Result<T> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.as_ref().map(read).ok_or_else(closed)
    }

    fn stamped<T>(&self, read: impl FnOnce(&Tables) -> T) -> Result<Stamped<T>> {
        self.read(|tables| Stamped {
            value: read(tables),
            revision: tables.head.revision,
        })
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}

impl Backend for MemoryStore {
    type Reader<'s> = &'s Self;

    fn reader(&self) -> &Self {
        self
    }

    /// Runs a transaction to its end under the lock. It does not suspend, so the caller cannot be dropped in the middle
    /// of it.
    async fn write<T, F>(&self, operation: F) -> Result<T, WriteError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut dyn Tx) -> BoxFuture<'t, Result<Written<T>, WriteError>> + Send + 'static,
    {
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

    async fn close(&self) {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Reads for &MemoryStore {
    async fn tenant(&mut self, slug: &Slug) -> Result<Option<Tenant>> {
        self.read(|tables| tables.tenants.get(slug).cloned())
    }

    async fn tenants(&mut self, after: Option<Slug>, limit: u32) -> Result<Vec<Tenant>> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.read(|tables| {
            let by_slug = tables.tenants.rows().values();
            let rest = by_slug
                .filter(|tenant| tenant.status != Status::Removed)
                .filter(|tenant| after.as_ref().is_none_or(|after| tenant.slug > *after));
            rest.take(limit).cloned().collect()
        })
    }

    async fn blocked_owners(&mut self, slug: &Slug) -> Result<Vec<Subject>> {
        self.read(|tables| {
            let users = tables.users.rows().values();
            let blocked = users.filter(|user| user.tenant == *slug && user.is_blocked());
            blocked.filter_map(User::subject).collect()
        })
    }

    async fn check_policies(&mut self, tenant: &Slug) -> Result<Stamped<Vec<CheckPolicyRecord>>> {
        self.stamped(|tables| tables.check_policies_of(tenant).cloned().collect())
    }

    async fn user(&mut self, tenant: &Slug, id: UserId) -> Result<Option<User>> {
        let is_it = |user: &&User| user.tenant == *tenant && user.status != Status::Removed;
        self.read(|tables| tables.users.get(&id).filter(is_it).cloned())
    }

    async fn users(&mut self, tenant: &Slug, after: Option<UserId>, limit: u32) -> Result<Vec<User>> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let is_asked_for = |user: &&User| {
            user.tenant == *tenant && user.status != Status::Removed && after.is_none_or(|after| user.id > after)
        };
        self.read(|tables| {
            let users = tables.users.rows().values();
            users.filter(is_asked_for).take(limit).cloned().collect()
        })
    }

    async fn people(&mut self, email: &Email, limit: u32) -> Result<Vec<User>> {
        self.read(|tables| tables.people(email, limit))
    }

    async fn root_keys(&mut self, tenant: Option<Slug>, limit: u32) -> Result<Vec<RootKey>> {
        self.read(|tables| tables.root_keys(tenant.as_ref(), limit))
    }

    async fn find_root_key(&mut self, digest: &Digest) -> Result<Stamped<Option<RootKey>>> {
        self.stamped(|tables| tables.root_key_by(digest).cloned())
    }

    async fn key(&mut self, tenant: &Slug, id: KeyId, now: Timestamp) -> Result<Option<KeyRecord>> {
        self.read(|tables| tables.key(tenant, id).map(|record| tables::settled(record, now)))
    }

    async fn list(&mut self, query: &KeyQuery) -> Result<KeyPage> {
        self.read(|tables| tables.list(query))
    }

    async fn find_credential(&mut self, digest: &Digest) -> Result<Stamped<Option<Credential>>> {
        self.stamped(|tables| tables.credential(digest))
    }

    async fn lapsed(&mut self, now: Timestamp, limit: u32) -> Result<Vec<(Slug, KeyId)>> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.read(|tables| tables.lapsed(now).take(limit).collect())
    }

    async fn counters(&mut self, key: KeyId) -> Result<Vec<(LimitName, Counter)>> {
        self.read(|tables| tables.counters_of(key))
    }

    async fn usage(&mut self, key: KeyId, since: Timestamp, until: Timestamp) -> Result<Vec<UsageCount>> {
        self.read(|tables| tables.usage_of(&[key], since, until))
    }

    async fn usage_of(&mut self, keys: &[KeyId], since: Timestamp, until: Timestamp) -> Result<Vec<UsageCount>> {
        self.read(|tables| tables.usage_of(keys, since, until))
    }

    async fn refusals(&mut self, wanted: &RefusalQuery) -> Result<Vec<UsageCount>> {
        self.read(|tables| tables.refusals(wanted))
    }

    async fn census(&mut self, now: Timestamp) -> Result<Census> {
        self.read(|tables| tables.census(now))
    }

    async fn traces(&mut self, key: KeyId) -> Result<Vec<Trace>> {
        self.read(|tables| tables.traces_of(key))
    }

    async fn login(&mut self, digest: &Digest, now: Timestamp) -> Result<Option<Login>> {
        self.read(|tables| {
            let login = tables.logins.get(digest.bytes());
            login.filter(|login| login.expires_at > now).cloned()
        })
    }

    async fn head(&mut self) -> Result<Head> {
        self.read(|tables| tables.head)
    }

    async fn audit_after(&mut self, revision: u64, limit: u32) -> Result<Vec<AuditRecord>> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.read(|tables| {
            let rest = tables.log.rows().range(revision.saturating_add(1)..);
            rest.take(limit).map(|(_, record)| record.clone()).collect()
        })
    }

    async fn instance_events(&mut self, limit: u32) -> Result<Vec<AuditRecord>> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.read(|tables| {
            let newest = tables.log.rows().values().rev();
            let of_instance = newest.filter(|one| {
                one.target_type == "instance" && one.target_id == "keyreeve" && one.action.starts_with("instance.")
            });
            of_instance.take(limit).cloned().collect()
        })
    }

    async fn audit(&mut self, query: &AuditQuery) -> Result<Vec<AuditRecord>> {
        self.read(|tables| tables.audit(query))
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}
