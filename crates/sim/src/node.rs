//! A node: the shipped authority, memory and lease, on clocks that run too fast or too slow.

use crate::database::{Database, Wire};
use crate::executor::{MS, Nanos, Sim, TaskOwner};
use crate::invariants::Counts;
use async_trait::async_trait;
use keyreeve_authority::children::bounds::OVERDUE_MS;
use keyreeve_authority::children::{Presence, SWEEP_MS};
use keyreeve_authority::env::{Clock, Entropy, NoEntropy, Timer};
use keyreeve_authority::node::{NodeParts, Notebook, Progress};
use keyreeve_authority::{Authority, Failure, Node, VerifierMemory};
use keyreeve_core::Timestamp;
use keyreeve_core::coherence::Moment;
use keyreeve_core::coherence::invariants::InvariantCounts;
use keyreeve_store::{CommitObserver, Intercepted, Store};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The usual lease of a node in a simulation, in milliseconds.
pub(crate) const LEASE_MS: u64 = 2_000;
/// The time between polls.
const POLL: Nanos = 400 * MS;
/// Secrets that a node remembers: few, so that it also evicts some.
const REMEMBERED: usize = 256;

/// Clocks of one machine: wrong by up to a tenth, as much as the rules allow.
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

/// The data directory of a machine. It survives every process.
#[derive(Default)]
struct Directory(Mutex<Vec<String>>);

impl Directory {
    fn text(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notebook for Directory {
    fn lines(&self) -> Result<Vec<String>, Failure> {
        Ok(self.text().clone())
    }

    fn append(&self, lines: &[String]) -> Result<(), Failure> {
        self.text().extend_from_slice(lines);
        Ok(())
    }

    fn replace(&self, lines: &[String]) -> Result<(), Failure> {
        *self.text() = lines.to_vec();
        Ok(())
    }
}

/// One start of one node.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) owner: TaskOwner,
    pub(crate) authority: Arc<Authority>,
    pub(crate) wire: Arc<Wire>,
    /// When the last poll that succeeded was sent, in real time.
    pub(crate) renewed: Arc<AtomicU64>,
    pub(crate) leaving: Arc<Leaving>,
}

/// The request to a process to hand its lease back, and its confirmation.
#[derive(Default)]
pub(crate) struct Leaving {
    pub(crate) is_asked: AtomicBool,
    pub(crate) is_done: AtomicBool,
}

/// A machine on which a node runs, also after it was killed and started again.
pub(crate) struct Machine {
    pub(crate) name: String,
    clocks: Clocks,
    directory: Arc<Directory>,
    pub(crate) process: Option<Process>,
}

impl Machine {
    pub(crate) fn new(database: &Database, number: u64) -> Self {
        Self {
            name: format!("n{number}"),
            clocks: Clocks::new(database),
            directory: Arc::default(),
            process: None,
        }
    }

    /// Starts a process, with a number that no process had before.
    pub(crate) fn start(&mut self, database: &Database, number: u32, faults: &Faults) {
        let sim = &database.sim;
        let owner = TaskOwner::Process(number);
        let verifier = Arc::new(VerifierMemory::leased(REMEMBERED));
        faults.counts.add(verifier.invariants());
        let wire = Arc::new(Wire::new(
            database.clone(),
            Arc::clone(&verifier) as Arc<dyn CommitObserver>,
        ));
        let store: Arc<dyn Store> = Arc::new(Intercepted(Arc::clone(&wire)));
        let clock: Arc<dyn Clock> = Arc::new(self.clocks.clone());
        let entropy: Arc<dyn Entropy> = Arc::new(Seeded(sim.clone()));
        let node = Arc::new(Node::new(NodeParts {
            cluster: Arc::clone(&wire) as _,
            store: Arc::clone(&store),
            verifier: Arc::clone(&verifier),
            clock: Arc::clone(&clock),
            timer: Arc::new(SimTimer(sim.clone())),
            entropy: Arc::clone(&entropy),
            name: self.name.clone(),
            lease_ms: database.lease_ms,
            require_sync: false,
            notebook: Arc::clone(&self.directory) as _,
        }));
        let timer = Arc::new(SimTimer(sim.clone()));
        let authority = Authority::new(store, verifier, clock, entropy, timer).among(Arc::clone(&node));
        let renewed = Arc::new(AtomicU64::new(0));
        let leaving = Arc::<Leaving>::default();
        let holding = NodeHolding {
            sim: sim.clone(),
            node: Arc::clone(&node),
            name: self.name.clone(),
            renewed: Arc::clone(&renewed),
            leaving: Arc::clone(&leaving),
        };
        sim.spawn(owner, hold(holding));
        sim.spawn(owner, write_notes(sim.clone(), Arc::clone(&node)));
        sim.spawn(owner, tidy(sim.clone(), node));
        let authority = Arc::new(authority);
        sim.spawn(owner, sweep(sim.clone(), Arc::clone(&authority), faults.clone()));
        self.process = Some(Process {
            owner,
            authority,
            wire,
            renewed,
            leaving,
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

struct NodeHolding {
    sim: Sim,
    node: Arc<Node>,
    name: String,
    renewed: Arc<AtomicU64>,
    leaving: Arc<Leaving>,
}

/// Runs the lease thread.
async fn hold(holding: NodeHolding) {
    let NodeHolding {
        sim,
        node,
        name,
        renewed,
        leaving,
    } = holding;
    while !leaving.is_asked.load(Ordering::Relaxed) {
        let sent = sim.now();
        match node.poll_once().await {
            Ok(progress) => {
                if !matches!(progress, Progress::Forked | Progress::OnProbation) {
                    renewed.store(sent, Ordering::Relaxed);
                }
                if matches!(progress, Progress::Quiet | Progress::OnProbation) {
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
    sim.note(&name, "leaves");
    // If this does not reach the database, the others wait for the lease to end.
    drop(node.leave().await);
    leaving.is_done.store(true, Ordering::Relaxed);
}

/// What must never happen, whatever clients request.
#[derive(Clone, Default)]
pub(crate) struct Faults {
    /// A child received an order about a tenant that it does not reach.
    pub(crate) told_wrong: Arc<AtomicBool>,
    /// A child stayed connected with an order that was overdue for too long.
    pub(crate) overdue_stays: Arc<AtomicBool>,
    /// Violations inside the processes of nodes, and inside children.
    pub(crate) counts: Counts,
    pub(crate) of_children: Arc<InvariantCounts>,
}

/// Sweeps the children periodically, and checks L3.
async fn sweep(sim: Sim, authority: Arc<Authority>, faults: Faults) {
    loop {
        sim.sleep(SWEEP_MS * MS).await;
        authority.verifiers().sweep();
        for child in authority.children().connected_list(Moment::default()) {
            let age = child.oldest_order.map_or(0, |order| order.age_ms);
            if child.presence != Presence::Disconnected && age > OVERDUE_MS + 2 * SWEEP_MS {
                faults.overdue_stays.store(true, Ordering::Relaxed);
            }
        }
    }
}

/// Writes new notes at once. A real node may lose what it learned less than a second before it was killed, and the
/// invariants do not hold for that.
async fn write_notes(sim: Sim, node: Arc<Node>) {
    loop {
        sim.sleep(MS).await;
        drop(node.write_notes());
    }
}

/// Tidies up the sessions of other nodes.
async fn tidy(sim: Sim, node: Arc<Node>) {
    loop {
        sim.sleep(1_000 * MS).await;
        // A failure is without consequence: the next round tries again.
        drop(node.tidy().await);
    }
}
