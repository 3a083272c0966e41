//! Durations are measured with the monotonic clock and never with the time of day.

use crate::world::{revocation, slug, wish};
use async_trait::async_trait;
use keyreeve_authority::children::{CHILD_LEASE_MS, Newcomer, VerifierLine};
use keyreeve_authority::env::{Clock, Entropy, NoEntropy, Timer};
use keyreeve_authority::tenants::TenantCommand;
use keyreeve_authority::{Authority, Call, Caller, Effect, VerifierMemory};
use keyreeve_core::access::Reach;
use keyreeve_core::coherence::downstream::Order;
use keyreeve_core::coherence::{Moment, wait_ms};
use keyreeve_core::lifecycle::ReasonCode;
use keyreeve_core::policy::Preset;
use keyreeve_core::text::Name;
use keyreeve_core::{KeyId, Timestamp};
use keyreeve_store::{CommitObserver, MemoryStore};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

const NOW: i64 = 1_700_000_000_000;
const HOUR_MS: i64 = 3_600_000;

/// A time of day that changes only when it is set, and a monotonic clock that advances by some microseconds at each
/// reading, as if the code between two readings took that long.
struct TwoClocks {
    time_of_day: AtomicI64,
    elapsed_us: AtomicU64,
    us_a_reading: u64,
    /// By how much each wait changes the time of day, in milliseconds.
    step_ms: AtomicI64,
    bytes: AtomicU64,
}

impl Clock for TwoClocks {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.time_of_day.load(Ordering::Relaxed))
    }

    fn moment(&self) -> Moment {
        let us = self.elapsed_us.fetch_add(self.us_a_reading, Ordering::Relaxed);
        let reading = (
            i64::try_from(us / 1_000_000).unwrap(),
            i64::try_from(us % 1_000_000 * 1_000).unwrap(),
        );
        Moment::from_readings(reading, reading)
    }
}

#[async_trait]
impl Timer for TwoClocks {
    async fn sleep_ms(&self, ms: u64) {
        self.elapsed_us.fetch_add(ms * 1_000, Ordering::Relaxed);
        let step = self.step_ms.swap(0, Ordering::Relaxed);
        self.time_of_day.fetch_add(step, Ordering::Relaxed);
        tokio::task::yield_now().await;
    }
}

impl Entropy for TwoClocks {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), NoEntropy> {
        let number = self.bytes.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        buffer.fill(0);
        for (to, from) in buffer.iter_mut().zip(number) {
            *to = from;
        }
        Ok(())
    }
}

/// A verifier that receives every order and never acknowledges.
struct Silent;

impl VerifierLine for Silent {
    fn order(&self, _: Order, _: &[KeyId], _: bool) -> bool {
        true
    }

    fn close(&self) {}
}

struct World {
    authority: Authority,
    clock: Arc<TwoClocks>,
}

impl World {
    async fn with(us_a_reading: u64) -> Self {
        let clock = Arc::new(TwoClocks {
            time_of_day: AtomicI64::new(NOW),
            elapsed_us: AtomicU64::new(0),
            us_a_reading,
            step_ms: AtomicI64::new(0),
            bytes: AtomicU64::new(0),
        });
        let verifier = Arc::new(VerifierMemory::new(1_000));
        let store = MemoryStore::new(Arc::clone(&verifier) as Arc<dyn CommitObserver>);
        let authority = Authority::new(
            Arc::new(store),
            verifier,
            Arc::clone(&clock) as _,
            Arc::clone(&clock) as _,
            Arc::clone(&clock) as _,
        );
        let command = TenantCommand {
            slug: slug("acme"),
            name: Name::parse("acme").unwrap(),
            preset: Preset::Standard,
        };
        let world = Self { authority, clock };
        world.authority.tenants().create(&Self::call(), command).await.unwrap();
        world
    }

    fn call() -> Call {
        Call {
            caller: Caller::operator(),
            tenant: slug("acme"),
            address: None,
            request_id: "req_1".into(),
            idempotency: None,
            only_if: None,
            is_awaited: true,
        }
    }

    /// Issues a key and revokes it. With `is_held` a verifier that never acknowledges holds it.
    async fn revoked(&self, is_held: bool) -> (Effect, KeyId) {
        let issued = self.authority.keys().issue(&Self::call(), vec![wish("key")]).await;
        let key = issued.unwrap().keys.remove(0);
        if is_held {
            let newcomer = Newcomer {
                capacity: 100,
                lease_ms: None,
                reach: Reach::Instance,
                pass: None,
                peer: "192.0.2.1:443".into(),
            };
            let child = self
                .authority
                .verifiers()
                .register(newcomer, Arc::new(Silent))
                .await
                .unwrap();
            assert!(self.authority.verifiers().grant(child).await.is_some());
            let told = self
                .authority
                .verifiers()
                .answer_fetch(child, key.secret.digest())
                .await;
            assert!(told.unwrap().0.is_some());
        }
        let id = key.record.key.id;
        let command = revocation(ReasonCode::Unspecified);
        let changed = self.authority.keys().revoke(&Self::call(), id, command).await.unwrap();
        (changed.effect, id)
    }
}

#[tokio::test]
async fn a_revocation_says_what_it_took_also_while_the_time_of_day_stands_still() {
    let world = World::with(6_500).await;
    let (effect, _) = world.revoked(false).await;
    assert!(effect.waited_ms() >= 7, "{effect:?}");
}

#[tokio::test]
async fn less_than_a_millisecond_is_told_as_one_and_never_as_none() {
    let world = World::with(1).await;
    let (effect, _) = world.revoked(false).await;
    assert_eq!(effect.waited_ms(), 1, "{effect:?}");
}

#[tokio::test]
async fn a_time_of_day_that_is_set_meanwhile_changes_nothing_of_what_is_said() {
    for step_ms in [-HOUR_MS, HOUR_MS] {
        let world = World::with(1).await;
        world.clock.step_ms.store(step_ms, Ordering::Relaxed);
        let (effect, _) = world.revoked(true).await;
        let most = wait_ms(CHILD_LEASE_MS) * 5 / 4 + 100;
        let told = effect.waited_ms();
        assert!((wait_ms(CHILD_LEASE_MS)..=most).contains(&told), "{effect:?}");
    }
}
