//! The database as one node sees it: the shipped operations on a store in memory, behind a network that delays, cuts
//! and loses answers.

use crate::executor::{MS, Nanos, Sim};
use async_trait::async_trait;
use keyreeve_core::Timestamp;
use keyreeve_core::coherence::holder::SessionId;
use keyreeve_core::limits::Slice;
use keyreeve_core::text::{Slug, Subject};
use keyreeve_core::user::Email;
use keyreeve_core::{Digest, KeyId, RootKeyId, User, UserId};
use keyreeve_store::cluster::{Cluster, Polled, Registered, Session};
use keyreeve_store::model::{
    Activity, AuditQuery, AuditRecord, Census, ChangeManyRequest, ChangeRequest, Changed, ChangedCheckPolicy,
    ChangedMany, CheckPolicyChange, CheckPolicyRecord, Credential, Event, Founding, Head, IssueRequest, Issued,
    KeyPage, KeyQuery, KeyRecord, Login, Refusals, RootKey, SliceRequest, Stamped, Tenant, TenantEdit, Trace,
    UsageCount, UserChange, WriteContext,
};
use keyreeve_store::{Commit, CommitObserver, MemoryStore, Store, StoreError, WriteError};
use std::sync::{Arc, Mutex, PoisonError};

/// How long a node waits for an answer before it gives up.
const DEADLINE: Nanos = 1_500 * MS;
/// When the simulation begins, in Unix ms.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// Nobody is told anything.
#[derive(Debug)]
pub(crate) struct Deaf;

impl CommitObserver for Deaf {
    fn committed(&self, _: &Commit) {}
    fn outcome_unknown(&self) {}
}

/// Keeps what the store said, to be passed on when the answer arrives.
#[derive(Default)]
struct Heard(Mutex<Vec<Commit>>);

impl CommitObserver for Heard {
    fn committed(&self, commit: &Commit) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(commit.clone());
    }

    fn outcome_unknown(&self) {}
}

/// What goes on between nodes and database.
#[derive(Default)]
pub(crate) struct Weather {
    /// Until when nobody is answered.
    pub(crate) down_until: Nanos,
}

/// The database and its weather.
#[derive(Clone)]
pub(crate) struct Database {
    pub(crate) sim: Sim,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) weather: Arc<Mutex<Weather>>,
}

impl Database {
    pub(crate) fn new(sim: Sim) -> Self {
        Self {
            sim,
            store: Arc::new(MemoryStore::new(Arc::new(Deaf))),
            weather: Arc::default(),
        }
    }

    pub(crate) fn weather(&self) -> std::sync::MutexGuard<'_, Weather> {
        self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest revision, seen from above.
    pub(crate) fn head(&self) -> u64 {
        let head = futures_util::FutureExt::now_or_never(self.store.head());
        head.and_then(Result::ok).map_or(0, |head| head.revision)
    }

    pub(crate) fn time(&self) -> Timestamp {
        let ms = i64::try_from(self.sim.now() / MS).unwrap_or(i64::MAX);
        Timestamp::from_millis(EPOCH_MS.saturating_add(ms))
    }
}

/// One node's wire to the database.
pub(crate) struct Wire {
    database: Database,
    /// Told of this node's own commits.
    observer: Arc<dyn CommitObserver>,
    pub(crate) cut: Mutex<Cut>,
}

/// Until when nothing goes which way.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cut {
    pub(crate) out: Nanos,
    pub(crate) back: Nanos,
}

impl Wire {
    pub(crate) fn new(database: Database, observer: Arc<dyn CommitObserver>) -> Self {
        Self {
            database,
            observer,
            cut: Mutex::default(),
        }
    }

    fn cut_now(&self) -> Cut {
        *self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message on its way: mostly quick, now and then slow.
    async fn travel(&self) {
        let sim = &self.database.sim;
        let nanos = match sim.range(0, 100) {
            0..=69 => sim.range(MS / 10, 2 * MS),
            70..=94 => sim.range(2 * MS, 40 * MS),
            _ => sim.range(40 * MS, 1_200 * MS),
        };
        sim.sleep(nanos).await;
    }

    /// The way there. False if the request does not arrive.
    async fn there(&self) -> bool {
        self.travel().await;
        let now = self.database.sim.now();
        let is_lost = now < self.cut_now().out || now < self.database.weather().down_until;
        if is_lost {
            self.database.sim.sleep(DEADLINE).await;
        }
        !is_lost
    }

    /// The way back. False if the answer does not arrive.
    async fn back(&self) -> bool {
        self.travel().await;
        let sim = &self.database.sim;
        let now = sim.now();
        let is_lost = now < self.cut_now().back || sim.percent(1);
        if is_lost {
            sim.sleep(DEADLINE).await;
        }
        !is_lost
    }

    /// A question on its way: an error if it does not arrive.
    async fn ask(&self) -> Result<(), StoreError> {
        if !self.there().await {
            return Err(away());
        }
        self.database.store.set_now(self.database.time());
        Ok(())
    }

    /// Its answer on the way back.
    async fn hear<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        if self.back().await { answer } else { Err(away()) }
    }

    /// A change on its way, and the store as it is carried out there.
    async fn order(&self) -> Result<(MemoryStore, Arc<Heard>), StoreError> {
        self.ask().await?;
        let heard = Arc::new(Heard::default());
        Ok((self.database.store.seen_by(Arc::clone(&heard) as _), heard))
    }

    /// Its commit reaches this node's memory with the answer; if the answer is lost, nothing remembered can be trusted.
    async fn done<T>(&self, heard: Arc<Heard>, answer: Result<T, WriteError>) -> Result<T, WriteError> {
        if !self.back().await {
            self.observer.outcome_unknown();
            return Err(StoreError::OutcomeUnknown("the answer was lost".to_owned()).into());
        }
        for commit in heard.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            self.observer.committed(commit);
        }
        answer
    }
}

fn away() -> StoreError {
    StoreError::Unavailable("the database does not answer".to_owned())
}

/// A question to the primary. The store in memory answers without waiting, so that what it does happens at one moment.
macro_rules! ask {
    ($wire:ident, $call:ident($($argument:expr),*)) => {{
        $wire.ask().await?;
        let answer = $wire.database.store.$call($($argument),*).await;
        $wire.hear(answer).await
    }};
}

/// A change at the primary.
macro_rules! order {
    ($wire:ident, $call:ident($($argument:expr),*)) => {{
        let (store, heard) = $wire.order().await?;
        let answer = store.$call($($argument),*).await;
        $wire.done(heard, answer).await
    }};
}

#[async_trait]
impl Store for Wire {
    async fn found(&self, context: WriteContext, tenant: Tenant, root_key: RootKey) -> Result<Founding, WriteError> {
        order!(self, found(context, tenant, root_key))
    }

    async fn create_tenant(&self, context: WriteContext, tenant: Tenant, root_key: RootKey) -> Result<u64, WriteError> {
        order!(self, create_tenant(context, tenant, root_key))
    }

    async fn tenant(&self, slug: &Slug) -> Result<Option<Tenant>, StoreError> {
        ask!(self, tenant(slug))
    }

    async fn tenants(&self, after: Option<Slug>, limit: u32) -> Result<Vec<Tenant>, StoreError> {
        ask!(self, tenants(after, limit))
    }

    async fn change_tenant(
        &self,
        context: WriteContext,
        slug: Slug,
        edit: TenantEdit,
    ) -> Result<(Tenant, u64), WriteError> {
        order!(self, change_tenant(context, slug, edit))
    }

    async fn blocked_owners(&self, slug: &Slug) -> Result<Vec<Subject>, StoreError> {
        ask!(self, blocked_owners(slug))
    }

    async fn check_policies(&self, tenant: &Slug) -> Result<Stamped<Vec<CheckPolicyRecord>>, StoreError> {
        ask!(self, check_policies(tenant))
    }

    async fn change_check_policy(
        &self,
        context: WriteContext,
        tenant: Slug,
        change: CheckPolicyChange,
    ) -> Result<ChangedCheckPolicy, WriteError> {
        order!(self, change_check_policy(context, tenant, change))
    }

    async fn create_user(&self, context: WriteContext, user: User) -> Result<u64, WriteError> {
        order!(self, create_user(context, user))
    }

    async fn change_user(&self, context: WriteContext, change: UserChange) -> Result<(User, u64), WriteError> {
        order!(self, change_user(context, change))
    }

    async fn user(&self, tenant: &Slug, id: UserId) -> Result<Option<User>, StoreError> {
        ask!(self, user(tenant, id))
    }

    async fn users(&self, tenant: &Slug, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError> {
        ask!(self, users(tenant, after, limit))
    }

    async fn create_root_key(&self, context: WriteContext, root_key: RootKey) -> Result<u64, WriteError> {
        order!(self, create_root_key(context, root_key))
    }

    async fn revoke_root_key(
        &self,
        context: WriteContext,
        tenant: Option<Slug>,
        id: RootKeyId,
    ) -> Result<(RootKey, u64), WriteError> {
        order!(self, revoke_root_key(context, tenant, id))
    }

    async fn root_keys(&self, tenant: Option<Slug>, limit: u32) -> Result<Vec<RootKey>, StoreError> {
        ask!(self, root_keys(tenant, limit))
    }

    async fn find_root_key(&self, digest: &Digest) -> Result<Stamped<Option<RootKey>>, StoreError> {
        ask!(self, find_root_key(digest))
    }

    async fn issue(&self, context: WriteContext, request: IssueRequest) -> Result<Issued, WriteError> {
        order!(self, issue(context, request))
    }

    async fn change(&self, context: WriteContext, request: ChangeRequest) -> Result<Changed, WriteError> {
        order!(self, change(context, request))
    }

    async fn change_many(&self, context: WriteContext, request: ChangeManyRequest) -> Result<ChangedMany, WriteError> {
        order!(self, change_many(context, request))
    }

    async fn key(&self, tenant: &Slug, id: KeyId, now: Timestamp) -> Result<Option<KeyRecord>, StoreError> {
        ask!(self, key(tenant, id, now))
    }

    async fn list(&self, query: KeyQuery) -> Result<KeyPage, StoreError> {
        ask!(self, list(query))
    }

    async fn find_credential(&self, digest: &Digest) -> Result<Stamped<Option<Credential>>, StoreError> {
        ask!(self, find_credential(digest))
    }

    async fn lapsed(&self, now: Timestamp, limit: u32) -> Result<Vec<(Slug, KeyId)>, StoreError> {
        ask!(self, lapsed(now, limit))
    }

    async fn record_activity(&self, activity: Activity) -> Result<(), StoreError> {
        ask!(self, record_activity(activity))
    }

    async fn take_slices(&self, request: SliceRequest) -> Result<Vec<Slice>, StoreError> {
        ask!(self, take_slices(request))
    }

    async fn usage(&self, key: KeyId, since: Timestamp, until: Timestamp) -> Result<Vec<UsageCount>, StoreError> {
        ask!(self, usage(key, since, until))
    }

    async fn usage_of(
        &self,
        keys: &[KeyId],
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<UsageCount>, StoreError> {
        ask!(self, usage_of(keys, since, until))
    }

    async fn refusals(&self, wanted: Refusals) -> Result<Vec<UsageCount>, StoreError> {
        ask!(self, refusals(wanted))
    }

    async fn census(&self, now: Timestamp) -> Result<Census, StoreError> {
        ask!(self, census(now))
    }

    async fn traces(&self, key: KeyId) -> Result<Vec<Trace>, StoreError> {
        ask!(self, traces(key))
    }

    async fn login(&self, digest: &Digest, now: Timestamp) -> Result<Option<Login>, StoreError> {
        ask!(self, login(digest, now))
    }

    async fn put_login(&self, login: Login, now: Timestamp) -> Result<(), StoreError> {
        ask!(self, put_login(login, now))
    }

    async fn take_login(&self, digest: Digest, now: Timestamp) -> Result<Option<Login>, StoreError> {
        ask!(self, take_login(digest, now))
    }

    async fn end_logins(&self, user: UserId, except: Option<Digest>) -> Result<u64, StoreError> {
        ask!(self, end_logins(user, except))
    }

    async fn people(&self, email: &Email, limit: u32) -> Result<Vec<User>, StoreError> {
        ask!(self, people(email, limit))
    }

    async fn record_events(&self, context: WriteContext, events: Vec<Event>) -> Result<u64, WriteError> {
        order!(self, record_events(context, events))
    }

    async fn head(&self) -> Result<Head, StoreError> {
        ask!(self, head())
    }

    async fn audit_after(&self, revision: u64, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        ask!(self, audit_after(revision, limit))
    }

    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditRecord>, StoreError> {
        ask!(self, audit(query))
    }

    async fn close(&self) {}
}

#[async_trait]
impl Cluster for Wire {
    async fn agree_on_lease(&self, wished: Option<u64>, default_ms: u64) -> Result<u64, StoreError> {
        ask!(self, agree_on_lease(wished, default_ms))
    }

    async fn register(&self, session: SessionId, node: &str) -> Result<Registered, StoreError> {
        ask!(self, register(session, node))
    }

    async fn poll(&self, session: SessionId, applied: u64, acked: u64) -> Result<Polled, StoreError> {
        if acked < applied {
            self.database
                .sim
                .note("wire", format_args!("has applied {applied}, its children {acked}"));
        }
        ask!(self, poll(session, applied, acked))
    }

    async fn sessions(&self) -> Result<Vec<Session>, StoreError> {
        ask!(self, sessions())
    }

    async fn bury(&self, session: SessionId, renewals: u64) -> Result<(), StoreError> {
        ask!(self, bury(session, renewals))
    }

    async fn hint(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn hinted(&self) {
        std::future::pending::<()>().await;
    }
}
