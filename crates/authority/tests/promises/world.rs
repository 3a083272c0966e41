//! An authority over a store in memory, with a clock that is set by hand, and a store that can be made to fail or to
//! be overtaken.

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use keyreeve_authority::env::{Clock, Entropy, NoEntropy, Timer};
use keyreeve_authority::keys::{IssueCommand, KeyWithSecret, RevokeCommand, RotateCommand};
use keyreeve_authority::verify::{Question, Verdict};
use keyreeve_authority::{Authority, Call, Caller, Verifier};
use keyreeve_core::access::Reach;
use keyreeve_core::coherence::Moment;
use keyreeve_core::lifecycle::ReasonCode;
use keyreeve_core::policy::{ExpiryWish, OverlapWish, Preset};
use keyreeve_core::scope::Scopes;
use keyreeve_core::text::{Name, Slug, Subject};
use keyreeve_core::user::Email;
use keyreeve_core::{Digest, KeyId, RootKeyId, Timestamp, User, UserId};
use keyreeve_store::model::{
    Activity, AuditQuery, AuditRecord, Census, ChangeManyRequest, ChangeRequest, Changed, ChangedMany, Credential,
    Event, Founding, Head, Idempotency, IssueRequest, Issued, KeyPage, KeyQuery, KeyRecord, Login, Refusals, Repeat,
    RootKey, Stamped, Tenant, TenantEdit, Trace, UsageCount, UserChange, WriteContext,
};
use keyreeve_store::{CommitObserver, MemoryStore, Store, StoreError, WriteError};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub const NOW: i64 = 1_700_000_000_000;

pub struct HandClock(pub AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }

    fn moment(&self) -> Moment {
        Moment::default().plus_ms(self.0.load(Ordering::Relaxed).unsigned_abs())
    }
}

/// Waiting is what makes time pass here.
#[async_trait]
impl Timer for HandClock {
    async fn sleep_ms(&self, ms: u64) {
        self.0.fetch_add(i64::try_from(ms).unwrap(), Ordering::Relaxed);
        tokio::task::yield_now().await;
    }
}

/// Bytes that never repeat, and no more random than that.
struct Counter(AtomicU64);

impl Entropy for Counter {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), NoEntropy> {
        buffer.fill(0);
        let number = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        for (to, from) in buffer.iter_mut().zip(number) {
            *to = from;
        }
        Ok(())
    }
}

type Meanwhile = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// A store in memory that can be away, and between whose reading and answering something else can happen.
pub struct Stage {
    inner: MemoryStore,
    pub is_away: AtomicBool,
    pub meanwhile: Mutex<Option<Meanwhile>>,
    /// The same between reading a tenant's blocked owners and answering.
    pub meanwhile_owners: Mutex<Option<Meanwhile>>,
    pub look_ups: AtomicU64,
}

impl Stage {
    fn there(&self) -> Result<(), StoreError> {
        match self.is_away.load(Ordering::Relaxed) {
            true => Err(StoreError::Unavailable("away".to_owned())),
            false => Ok(()),
        }
    }
}

pub struct World {
    numbers: AtomicU64,
    pub authority: Arc<Authority>,
    pub stage: Arc<Stage>,
    pub clock: Arc<HandClock>,
    pub tenant: Slug,
}

pub fn slug(text: &str) -> Slug {
    Slug::parse(text).unwrap()
}

impl World {
    /// A world whose only tenant is under a preset.
    pub async fn under(preset: Preset) -> Self {
        let verifier = Arc::new(Verifier::new(1_000));
        let stage = Arc::new(Stage {
            inner: MemoryStore::new(Arc::clone(&verifier) as Arc<dyn CommitObserver>),
            is_away: AtomicBool::new(false),
            meanwhile: Mutex::new(None),
            meanwhile_owners: Mutex::new(None),
            look_ups: AtomicU64::new(0),
        });
        let clock = Arc::new(HandClock(AtomicI64::new(NOW)));
        let world = Self {
            numbers: AtomicU64::new(0),
            authority: authority(&stage, verifier, &clock, 0),
            stage,
            clock,
            tenant: slug("acme"),
        };
        world.make_tenant("acme", preset).await;
        world
    }

    pub async fn make_tenant(&self, name: &str, preset: Preset) {
        let command = keyreeve_authority::tenants::TenantCommand {
            slug: slug(name),
            name: Name::parse(name).unwrap(),
            preset,
        };
        self.authority.create_tenant(&self.call(), command).await.unwrap();
    }

    /// Another process that has just started on the same store: it remembers nothing.
    pub fn cold(&self) -> Arc<Authority> {
        authority(&self.stage, Arc::new(Verifier::new(1_000)), &self.clock, u64::MAX / 2)
    }

    pub fn pass(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds * 1_000, Ordering::Relaxed);
    }

    pub fn call(&self) -> Call {
        self.call_of(Caller::operator())
    }

    pub fn call_of(&self, caller: Caller) -> Call {
        Call {
            caller,
            tenant: self.tenant.clone(),
            address: None,
            request_id: "req_1".into(),
            idempotency: None,
            is_awaited: true,
        }
    }

    pub fn marked(&self, mark: &str) -> Call {
        Call {
            is_awaited: true,
            idempotency: Some(Idempotency {
                key: mark.into(),
                fingerprint: [1; 32],
                repeat: Repeat::Replaces,
            }),
            ..self.call()
        }
    }

    pub async fn issue(&self, name: &str) -> KeyWithSecret {
        let issued = self.authority.issue(&self.call(), vec![wish(name)]).await;
        issued.unwrap().keys.remove(0)
    }

    pub async fn verify(&self, secret: &str) -> Verdict {
        ask(&self.authority, secret, &Reach::Instance).await
    }

    /// The outcome as the word that callers see.
    pub async fn outcome(&self, secret: &str) -> &'static str {
        word(&self.verify(secret).await)
    }

    /// A name that no other key has.
    pub fn new_name(&self) -> String {
        format!("key {}", self.numbers.fetch_add(1, Ordering::Relaxed))
    }

    /// How often each outcome was counted for a key, ever.
    pub async fn counts(&self, id: KeyId) -> Vec<(String, u64)> {
        let (since, until) = (Timestamp::from_millis(0), Timestamp::from_millis(i64::MAX));
        let usage = self.authority.key_usage(&self.call(), id, since, until).await.unwrap();
        let mut counts = BTreeMap::new();
        for one in usage {
            *counts.entry(one.outcome).or_default() += one.count;
        }
        counts.into_iter().collect()
    }

    pub fn look_ups(&self) -> u64 {
        self.stage.look_ups.load(Ordering::Relaxed)
    }
}

fn authority(stage: &Arc<Stage>, verifier: Arc<Verifier>, clock: &Arc<HandClock>, entropy: u64) -> Arc<Authority> {
    let entropy = Arc::new(Counter(AtomicU64::new(entropy)));
    Arc::new(Authority::new(
        Arc::clone(stage) as _,
        verifier,
        Arc::clone(clock) as _,
        entropy,
        Arc::clone(clock) as _,
    ))
}

pub async fn ask(authority: &Authority, secret: &str, reach: &Reach) -> Verdict {
    let question = Question {
        reach,
        scopes: &[],
        now: authority.now(),
        address: None,
    };
    authority.verify(secret, &question).await
}

pub fn word(verdict: &Verdict) -> &'static str {
    verdict.outcome.map_or_else(|denial| denial.as_str(), |()| "valid")
}

pub fn wish(name: &str) -> IssueCommand {
    IssueCommand {
        subject: Subject::parse("user_1").unwrap(),
        name: Name::parse(name).unwrap(),
        description: None,
        claims: None,
        scopes: Scopes::parse(["read"]).unwrap(),
        created_by: None,
        expiry: ExpiryWish::Unsaid,
    }
}

pub fn revocation(code: ReasonCode) -> RevokeCommand {
    RevokeCommand { code, note: None }
}

pub fn rotation(overlap: OverlapWish) -> RotateCommand {
    RotateCommand {
        name: None,
        expiry: ExpiryWish::Unsaid,
        overlap,
    }
}

#[async_trait]
impl Store for Stage {
    async fn found(&self, context: WriteContext, tenant: Tenant, root_key: RootKey) -> Result<Founding, WriteError> {
        self.inner.found(context, tenant, root_key).await
    }

    async fn create_tenant(&self, context: WriteContext, tenant: Tenant, root_key: RootKey) -> Result<u64, WriteError> {
        self.there()?;
        self.inner.create_tenant(context, tenant, root_key).await
    }

    async fn tenant(&self, slug: &Slug) -> Result<Option<Tenant>, StoreError> {
        self.there()?;
        self.inner.tenant(slug).await
    }

    async fn tenants(&self, after: Option<Slug>, limit: u32) -> Result<Vec<Tenant>, StoreError> {
        self.there()?;
        self.inner.tenants(after, limit).await
    }

    async fn create_root_key(&self, context: WriteContext, root_key: RootKey) -> Result<u64, WriteError> {
        self.there()?;
        self.inner.create_root_key(context, root_key).await
    }

    async fn revoke_root_key(
        &self,
        context: WriteContext,
        tenant: Option<Slug>,
        id: RootKeyId,
    ) -> Result<(RootKey, u64), WriteError> {
        self.there()?;
        self.inner.revoke_root_key(context, tenant, id).await
    }

    async fn root_keys(&self, tenant: Option<Slug>, limit: u32) -> Result<Vec<RootKey>, StoreError> {
        self.there()?;
        self.inner.root_keys(tenant, limit).await
    }

    async fn find_root_key(&self, digest: &Digest) -> Result<Stamped<Option<RootKey>>, StoreError> {
        self.there()?;
        self.inner.find_root_key(digest).await
    }

    async fn issue(&self, context: WriteContext, request: IssueRequest) -> Result<Issued, WriteError> {
        self.there()?;
        self.inner.issue(context, request).await
    }

    async fn change(&self, context: WriteContext, request: ChangeRequest) -> Result<Changed, WriteError> {
        self.there()?;
        self.inner.change(context, request).await
    }

    async fn change_many(&self, context: WriteContext, request: ChangeManyRequest) -> Result<ChangedMany, WriteError> {
        self.there()?;
        self.inner.change_many(context, request).await
    }

    async fn key(&self, tenant: &Slug, id: KeyId, now: Timestamp) -> Result<Option<KeyRecord>, StoreError> {
        self.there()?;
        self.inner.key(tenant, id, now).await
    }

    async fn list(&self, query: KeyQuery) -> Result<KeyPage, StoreError> {
        self.there()?;
        self.inner.list(query).await
    }

    async fn find_credential(&self, digest: &Digest) -> Result<Stamped<Option<Credential>>, StoreError> {
        self.there()?;
        self.look_ups.fetch_add(1, Ordering::Relaxed);
        let read = self.inner.find_credential(digest).await;
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile().await;
        }
        read
    }

    async fn change_tenant(
        &self,
        context: WriteContext,
        slug: Slug,
        edit: TenantEdit,
    ) -> Result<(Tenant, u64), WriteError> {
        self.there()?;
        self.inner.change_tenant(context, slug, edit).await
    }

    async fn blocked_owners(&self, slug: &Slug) -> Result<Vec<Subject>, StoreError> {
        self.there()?;
        let read = self.inner.blocked_owners(slug).await;
        let meanwhile = self.meanwhile_owners.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile().await;
        }
        read
    }

    async fn create_user(&self, context: WriteContext, user: User) -> Result<u64, WriteError> {
        self.there()?;
        self.inner.create_user(context, user).await
    }

    async fn change_user(&self, context: WriteContext, change: UserChange) -> Result<(User, u64), WriteError> {
        self.there()?;
        self.inner.change_user(context, change).await
    }

    async fn user(&self, tenant: &Slug, id: UserId) -> Result<Option<User>, StoreError> {
        self.there()?;
        self.inner.user(tenant, id).await
    }

    async fn users(&self, tenant: &Slug, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError> {
        self.there()?;
        self.inner.users(tenant, after, limit).await
    }

    async fn lapsed(&self, now: Timestamp, limit: u32) -> Result<Vec<(Slug, KeyId)>, StoreError> {
        self.there()?;
        self.inner.lapsed(now, limit).await
    }

    async fn record_activity(&self, activity: Activity) -> Result<(), StoreError> {
        self.there()?;
        self.inner.record_activity(activity).await
    }

    async fn usage(&self, key: KeyId, since: Timestamp, until: Timestamp) -> Result<Vec<UsageCount>, StoreError> {
        self.there()?;
        self.inner.usage(key, since, until).await
    }

    async fn usage_of(
        &self,
        keys: &[KeyId],
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<UsageCount>, StoreError> {
        self.there()?;
        self.inner.usage_of(keys, since, until).await
    }

    async fn refusals(&self, wanted: Refusals) -> Result<Vec<UsageCount>, StoreError> {
        self.there()?;
        self.inner.refusals(wanted).await
    }

    async fn census(&self, now: Timestamp) -> Result<Census, StoreError> {
        self.there()?;
        self.inner.census(now).await
    }

    async fn traces(&self, key: KeyId) -> Result<Vec<Trace>, StoreError> {
        self.there()?;
        self.inner.traces(key).await
    }

    async fn login(&self, digest: &Digest, now: Timestamp) -> Result<Option<Login>, StoreError> {
        self.there()?;
        self.inner.login(digest, now).await
    }

    async fn put_login(&self, login: Login, now: Timestamp) -> Result<(), StoreError> {
        self.there()?;
        self.inner.put_login(login, now).await
    }

    async fn take_login(&self, digest: Digest, now: Timestamp) -> Result<Option<Login>, StoreError> {
        self.there()?;
        self.inner.take_login(digest, now).await
    }

    async fn end_logins(&self, user: UserId, except: Option<Digest>) -> Result<u64, StoreError> {
        self.there()?;
        self.inner.end_logins(user, except).await
    }

    async fn people(&self, email: &Email, limit: u32) -> Result<Vec<User>, StoreError> {
        self.there()?;
        self.inner.people(email, limit).await
    }

    async fn record_events(&self, context: WriteContext, events: Vec<Event>) -> Result<u64, WriteError> {
        self.there()?;
        self.inner.record_events(context, events).await
    }

    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditRecord>, StoreError> {
        self.there()?;
        self.inner.audit(query).await
    }

    async fn head(&self) -> Result<Head, StoreError> {
        self.there()?;
        self.inner.head().await
    }

    async fn audit_after(&self, revision: u64, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        self.there()?;
        self.inner.audit_after(revision, limit).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
