//! The use cases: issue, verify, list, rotate, disable, re-activate, revoke, delete; root keys and tenants.
//!
//! This crate knows neither HTTP nor SQL nor a runtime: it needs a [`keyreeve_store::Store`], a [`env::Clock`] and
//! [`env::Entropy`], so that a simulator can drive exactly what ships. Each verb has its file under [`keys`].

mod activity;
mod audit;
mod awaited;
pub mod caller;
pub mod check;
pub mod children;
mod conflict;
pub mod denials;
pub mod env;
mod explain;
pub mod failure;
mod invariants;
pub mod keys;
pub mod leaks;
mod limits;
mod lost;
mod memory;
pub mod model;
pub mod node;
mod nodes;
mod operations;
mod overview;
mod policy;
pub mod possession;
mod question;
mod readiness;
mod reassert;
mod refusals;
pub mod restored;
pub mod root_keys;
pub mod sign_in;
mod stats;
pub mod tenants;
pub mod users;
mod verifiers;
pub mod verify;

pub use audit::{AuditCheck, AuditFilter, AuditUseCases, check_log, compare_log};
pub use caller::{Call, Caller};
pub use conflict::{Conflict, FieldChange, Recorded};
pub use failure::Failure;
pub use memory::Operations;
pub use memory::Refused;
pub use memory::verifier::{self, VerifierMemory};
pub use node::Node;
pub use policy::{NonCompliantKeys, PolicyUseCases};
pub use question::Budget;
pub use stats::{Inventory, collect_stats};
pub use verifiers::VerifierUseCases;

use env::{Clock, Entropy, Timer};
use keyreeve_core::coherence::Moment;
use keyreeve_core::coherence::grantor::{Era, Grantor, Pending, Reached, Reading, SeenNode};
use keyreeve_core::coherence::holder::SessionId;
use keyreeve_core::coherence::holding::{Awaited, Holding};
use keyreeve_core::id::ID_ENTROPY_BYTES;
use keyreeve_core::key::SECRET_ENTROPY_BYTES;
use keyreeve_core::{KeyId, RootKeyId, Timestamp, UserId};
use keyreeve_store::cluster::Durability;
use keyreeve_store::model::Census;
use keyreeve_store::{Store, WriteHealth};
use memory::{LeakReports, Refusals, Remembered};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The parts that the use cases need. One per process.
pub struct Authority {
    store: Arc<dyn Store>,
    verifier: Arc<VerifierMemory>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    timer: Arc<dyn Timer>,
    last_id: Mutex<(i64, u16)>,
    leaks: LeakReports,
    refusals: Refusals,
    operations: Operations,
    remembered: Remembered,
    /// `None` in a single process.
    node: Option<Arc<Node>>,
}

/// How far a change has got when it is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Effect {
    /// The newest revision that contains the change.
    pub revision: u64,
    /// Verifiers that no longer accept what the change ended.
    pub verifiers: u32,
    /// How long the change took to be effective.
    pub waited: Duration,
    /// Whether it is committed but not known to be effective everywhere, because the caller did not want to wait.
    pub is_pending: bool,
    /// Which failure the commit survives.
    pub durability: Durability,
}

impl Effect {
    /// Returns how long the change took to be effective, in milliseconds. Rounded up, so that 0 appears only if no time
    /// passed.
    pub fn waited_ms(&self) -> u64 {
        u64::try_from(self.waited.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }
}

impl Authority {
    /// Connects the parts. `verifier` must be the observer that `store` was opened with.
    pub fn new(
        store: Arc<dyn Store>,
        verifier: Arc<VerifierMemory>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        timer: Arc<dyn Timer>,
    ) -> Self {
        Self {
            store,
            verifier,
            clock,
            entropy,
            timer,
            last_id: Mutex::new((0, 0)),
            leaks: LeakReports::default(),
            refusals: Refusals::default(),
            operations: Operations::default(),
            remembered: Remembered::default(),
            node: None,
        }
    }

    /// Makes this one node of several: a change is then answered when every node has it.
    #[must_use]
    pub fn among(mut self, node: Arc<Node>) -> Self {
        self.node = Some(node);
        self
    }

    /// Returns this node, if it is one of several.
    pub fn node(&self) -> Option<&Arc<Node>> {
        self.node.as_ref()
    }

    /// Returns the memory that verdicts come from.
    pub fn verifier(&self) -> &Arc<VerifierMemory> {
        &self.verifier
    }

    /// Returns the time by which expiry is decided.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the time that is stored: never later than [`Authority::now`], and earlier only while the clock is in
    /// doubt. An expiry is computed from it, so that a clock that was ahead makes none later.
    pub fn earliest(&self) -> Timestamp {
        self.clock.earliest()
    }

    /// Returns how far the reference clock is behind the time that expiry is decided by; `None` if it is followed.
    pub fn clock_behind(&self) -> Option<Duration> {
        self.clock.behind()
    }

    /// Reads the monotonic clock, for durations.
    pub fn moment(&self) -> Moment {
        self.clock.moment()
    }

    /// Stops all answers and changes until the process is restarted. Other nodes of the same database are not affected.
    pub fn halt(&self, why: &str) {
        self.verifier.halt(why);
        self.store.halt(why);
    }

    /// Returns why nothing can be changed now, if that is known without a write.
    pub fn obstacle(&self) -> Option<String> {
        self.store.obstacle()
    }

    /// Returns whether recent writes succeeded; sends no statement.
    pub fn write_health(&self) -> WriteHealth {
        self.store.write_health()
    }

    /// If the last write has failed, tries one that changes nothing, to notice when writing succeeds again.
    pub async fn probe_failing_writes(&self) {
        if self.write_health().is_failing() {
            // The result is in the write health.
            drop(self.store.probe_write().await);
        }
    }

    /// Counts the keys of all tenants, for the operator, who learns nothing else about them.
    pub async fn census(&self) -> Result<Census, Failure> {
        Ok(self.store.census(self.now()).await?)
    }

    /// Writes what is still in memory and closes the store.
    pub async fn close(&self) {
        self.empty_meters().await;
        self.flush_activity().await;
        self.store.close().await;
    }

    /// Returns the effect of a change that began at `began`, when it is effective everywhere (rule R7). In a single
    /// process the store has applied the commit to the memory before it answered, so only its downstream verifiers are
    /// waited for. Among several nodes, all must have it or be unable to answer without it. Without `is_awaited` it
    /// returns at once, and the caller can query the operation later.
    ///
    /// It waits for what `change` names and for nothing else.
    async fn effect(&self, change: Awaited, began: Moment, is_awaited: bool) -> Result<Effect, Failure> {
        let revision = change.newest();
        if !is_awaited {
            self.remembered.note(self.history(), &change);
        }
        let (verifiers, is_pending) = match &self.node {
            None if !is_awaited && !self.children_have(&change) => (1, true),
            None => {
                self.children_know(&change).await;
                (self.alone(change)?.verifiers(), false)
            }
            Some(_) if !is_awaited => (1, true),
            Some(node) => (node.effective(change).await?.verifiers(), false),
        };
        Ok(Effect {
            revision,
            verifiers,
            waited: self.waited(began),
            is_pending,
            durability: self.durability(),
        })
    }

    /// Rule R7 where this process is the only verifier: its memory must have applied the change, which the store did
    /// before it answered.
    fn alone(&self, change: Awaited) -> Result<Reached, Failure> {
        let now = self.clock.moment();
        let pending = Pending { change, committed: now };
        let own = SeenNode {
            session: SessionId::default(),
            acked: self.verifier.applied(),
            renewals: 0,
            holding: Holding::default(),
            leases: 0,
        };
        let reading = Reading {
            began: now,
            answered: now,
            sessions: vec![own],
            era: Era::default(),
        };
        let lost = || Failure::Internal("the memory has not heard of a change that was committed".to_owned());
        Grantor::new(0).reached(&pending, None, &reading, now).ok_or_else(lost)
    }

    /// The effect of a change that denies nothing, so that no verifier has to know of it first.
    fn effect_at_once(&self, revision: u64, began: Moment) -> Effect {
        Effect {
            revision,
            verifiers: 1,
            waited: self.waited(began),
            is_pending: false,
            durability: self.durability(),
        }
    }

    /// Returns the time since `began`. Durations are never the difference of two wall clock times: that clock may be
    /// set, and the estimate of the database's clock does not advance for a while after each poll.
    fn waited(&self, began: Moment) -> Duration {
        self.clock.moment().elapsed_since(began)
    }

    /// Which failure a commit survives now. In a single process SQLite waits for the disk.
    fn durability(&self) -> Durability {
        let node = self.node.as_ref();
        node.map_or(Durability::Local, |node| node.health().durability)
    }

    fn secret_entropy(&self) -> Result<[u8; SECRET_ENTROPY_BYTES], Failure> {
        let mut bytes = [0; SECRET_ENTROPY_BYTES];
        self.entropy.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Returns entropy for many secrets with one system call, which takes a fraction of a call for each.
    fn entropy_for<const BYTES: usize>(&self, count: usize) -> Result<Vec<[u8; BYTES]>, Failure> {
        let mut bytes = vec![[0; BYTES]; count];
        self.entropy.fill(bytes.as_flattened_mut())?;
        Ok(bytes)
    }

    fn new_key_ids(&self, count: usize) -> Result<Vec<KeyId>, Failure> {
        let made = self.entropy_for(count)?.into_iter().map(|entropy| {
            let (at, sequence) = self.id_order();
            KeyId::new(at, sequence, entropy)
        });
        Ok(made.collect())
    }

    fn new_user_id(&self) -> Result<UserId, Failure> {
        let (at, sequence, entropy) = self.id_parts()?;
        Ok(UserId::new(at, sequence, entropy))
    }

    fn new_root_key_id(&self) -> Result<RootKeyId, Failure> {
        let (at, sequence, entropy) = self.id_parts()?;
        Ok(RootKeyId::new(at, sequence, entropy))
    }

    fn id_parts(&self) -> Result<(Timestamp, u16, [u8; ID_ENTROPY_BYTES]), Failure> {
        let mut entropy = [0; ID_ENTROPY_BYTES];
        self.entropy.fill(&mut entropy)?;
        let (at, sequence) = self.id_order();
        Ok((at, sequence, entropy))
    }

    /// Returns time and sequence that are later than those of every earlier id of this process, also when the clock
    /// steps back (RFC 9562, section 6.2).
    fn id_order(&self) -> (Timestamp, u16) {
        const SEQUENCE_MAX: u16 = 0x0fff;
        let now = self.earliest().millis();
        let mut last = self.last_id.lock().unwrap_or_else(PoisonError::into_inner);
        *last = match *last {
            (at, _) if now > at => (now, 0),
            (at, sequence) if sequence < SEQUENCE_MAX => (at, sequence + 1),
            (at, _) => (at.saturating_add(1), 0),
        };
        (Timestamp::from_millis(last.0), last.1)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("verifier", &self.verifier)
            .finish_non_exhaustive()
    }
}
