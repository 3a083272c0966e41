//! The use cases: issue, verify, list, rotate, disable, re-activate, revoke, delete; root keys and tenants.
//!
//! This crate knows neither HTTP nor SQL nor a runtime: it needs a [`keyreeve_store::Store`], a [`env::Clock`] and
//! [`env::Entropy`], so that a simulator can drive exactly what ships. Each verb has its file under [`keys`].

mod activity;
mod attention;
mod audit;
pub mod caller;
pub mod check;
pub mod children;
mod describe;
pub mod env;
pub mod failure;
mod inventory;
pub mod keys;
pub mod leaks;
mod meters;
pub mod node;
mod nodes;
mod operations;
mod policy;
mod possession;
mod reassert;
pub mod root_keys;
pub mod sign_in;
pub mod tenants;
mod tombstones;
pub mod users;
pub mod verifier;
pub mod verify;

pub use audit::{AuditCheck, AuditFilter, Refused, check_log};
pub use caller::{Call, Caller};
pub use failure::Failure;
pub use inventory::{Inventory, take_stock};
pub use meters::Budget;
pub use node::Node;
pub use operations::Operations;
pub use policy::Misfits;
pub use verifier::Verifier;

use env::{Clock, Entropy, Timer};
use keyreeve_core::coherence::grantor::{Grantor, Pending, Reached, Reading, Seen};
use keyreeve_core::coherence::holder::SessionId;
use keyreeve_core::id::ID_ENTROPY_BYTES;
use keyreeve_core::key::SECRET_ENTROPY_BYTES;
use keyreeve_core::{KeyId, RootKeyId, Timestamp, UserId};
use keyreeve_store::Store;
use keyreeve_store::cluster::Durability;
use keyreeve_store::model::Census;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Everything a use case needs. One per process.
pub struct Authority {
    store: Arc<dyn Store>,
    verifier: Arc<Verifier>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    timer: Arc<dyn Timer>,
    last_id: Mutex<(i64, u16)>,
    leaks: leaks::Leaks,
    operations: Operations,
    /// `None` in a single process.
    node: Option<Arc<Node>>,
}

/// How far a change has got when it is answered (coherence.md, section 1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Effect {
    /// The newest revision that the change is contained in.
    pub revision: u64,
    /// Verifiers that no longer accept what the change ended.
    pub verifiers: u32,
    /// How long the change took to be effective, in milliseconds.
    pub waited_ms: u64,
    /// Whether it is committed but not yet known to be effective everywhere: the caller did not want to wait.
    pub is_pending: bool,
    /// What the commit survives.
    pub durability: Durability,
}

impl Authority {
    /// Puts the parts together. `verifier` must be the observer that `store` was opened with.
    pub fn new(
        store: Arc<dyn Store>,
        verifier: Arc<Verifier>,
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
            leaks: leaks::Leaks::default(),
            operations: Operations::default(),
            node: None,
        }
    }

    /// Makes this one node of several: changes are then answered when every node has them.
    #[must_use]
    pub fn among(mut self, node: Arc<Node>) -> Self {
        self.node = Some(node);
        self
    }

    /// This node, if it is one of several.
    pub fn node(&self) -> Option<&Arc<Node>> {
        self.node.as_ref()
    }

    /// The memory that verdicts come from.
    pub fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether the store answers.
    pub async fn is_ready(&self) -> bool {
        self.store.head().await.is_ok()
    }

    /// How many keys there are, of all tenants: for the operator, who sees nothing else of them by it.
    pub async fn census(&self) -> Result<Census, Failure> {
        Ok(self.store.census(self.now()).await?)
    }

    /// Writes down what is still in memory and closes the store.
    pub async fn close(&self) {
        self.empty_meters().await;
        self.flush_activity().await;
        self.store.close().await;
    }

    /// The effect of a change that began at `began`, when it is effective everywhere (rule R7). In one process it is
    /// when its commit has been applied to the memory here, which the store does before it answers, and has reached the
    /// verifiers that hang on it. Among several nodes, when all have it or can no longer answer without it; or at once,
    /// if the caller wants to ask later.
    async fn effect(&self, revision: u64, began: Timestamp, is_awaited: bool) -> Result<Effect, Failure> {
        let (verifiers, is_pending) = match &self.node {
            None if !is_awaited && !self.children_have(revision) => (1, true),
            None => {
                self.children_know(revision).await;
                (self.alone(revision)?.verifiers(), false)
            }
            Some(_) if !is_awaited => (1, true),
            Some(node) => (node.effective(revision).await?.verifiers(), false),
        };
        Ok(Effect {
            revision,
            verifiers,
            waited_ms: self.now().millis_since(began),
            is_pending,
            durability: self.durability(),
        })
    }

    /// Rule R7 where this process is the only verifier: its own memory must have applied the change, which the store
    /// saw to before it answered.
    fn alone(&self, revision: u64) -> Result<Reached, Failure> {
        let now = self.clock.moment();
        let pending = Pending {
            revision,
            committed: now,
        };
        let own = Seen {
            session: SessionId::default(),
            acked: self.verifier.applied(),
            renewals: 0,
        };
        let reading = Reading {
            began: now,
            answered: now,
            sessions: vec![own],
        };
        let lost = || Failure::Internal("the memory has not heard of a change that was committed".to_owned());
        Grantor::new(0).reached(&pending, None, &reading, now).ok_or_else(lost)
    }

    /// The effect of a change that takes nothing away, so that nobody need hear of it first.
    fn effect_at_once(&self, revision: u64, began: Timestamp) -> Effect {
        Effect {
            revision,
            verifiers: 1,
            waited_ms: self.now().millis_since(began),
            is_pending: false,
            durability: self.durability(),
        }
    }

    /// What a commit survives now. In one process SQLite waits for the disk.
    fn durability(&self) -> Durability {
        let node = self.node.as_ref();
        node.map_or(Durability::Local, |node| node.health().durability)
    }

    fn secret_entropy(&self) -> Result<[u8; SECRET_ENTROPY_BYTES], Failure> {
        let mut bytes = [0; SECRET_ENTROPY_BYTES];
        self.entropy.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Entropy for many at once: asking the operating system once takes a fraction of asking for each.
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

    /// Time and sequence that are later than those of every id made before in this process, also when the clock
    /// steps back (RFC 9562, section 6.2).
    fn id_order(&self) -> (Timestamp, u16) {
        const SEQUENCE_MAX: u16 = 0x0fff;
        let now = self.now().millis();
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
