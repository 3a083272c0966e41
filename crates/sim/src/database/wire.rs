//! The wire of one node to the database: it delays, cuts and loses messages. The store in memory answers without waiting,
//! so that the effect of an operation is at one moment.

use super::Database;
use crate::executor::{MS, Nanos};
use async_trait::async_trait;
use keyreeve_core::coherence::grantor::SeenNode;
use keyreeve_core::coherence::holder::{Poll, SessionId};
use keyreeve_core::coherence::holding::Holding;
use keyreeve_store::cluster::{Cluster, NodeSessions, Polled, Registered};
use keyreeve_store::{Commit, CommitObserver, Interceptor, MemoryStore, StoreError, StoreOperation, WriteError};
use std::sync::{Arc, Mutex, PoisonError};

/// How long a node waits for an answer before it gives up.
const DEADLINE: Nanos = 1_500 * MS;

/// Keeps the commits that the store reported until the answer arrives.
#[derive(Default)]
struct Heard(Mutex<Vec<Commit>>);

impl CommitObserver for Heard {
    fn committed(&self, commit: &Commit) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(commit.clone());
    }

    fn outcome_unknown(&self, _: &Commit) {}
}

/// The wire of one node to the database.
pub(crate) struct Wire {
    database: Database,
    /// Notified of this node's own commits.
    observer: Arc<dyn CommitObserver>,
    pub(crate) cut: Mutex<Cut>,
}

/// Until when no message passes in each direction.
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

    /// Delays a message: usually briefly, now and then for long.
    async fn travel(&self) {
        let sim = &self.database.sim;
        if self.database.weather().is_calm {
            sim.sleep(sim.range(MS / 10, 2 * MS)).await;
            return;
        }
        let nanos = match sim.range(0, 100) {
            0..=69 => sim.range(MS / 10, 2 * MS),
            70..=94 => sim.range(2 * MS, 40 * MS),
            _ => sim.range(40 * MS, 1_200 * MS),
        };
        sim.sleep(nanos).await;
    }

    /// Sends a request. Returns false if it does not arrive.
    async fn there(&self) -> bool {
        self.travel().await;
        let now = self.database.sim.now();
        let is_lost = now < self.cut_now().out || now < self.database.weather().down_until;
        if is_lost {
            self.database.sim.sleep(DEADLINE).await;
        }
        !is_lost
    }

    /// Returns an answer. False if it does not arrive.
    async fn back(&self) -> bool {
        self.travel().await;
        let sim = &self.database.sim;
        let now = sim.now();
        let is_lost = now < self.cut_now().back || (!self.database.weather().is_calm && sim.percent(1));
        if is_lost {
            sim.sleep(DEADLINE).await;
        }
        !is_lost
    }

    /// Sends a query. Fails if it does not arrive.
    async fn ask(&self) -> Result<(), StoreError> {
        if !self.there().await {
            return Err(away());
        }
        self.database.store.set_now(self.database.time());
        Ok(())
    }

    /// Returns the answer to a query.
    async fn hear<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        if self.back().await { answer } else { Err(away()) }
    }

    /// Applies the commit to this node's memory when the answer arrives. If the answer is lost, the node forgets what
    /// the commit touched.
    async fn done<T>(&self, heard: &Heard, answer: Result<T, WriteError>) -> Result<T, WriteError> {
        let slow = self.database.weather().slow_answer;
        let sim = &self.database.sim;
        if slow > 0 && sim.percent(70) {
            sim.sleep(sim.range(0, slow)).await;
        }
        if !self.back().await {
            for commit in heard.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                self.observer.outcome_unknown(commit);
            }
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

impl Interceptor for Wire {
    async fn call<T, F>(&self, _: StoreOperation, run: impl FnOnce(MemoryStore) -> F + Send) -> Result<T, StoreError>
    where
        T: Send,
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        self.ask().await?;
        let answer = run(MemoryStore::clone(&self.database.store)).await;
        self.hear(answer).await
    }

    async fn change<T, F>(&self, _: StoreOperation, run: impl FnOnce(MemoryStore) -> F + Send) -> Result<T, WriteError>
    where
        T: Send,
        F: Future<Output = Result<T, WriteError>> + Send,
    {
        self.ask().await?;
        let heard = Arc::new(Heard::default());
        let answer = run(self.database.store.seen_by(Arc::clone(&heard) as _)).await;
        self.done(&heard, answer).await
    }
}

/// Sends a query about the cluster.
macro_rules! ask {
    ($wire:ident, $call:ident($($argument:expr),*)) => {{
        $wire.ask().await?;
        let answer = $wire.database.store.$call($($argument),*).await;
        $wire.hear(answer).await
    }};
}

#[async_trait]
impl Cluster for Wire {
    async fn agree_on_lease(&self, wished: Option<u64>, default_ms: u64) -> Result<u64, StoreError> {
        ask!(self, agree_on_lease(wished, default_ms))
    }

    async fn register(&self, session: SessionId, node: &str) -> Result<Registered, StoreError> {
        ask!(self, register(session, node))
    }

    async fn poll(&self, poll: &Poll, holding: &Holding) -> Result<Polled, StoreError> {
        let applied = poll.applied;
        if !holding.is_empty() {
            let held = holding.to_text();
            self.database
                .sim
                .note("wire", format_args!("has applied {applied}, its children not {held}"));
        }
        ask!(self, poll(poll, holding))
    }

    async fn sessions(&self) -> Result<NodeSessions, StoreError> {
        ask!(self, sessions())
    }

    async fn remove_dead_session(&self, dead: &SeenNode) -> Result<(), StoreError> {
        self.database.sim.note("wire", format_args!("buries {dead:?}"));
        ask!(self, remove_dead_session(dead))
    }

    async fn note_fork(&self) -> Result<(), StoreError> {
        ask!(self, note_fork())
    }

    async fn hint(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn hinted(&self) {
        std::future::pending::<()>().await;
    }
}
