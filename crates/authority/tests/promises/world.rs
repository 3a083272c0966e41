//! An authority over a memory store, with a clock that the test sets, and a store that can fail or be overtaken.

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use keyreeve_authority::env::{Clock, Entropy, NoEntropy, Timer};
use keyreeve_authority::keys::{IssueCommand, KeyWithSecret, RevokeCommand, RotateCommand};
use keyreeve_authority::verify::{Question, Verdict, Via};
use keyreeve_authority::{Authority, Call, Caller, VerifierMemory};
use keyreeve_core::access::Reach;
use keyreeve_core::coherence::Moment;
use keyreeve_core::lifecycle::ReasonCode;
use keyreeve_core::limits::Networks;
use keyreeve_core::policy::{ExpiryWish, OverlapWish, Preset};
use keyreeve_core::scope::Scopes;
use keyreeve_core::text::{Name, Slug, Subject};
use keyreeve_core::{KeyId, Timestamp};
use keyreeve_store::model::{Idempotency, Repeat};
use keyreeve_store::{CommitObserver, Intercepted, Interceptor, MemoryStore, StoreError, StoreOperation, WriteError};
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

/// Time passes only by waiting.
#[async_trait]
impl Timer for HandClock {
    async fn sleep_ms(&self, ms: u64) {
        self.0.fetch_add(i64::try_from(ms).unwrap(), Ordering::Relaxed);
        tokio::task::yield_now().await;
    }
}

/// Bytes that never repeat, without being random.
pub struct Counter(pub AtomicU64);

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

/// A memory store that can be unavailable, and that can run something between a reading and its answer.
pub struct Stage {
    pub inner: MemoryStore,
    pub is_away: AtomicBool,
    pub meanwhile: Mutex<Option<Meanwhile>>,
    /// As above, between reading a tenant's blocked owners and the answer.
    pub meanwhile_owners: Mutex<Option<Meanwhile>>,
    /// As above, between reading the head of the log and the answer.
    pub meanwhile_head: Mutex<Option<Meanwhile>>,
    pub look_ups: AtomicU64,
    /// Calls that are answered before the store becomes unavailable.
    pub calls_left: AtomicU64,
}

impl Stage {
    fn there(&self) -> Result<(), StoreError> {
        let left = |left: u64| left.checked_sub(1);
        let is_answered = self
            .calls_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left)
            .is_ok();
        match self.is_away.load(Ordering::Relaxed) || !is_answered {
            true => Err(StoreError::Unavailable("away".to_owned())),
            false => Ok(()),
        }
    }

    /// Takes what is to run between this reading and its answer.
    fn meanwhile(&self, operation: StoreOperation) -> Option<Meanwhile> {
        let place = match operation {
            StoreOperation::FindCredential | StoreOperation::CheckPolicies => &self.meanwhile,
            StoreOperation::BlockedOwners => &self.meanwhile_owners,
            StoreOperation::Head => &self.meanwhile_head,
            _ => return None,
        };
        place.lock().unwrap().take()
    }
}

impl Interceptor for Stage {
    async fn call<T, F>(
        &self,
        operation: StoreOperation,
        run: impl FnOnce(MemoryStore) -> F + Send,
    ) -> Result<T, StoreError>
    where
        T: Send,
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        if operation == StoreOperation::RecordActivity {
            // Other tasks run before it is written.
            tokio::task::yield_now().await;
        }
        self.there()?;
        if matches!(
            operation,
            StoreOperation::FindCredential | StoreOperation::CheckPolicies
        ) {
            self.look_ups.fetch_add(1, Ordering::Relaxed);
        }
        let answer = run(self.inner.clone()).await;
        if let Some(meanwhile) = self.meanwhile(operation) {
            meanwhile().await;
        }
        answer
    }

    async fn change<T, F>(&self, _: StoreOperation, run: impl FnOnce(MemoryStore) -> F + Send) -> Result<T, WriteError>
    where
        T: Send,
        F: Future<Output = Result<T, WriteError>> + Send,
    {
        self.there()?;
        run(self.inner.clone()).await
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
    /// Returns a world whose only tenant has a preset.
    pub async fn under(preset: Preset) -> Self {
        let verifier = Arc::new(VerifierMemory::new(1_000));
        let stage = Arc::new(Stage {
            inner: MemoryStore::new(Arc::clone(&verifier) as Arc<dyn CommitObserver>),
            is_away: AtomicBool::new(false),
            meanwhile: Mutex::new(None),
            meanwhile_owners: Mutex::new(None),
            meanwhile_head: Mutex::new(None),
            look_ups: AtomicU64::new(0),
            calls_left: AtomicU64::new(u64::MAX),
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
        self.authority.tenants().create(&self.call(), command).await.unwrap();
    }

    /// Returns another process that has just started on the same store: its memory is empty.
    pub fn cold(&self) -> Arc<Authority> {
        authority(
            &self.stage,
            Arc::new(VerifierMemory::new(1_000)),
            &self.clock,
            u64::MAX / 2,
        )
    }

    /// As `cold`, with a clock of its own.
    pub fn cold_at(&self, clock: &Arc<HandClock>) -> Arc<Authority> {
        authority(&self.stage, Arc::new(VerifierMemory::new(1_000)), clock, u64::MAX / 4)
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
            only_if: None,
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
        let issued = self.authority.keys().issue(&self.call(), vec![wish(name)]).await;
        issued.unwrap().keys.remove(0)
    }

    pub async fn verify(&self, secret: &str) -> Verdict {
        ask(&self.authority, secret, &Reach::Instance).await
    }

    /// Returns the outcome as callers see it.
    pub async fn outcome(&self, secret: &str) -> &'static str {
        word(&self.verify(secret).await)
    }

    /// Returns a name that no other key has.
    pub fn new_name(&self) -> String {
        format!("key {}", self.numbers.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns how often each outcome was counted for a key, in total.
    pub async fn counts(&self, id: KeyId) -> Vec<(String, u64)> {
        let (since, until) = (Timestamp::from_millis(0), Timestamp::from_millis(i64::MAX));
        let usage = self
            .authority
            .keys()
            .usage(&self.call(), id, since, until)
            .await
            .unwrap();
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

fn authority(
    stage: &Arc<Stage>,
    verifier: Arc<VerifierMemory>,
    clock: &Arc<HandClock>,
    entropy: u64,
) -> Arc<Authority> {
    let entropy = Arc::new(Counter(AtomicU64::new(entropy)));
    Arc::new(Authority::new(
        Arc::new(Intercepted(Arc::clone(stage))),
        verifier,
        Arc::clone(clock) as _,
        entropy,
        Arc::clone(clock) as _,
    ))
}

pub async fn ask(authority: &Authority, secret: &str, reach: &Reach) -> Verdict {
    let question = Question {
        via: Via::Api,
        reach,
        scopes: &[],
        now: authority.now(),
        address: None,
        cost: Some(1),
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
        networks: Networks::default(),
        counted: None,
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
