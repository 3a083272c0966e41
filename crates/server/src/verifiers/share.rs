//! Bounds what the verifiers of one root key and of one tenant may use of this process: look-ups, long messages, memory
//! and connections without a greeting. Each tenant has its own share, so that no tenant uses up another's.

use keyreeve_core::RootKeyId;
use keyreeve_core::access::Reach;
use keyreeve_core::text::Slug;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most look-ups that run at once, for a root key and for a tenant; more of them wait.
const LOOK_UPS: (usize, usize) = (64, 128);
/// Most look-ups that run or wait, for a root key and for a tenant. Above that the answer is "not known now".
const WAITING: (usize, usize) = (8_192, 16_384);
/// Most connections without a greeting, for a root key and for a tenant.
pub(super) const SILENT: (usize, usize) = (32, 64);
/// Most long lines at once, for a root key and for a tenant.
const LONG_LINES: (usize, usize) = (8, 16);
/// Most bytes queued for writing, for a root key and for a tenant.
const BYTES: (usize, usize) = (48 * 1024 * 1024, 64 * 1024 * 1024);

/// Every share that is in use.
#[derive(Default)]
pub(crate) struct Shares {
    maps: Mutex<Maps>,
    refused: AtomicU64,
}

#[derive(Default)]
struct Maps {
    root_keys: HashMap<Option<RootKeyId>, Weak<Pool>>,
    tenants: HashMap<Option<Slug>, Weak<Pool>>,
}

/// The share of one verifier: that of its root key and that of its tenant. A place must be free in both.
pub(crate) struct Share {
    root_key: Arc<Pool>,
    tenant: Arc<Pool>,
}

/// The resources of one root key or one tenant.
struct Pool {
    look_ups: Arc<Semaphore>,
    waiting: BoundedCounter,
    silent: BoundedCounter,
    long_lines: Arc<Semaphore>,
    bytes: BoundedCounter,
}

/// A number with an upper bound.
struct BoundedCounter {
    now: AtomicUsize,
    most: usize,
}

impl BoundedCounter {
    const fn new(most: usize) -> Self {
        let now = AtomicUsize::new(0);
        Self { now, most }
    }

    fn add(&self, count: usize) -> bool {
        let most = self.most;
        let added = |now: usize| now.checked_add(count).filter(|&sum| sum <= most);
        self.now
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, added)
            .is_ok()
    }

    fn remove(&self, count: usize) {
        self.now.fetch_sub(count, Ordering::AcqRel);
    }
}

impl Pool {
    fn new(pick: fn((usize, usize)) -> usize) -> Self {
        Self {
            look_ups: Arc::new(Semaphore::new(pick(LOOK_UPS))),
            waiting: BoundedCounter::new(pick(WAITING)),
            silent: BoundedCounter::new(pick(SILENT)),
            long_lines: Arc::new(Semaphore::new(pick(LONG_LINES))),
            bytes: BoundedCounter::new(pick(BYTES)),
        }
    }
}

impl Shares {
    /// Returns the share of a root key (`None` is the operator on this machine) and of its reach.
    pub(crate) fn of(&self, root_key: Option<RootKeyId>, reach: &Reach) -> Arc<Share> {
        let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        let tenant = match reach {
            Reach::Instance => None,
            Reach::Tenant(slug) => Some(slug.clone()),
        };
        Arc::new(Share {
            root_key: pool(&mut maps.root_keys, root_key, |(own, _)| own),
            tenant: pool(&mut maps.tenants, tenant, |(_, tenants)| tenants),
        })
    }
}

impl Shares {
    /// Returns how many connections were refused since the start because too many were without a greeting.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counts one refused connection.
    pub(super) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// Returns the pool of a name, or a new one. Unused pools are removed.
fn pool<K: Hash + Eq>(pools: &mut HashMap<K, Weak<Pool>>, name: K, pick: fn((usize, usize)) -> usize) -> Arc<Pool> {
    if let Some(pool) = pools.get(&name).and_then(Weak::upgrade) {
        return pool;
    }
    pools.retain(|_, pool| pool.strong_count() > 0);
    let pool = Arc::new(Pool::new(pick));
    pools.insert(name, Arc::downgrade(&pool));
    pool
}

/// Selects a counter of a pool.
type Pick = fn(&Pool) -> &BoundedCounter;

/// A place, held until it is dropped.
pub(crate) struct Place {
    share: Arc<Share>,
    counter: Pick,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.share.remove(self.counter, 1);
    }
}

/// A running look-up.
pub(super) struct VerifierLookUp {
    _waiting: Place,
    _running: [OwnedSemaphorePermit; 2],
}

impl Share {
    fn add(&self, counter: Pick, count: usize) -> bool {
        if !counter(&self.root_key).add(count) {
            return false;
        }
        let has_room = counter(&self.tenant).add(count);
        if !has_room {
            counter(&self.root_key).remove(count);
        }
        has_room
    }

    fn remove(&self, counter: Pick, count: usize) {
        counter(&self.root_key).remove(count);
        counter(&self.tenant).remove(count);
    }

    fn place(self: &Arc<Self>, counter: Pick) -> Option<Place> {
        let share = Arc::clone(self);
        // Not `then_some`: it would always build a `Place`, whose drop gives back a place that was not taken.
        self.add(counter, 1).then(|| Place { share, counter })
    }

    /// Takes a place for a connection without a greeting. `None` if there are too many.
    pub(crate) fn silent(self: &Arc<Self>) -> Option<Place> {
        self.place(|pool| &pool.silent)
    }

    /// Takes a place among look-ups that wait or run. `None` if there are too many.
    pub(super) fn wait(self: &Arc<Self>) -> Option<Place> {
        self.place(|pool| &pool.waiting)
    }

    /// Waits until the look-up may begin.
    pub(super) async fn look_up(&self, waiting: Place) -> Option<VerifierLookUp> {
        // Always the root key first, then the tenant: one order of locking, so no deadlock.
        let own = Arc::clone(&self.root_key.look_ups).acquire_owned().await.ok()?;
        let tenant = Arc::clone(&self.tenant.look_ups).acquire_owned().await.ok()?;
        Some(VerifierLookUp {
            _waiting: waiting,
            _running: [own, tenant],
        })
    }

    /// Waits until a long line may be read.
    pub(super) async fn long_line(&self) -> Option<[OwnedSemaphorePermit; 2]> {
        let own = Arc::clone(&self.root_key.long_lines).acquire_owned().await.ok()?;
        let tenant = Arc::clone(&self.tenant.long_lines).acquire_owned().await.ok()?;
        Some([own, tenant])
    }

    /// Reserves bytes for the queue. False if there is no room.
    pub(super) fn take_bytes(&self, bytes: usize) -> bool {
        self.add(|pool| &pool.bytes, bytes)
    }

    /// Gives back reserved bytes.
    pub(super) fn give_bytes(&self, bytes: usize) {
        self.remove(|pool| &pool.bytes, bytes);
    }
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shares").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "a share may also be of no root key")]
    fn root_key(number: u8) -> Option<RootKeyId> {
        Some(RootKeyId::from_bytes([number; 16]))
    }

    fn tenant(name: &str) -> Reach {
        Reach::Tenant(Slug::parse(name).unwrap())
    }

    fn taken(share: &Arc<Share>) -> Vec<Place> {
        std::iter::from_fn(|| share.silent()).collect()
    }

    #[test]
    fn root_keys_have_a_share_and_so_have_tenants() {
        let shares = Shares::default();
        let first = shares.of(root_key(1), &tenant("acme"));
        let again = shares.of(root_key(1), &tenant("acme"));
        let places = taken(&first);
        assert_eq!(places.len(), SILENT.0);
        assert!(again.silent().is_none(), "the same root key");
        let second = shares.of(root_key(2), &tenant("acme"));
        let more = taken(&second);
        assert_eq!(more.len(), SILENT.1 - SILENT.0, "the same tenant");
        assert_eq!(taken(&shares.of(root_key(3), &tenant("other"))).len(), SILENT.0);
        assert_eq!(taken(&shares.of(None, &Reach::Instance)).len(), SILENT.0);
        drop(places);
        assert!(again.silent().is_some(), "a place that is given back is free");
    }

    #[test]
    fn shares_that_nobody_uses_are_forgotten() {
        let shares = Shares::default();
        for number in 0..100 {
            drop(shares.of(root_key(number), &tenant("acme")));
        }
        let maps = shares.maps.lock().unwrap();
        assert!(maps.root_keys.len() <= 1 && maps.tenants.len() <= 1);
    }

    #[test]
    fn what_does_not_fit_takes_nothing() {
        let shares = Shares::default();
        let share = shares.of(root_key(1), &tenant("acme"));
        assert!(!share.take_bytes(BYTES.0 + 1) && !share.take_bytes(usize::MAX));
        assert!(share.take_bytes(BYTES.0) && !share.take_bytes(1));
        share.give_bytes(BYTES.0);
        assert!(share.take_bytes(1));
    }
}
