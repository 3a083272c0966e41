//! A node: the shipped authority, memory and lease, on clocks that run too fast or too slow.

use crate::database::{Database, Wire};
use crate::executor::{MS, Nanos, Owner, Sim};
use async_trait::async_trait;
use keyreeve_authority::env::{Clock, Entropy, NoEntropy, Timer};
use keyreeve_authority::node::{NodeParts, Progress};
use keyreeve_authority::{Authority, Node, Verifier};
use keyreeve_core::Timestamp;
use keyreeve_core::coherence::Moment;
use keyreeve_store::CommitObserver;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How long a lease lasts here.
pub(crate) const LEASE_MS: u64 = 2_000;
/// The time between polls.
const POLL: Nanos = 400 * MS;
/// Secrets that a node remembers: few, so that it also forgets.
const REMEMBERED: usize = 256;

/// Clocks of one machine: wrong by up to a tenth, as much as coherence.md allows.
#[derive(Clone)]
pub(crate) struct Clocks {
    database: Database,
    offset: Nanos,
    boot_permille: u64,
    raw_permille: u64,
}

impl Clocks {
    pub(crate) fn new(database: &Database) -> Self {
        let sim = &database.sim;
        let (boot_permille, raw_permille) = (sim.range(905, 1_095), sim.range(905, 1_095));
        Self {
            database: database.clone(),
            offset: sim.range(1, 1_000) * 1_000 * MS,
            boot_permille,
            raw_permille,
        }
    }
}

impl Clock for Clocks {
    fn now(&self) -> Timestamp {
        self.database.time()
    }

    fn moment(&self) -> Moment {
        let now = self.database.sim.now();
        let by = |permille: u64| self.offset + now / 1_000 * permille;
        Moment {
            boot: by(self.boot_permille),
            raw: by(self.raw_permille),
        }
    }
}

struct Seeded(Sim);

impl Entropy for Seeded {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), NoEntropy> {
        for chunk in buffer.chunks_mut(8) {
            let bytes = self.0.random(|random| random.next()).to_le_bytes();
            for (to, from) in chunk.iter_mut().zip(bytes) {
                *to = from;
            }
        }
        Ok(())
    }
}

struct SimTimer(Sim);

#[async_trait]
impl Timer for SimTimer {
    async fn sleep_ms(&self, ms: u64) {
        self.0.sleep(ms * MS).await;
    }
}

/// One start of one node.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) owner: Owner,
    pub(crate) authority: Arc<Authority>,
    pub(crate) wire: Arc<Wire>,
    /// When the last poll that succeeded was sent, in real time.
    pub(crate) renewed: Arc<AtomicU64>,
}

/// A place where a node runs, and runs again after it was killed.
pub(crate) struct Machine {
    pub(crate) name: String,
    clocks: Clocks,
    pub(crate) process: Option<Process>,
}

impl Machine {
    pub(crate) fn new(database: &Database, number: u64) -> Self {
        Self {
            name: format!("n{number}"),
            clocks: Clocks::new(database),
            process: None,
        }
    }

    /// Starts a process, whose number nobody had before.
    pub(crate) fn start(&mut self, database: &Database, number: u32) {
        let sim = &database.sim;
        let owner = Owner::Process(number);
        let verifier = Arc::new(Verifier::leased(REMEMBERED));
        let wire = Arc::new(Wire::new(
            database.clone(),
            Arc::clone(&verifier) as Arc<dyn CommitObserver>,
        ));
        let clock: Arc<dyn Clock> = Arc::new(self.clocks.clone());
        let entropy: Arc<dyn Entropy> = Arc::new(Seeded(sim.clone()));
        let node = Arc::new(Node::new(NodeParts {
            cluster: Arc::clone(&wire) as _,
            store: Arc::clone(&wire) as _,
            verifier: Arc::clone(&verifier),
            clock: Arc::clone(&clock),
            timer: Arc::new(SimTimer(sim.clone())),
            entropy: Arc::clone(&entropy),
            name: self.name.clone(),
            lease_ms: LEASE_MS,
            require_sync: false,
        }));
        let store = Arc::clone(&wire) as _;
        let timer = Arc::new(SimTimer(sim.clone()));
        let authority = Authority::new(store, verifier, clock, entropy, timer).among(Arc::clone(&node));
        let renewed = Arc::new(AtomicU64::new(0));
        let holding = Holding {
            sim: sim.clone(),
            node: Arc::clone(&node),
            name: self.name.clone(),
            renewed: Arc::clone(&renewed),
        };
        sim.spawn(owner, hold(holding));
        sim.spawn(owner, tidy(sim.clone(), node));
        self.process = Some(Process {
            owner,
            authority: Arc::new(authority),
            wire,
            renewed,
        });
        sim.note(&self.name, format_args!("starts as process {number}"));
    }

    pub(crate) fn kill(&mut self, sim: &Sim) {
        if let Some(process) = self.process.take() {
            sim.note(&self.name, "is killed");
            sim.kill(process.owner);
        }
    }
}

struct Holding {
    sim: Sim,
    node: Arc<Node>,
    name: String,
    renewed: Arc<AtomicU64>,
}

/// What the lease thread does.
async fn hold(holding: Holding) {
    let Holding {
        sim,
        node,
        name,
        renewed,
    } = holding;
    loop {
        let sent = sim.now();
        match node.poll_once().await {
            Ok(progress) => {
                renewed.store(sent, Ordering::Relaxed);
                if progress == Progress::Quiet {
                    let jitter = sim.range(0, POLL / 5);
                    sim.sleep(POLL * 9 / 10 + jitter).await;
                } else {
                    sim.note(&name, format_args!("{progress:?}"));
                }
            }
            Err(error) => {
                sim.note(&name, format_args!("no poll: {error}"));
                sim.sleep(POLL / 2).await;
            }
        }
    }
}

/// Looks after the sessions of others.
async fn tidy(sim: Sim, node: Arc<Node>) {
    loop {
        sim.sleep(1_000 * MS).await;
        // Failing is no matter: it is tried again.
        drop(node.tidy().await);
    }
}
