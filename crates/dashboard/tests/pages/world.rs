//! A process that serves the pages: use cases over a memory store, a clock that the test sets, and ids that count up.

use async_trait::async_trait;
use axum::Router;
use keyreeve_api::users::Password;
use keyreeve_authority::env::{Clock, Entropy, NoEntropy, Timer};
use keyreeve_authority::keys::IssueCommand;
use keyreeve_authority::tenants::TenantCommand;
use keyreeve_authority::users::UserCommand;
use keyreeve_authority::verify::{Question, Via};
use keyreeve_authority::{Authority, Call, Caller, Effect, VerifierMemory};
use keyreeve_core::access::{Reach, Role};
use keyreeve_core::audit::Milestone;
use keyreeve_core::coherence::Moment;
use keyreeve_core::coherence::downstream::ChildId;
use keyreeve_core::limits::Networks;
use keyreeve_core::policy::{ExpiryWish, Preset};
use keyreeve_core::scope::Scopes;
use keyreeve_core::text::{Name, Slug, Subject};
use keyreeve_core::user::Email;
use keyreeve_core::{Timestamp, User};
use keyreeve_dashboard::{Dashboard, Host};
use keyreeve_store::{CommitObserver, MemoryStore};
use keyreeve_web::address_rate_limits::AddressRateLimits;
use keyreeve_web::effects::Effects;
use keyreeve_web::password;
use keyreeve_web::walks::Walks;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// The password of every user.
pub const PASSWORD: &str = "correct horse battery";
const ORIGIN: &str = "https://keys.example";
/// The time when a test begins: 14 Nov 2023, 22:13:20 UTC.
const START: i64 = 1_700_000_000_000;

#[derive(Debug)]
struct FixedClock(AtomicI64);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }

    fn moment(&self) -> Moment {
        Moment::default().plus_ms(self.0.load(Ordering::Relaxed).unsigned_abs())
    }
}

#[async_trait]
impl Timer for FixedClock {
    async fn sleep_ms(&self, ms: u64) {
        self.0.fetch_add(i64::try_from(ms).unwrap(), Ordering::Relaxed);
        tokio::task::yield_now().await;
    }
}

/// Zeros that end with a number, one more each time: no secret of a snapshot could be a real one.
#[derive(Debug, Default)]
struct Numbers(AtomicU64);

impl Entropy for Numbers {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), NoEntropy> {
        buffer.fill(0);
        let number = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        for (to, from) in buffer.iter_mut().rev().zip(number.iter().rev()) {
            *to = *from;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Process {
    authority: Arc<Authority>,
    entropy: Arc<Numbers>,
    limits: AddressRateLimits,
    walks: Walks,
    effects: Effects,
}

impl Host for Process {
    fn authority(&self) -> &Authority {
        &self.authority
    }

    fn entropy(&self) -> &dyn Entropy {
        &*self.entropy
    }

    fn origin(&self) -> &str {
        ORIGIN
    }

    fn setup_link(&self, token: &str) -> String {
        format!("{ORIGIN}/setup?token={token}")
    }

    fn address_rate_limits(&self) -> &AddressRateLimits {
        &self.limits
    }

    fn walks(&self) -> &Walks {
        &self.walks
    }

    fn last_effects(&self) -> &Effects {
        &self.effects
    }

    fn note_effect(&self, _: &Effect) {}

    fn note_audit_verified(&self) {}

    fn signed_log_end(&self) -> Option<Milestone> {
        None
    }

    fn verifier_id(&self, child: ChildId) -> String {
        format!("vf_{child:?}")
    }
}

/// A tenant `acme` and the pages of it.
pub struct World {
    pub authority: Arc<Authority>,
    pub pages: Router,
    clock: Arc<FixedClock>,
    entropy: Arc<Numbers>,
}

pub fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// Returns a call of the operator.
pub fn call(tenant: &str) -> Call {
    Call {
        caller: Caller::operator(),
        tenant: Slug::parse(tenant).unwrap(),
        address: None,
        request_id: "req_0".into(),
        idempotency: None,
        only_if: None,
        is_awaited: true,
    }
}

impl World {
    /// Returns a tenant with the policy of a preset, and no user.
    pub async fn under(preset: Preset) -> Self {
        let verifier = Arc::new(VerifierMemory::new(1_000));
        let store = MemoryStore::new(Arc::clone(&verifier) as Arc<dyn CommitObserver>);
        let clock = Arc::new(FixedClock(AtomicI64::new(START)));
        let entropy = Arc::new(Numbers::default());
        let authority = Arc::new(Authority::new(
            Arc::new(store),
            verifier,
            Arc::clone(&clock) as _,
            Arc::clone(&entropy) as _,
            Arc::clone(&clock) as _,
        ));
        let host = Process {
            authority: Arc::clone(&authority),
            entropy: Arc::clone(&entropy),
            limits: AddressRateLimits::default(),
            walks: Walks::default(),
            effects: Effects::default(),
        };
        let world = Self {
            authority,
            pages: keyreeve_dashboard::router(Dashboard::new(Arc::new(host), &["/v1/"])),
            clock,
            entropy,
        };
        world.make_tenant("acme", preset).await;
        world
    }

    pub async fn make_tenant(&self, slug: &str, preset: Preset) {
        let command = TenantCommand {
            slug: Slug::parse(slug).unwrap(),
            name: name(slug),
            preset,
        };
        self.authority.tenants().create(&call("acme"), command).await.unwrap();
    }

    /// Moves the clock forward.
    pub fn pass(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds * 1_000, Ordering::Relaxed);
    }

    /// Creates a user who can sign in with [`PASSWORD`].
    pub async fn make_user(&self, tenant: &str, email: &str, role: Role) -> User {
        let email = Email::parse(email).unwrap();
        let password = Password(PASSWORD.to_owned());
        let password = password::digest(&*self.entropy, password, Some(&email)).await.unwrap();
        let command = UserCommand {
            email,
            name: None,
            role,
            password: Some(password),
        };
        self.authority.users().create(&call(tenant), command).await.unwrap()
    }

    /// Creates a key and returns its id and its secret.
    pub async fn issue(&self, owner: &str, title: &str) -> (String, String) {
        let command = IssueCommand {
            subject: Subject::parse(owner).unwrap(),
            name: name(title),
            description: None,
            claims: None,
            scopes: Scopes::parse(["orders:read", "orders:write"]).unwrap(),
            networks: Networks::default(),
            counted: None,
            created_by: None,
            expiry: ExpiryWish::Unsaid,
        };
        let issued = self.authority.keys().issue(&call("acme"), vec![command]).await;
        let key = issued.unwrap().keys.remove(0);
        (key.record.key.id.to_string(), key.secret.expose().to_owned())
    }

    /// Verifies a secret some times, from an address.
    pub async fn verify(&self, secret: &str, times: usize) {
        let question = Question {
            via: Via::Api,
            reach: &Reach::Instance,
            scopes: &[],
            now: self.authority.now(),
            address: Some("198.51.100.7".parse().unwrap()),
            cost: Some(1),
        };
        for _ in 0..times {
            self.authority.verify(secret, &question).await;
        }
        self.authority.flush_activity().await;
    }
}
