//! The database of the nodes: the shipped operations on a store in memory, and a wire with faults for each node.

mod wire;

pub(crate) use wire::{Cut, Wire};

use crate::executor::{MS, Nanos, Sim};
use keyreeve_core::Timestamp;
use keyreeve_store::{Commit, CommitObserver, MemoryCopy, MemoryStore, Store as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The start of the simulation, in Unix ms.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// Ignores every commit.
#[derive(Debug)]
pub(crate) struct Deaf;

impl CommitObserver for Deaf {
    fn committed(&self, _: &Commit) {}
    fn outcome_unknown(&self, _: &Commit) {}
}

/// Faults between nodes and the database.
#[derive(Default)]
pub(crate) struct Weather {
    /// Until when no node gets an answer.
    pub(crate) down_until: Nanos,
    /// An older copy, which may replace the database.
    copy: Option<MemoryCopy>,
    /// Whether every message is fast and arrives.
    pub(crate) is_calm: bool,
    /// How much longer than other messages the answer to a change may take.
    pub(crate) slow_answer: Nanos,
    /// Until when commits that do not wait for the disk stay unsynced.
    pub(crate) disk_is_slow_until: Nanos,
}

/// The database and its faults.
#[derive(Clone)]
pub(crate) struct Database {
    pub(crate) sim: Sim,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) weather: Arc<Mutex<Weather>>,
    /// The lease of nodes, in milliseconds.
    pub(crate) lease_ms: u64,
}

impl Database {
    pub(crate) fn new(sim: Sim, lease_ms: u64) -> Self {
        Self {
            sim,
            store: Arc::new(MemoryStore::new(Arc::new(Deaf))),
            weather: Arc::default(),
            lease_ms,
        }
    }

    pub(crate) fn weather(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the newest revision, without a wire.
    pub(crate) fn head(&self) -> u64 {
        let head = futures_util::FutureExt::now_or_never(self.store.head());
        head.and_then(Result::ok).map_or(0, |head| head.revision)
    }

    /// Crashes: commits that did not wait for the disk may be lost.
    pub(crate) fn crash(&self) {
        self.sim.note("database", "crashes");
        // A closed store has nothing to lose.
        drop(self.store.crash());
    }

    /// A process of the server dies: commits that did not wait for the disk are lost, and the server keeps its start
    /// time.
    pub(crate) fn lose_unwritten(&self) {
        self.sim.note("database", "loses what is not on its disk");
        drop(self.store.lose_unwritten());
    }

    /// Makes unsynced commits durable.
    pub(crate) fn write_out(&self) {
        drop(self.store.write_out());
    }

    /// Keeps a copy for later.
    pub(crate) fn keep_copy(&self) {
        self.sim.note("database", "is copied");
        self.weather().copy = self.store.copy().ok();
    }

    /// Replaces the database by the kept copy, as another database. Returns false if there is no copy. (A copy of its
    /// files looks like a restart to a node that was away, and it may come before the nodes that know more have
    /// registered: nothing is promised for that.)
    pub(crate) fn put_back(&self) -> bool {
        let Some(copy) = self.weather().copy.take() else {
            return false;
        };
        self.sim.note("database", "is an older copy");
        self.store.put_back(copy, true).is_ok()
    }

    pub(crate) fn time(&self) -> Timestamp {
        let ms = i64::try_from(self.sim.now() / MS).unwrap_or(i64::MAX);
        Timestamp::from_millis(EPOCH_MS.saturating_add(ms))
    }
}
