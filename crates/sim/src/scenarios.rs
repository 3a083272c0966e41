//! The course of a run: the instance is created, then clients and faults start.

pub(crate) mod everything;
mod failover;
mod leaving;
mod meanwhile;
pub(crate) mod older_copy;
mod slow_disk;
mod slow_threads;
pub(crate) mod stutter;

use crate::child::ChildProcess;
use crate::clients::{HeldSecret, SharedKnowledge, SimulatedClient};
use crate::executor::{MS, Nanos, Sim, TaskOwner};
use crate::history::VerifyOutcome;
use crate::kind::RunKind;
use crate::node::Process;
use crate::park::{Park, lock};
use crate::run::CALM;
use everything::misfortune;
use keyreeve_core::access::Reach;
use keyreeve_core::text::Slug;
use older_copy::{all_are_back, older_copy, quiet_after};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use stutter::stutter;

/// Creates the instance, then starts clients and faults.
pub(crate) async fn live(park: Park, known: Arc<Mutex<SharedKnowledge>>, tenants: [Slug; 2]) {
    let client = SimulatedClient {
        sim: park.sim.clone(),
        known,
        tenants,
    };
    let founder = park.any();
    if let Some(process) = founder {
        // Nothing is lost on purpose at the beginning. If an answer is lost nevertheless, the run is empty.
        drop(process.authority.found(|_| Ok(())).await);
        client.make_tenant(&process).await;
        for tenant in [0, 1, 0] {
            client.make_user(&process, tenant).await;
        }
        for _ in 0..5 {
            client.issue(&process).await;
        }
        let children = park.children().clone();
        for child in children {
            renew_root_key(&client, &process, &child).await;
        }
    }
    for _ in 0..park.kind.clients() {
        park.sim.spawn(TaskOwner::World, verify(park.clone(), client.clone()));
    }
    for _ in 0..if park.kind.has_managers() { 2 } else { 0 } {
        park.sim.spawn(TaskOwner::World, manage(park.clone(), client.clone()));
    }
    let sim = park.sim.clone();
    match park.kind {
        RunKind::SlowDisk => sim.spawn(TaskOwner::World, slow_disk::keep_up(park.clone())),
        _ => sim.spawn(TaskOwner::World, write_out(park.clone())),
    }
    let scene = Scene {
        park: park.clone(),
        client: client.clone(),
    };
    match park.kind {
        RunKind::Everything => sim.spawn(TaskOwner::World, misfortune(park)),
        RunKind::OlderCopy => {
            sim.spawn(TaskOwner::World, older_copy(park.clone(), Arc::clone(&client.known)));
            sim.spawn(TaskOwner::World, all_are_back(park.clone(), client.clone()));
            sim.spawn(TaskOwner::World, misfortune(park));
        }
        RunKind::Stutter => sim.spawn(TaskOwner::World, stutter(park)),
        RunKind::SlowThreads => sim.spawn(TaskOwner::World, slow_threads::slow_threads(scene)),
        RunKind::Leaving => sim.spawn(TaskOwner::World, leaving::leaving(scene)),
        RunKind::Meanwhile => sim.spawn(TaskOwner::World, meanwhile::meanwhile(scene)),
        RunKind::SlowDisk => sim.spawn(TaskOwner::World, slow_disk::slow_disk(scene)),
        RunKind::Failover => sim.spawn(TaskOwner::World, failover::failover(scene)),
        RunKind::QuietAfter => {
            sim.spawn(TaskOwner::World, quiet_after(park.clone(), Arc::clone(&client.known)));
            sim.spawn(TaskOwner::World, all_are_back(park, client));
        }
        RunKind::ShortLeases => {}
    }
}

/// Simulates the database's background writer, which makes unsynced commits durable sooner or later.
async fn write_out(park: Park) {
    loop {
        let nanos = if park.sim.percent(50) { 300 * MS } else { 8_000 * MS };
        park.sim.sleep(park.sim.range(10 * MS, nanos)).await;
        park.database.write_out();
    }
}

/// Replaces the root key of a child, if it can be created.
async fn renew_root_key(client: &SimulatedClient, process: &Process, child: &ChildProcess) {
    let made = client.make_root_key(process, child.identity.reach.clone()).await;
    if made.is_some() {
        *lock(&child.identity.root_key) = made;
    }
}

/// Revokes a child's root key, and later replaces it.
async fn revoke_root_key(park: &Park, client: &SimulatedClient, process: &Process) {
    let Some(child) = park.any_child() else { return };
    let Some(root_key) = child.identity.root_key() else {
        return;
    };
    let tenant =
        usize::from(matches!(&child.identity.reach, Reach::Tenant(slug) if client.tenants.last() == Some(slug)));
    client.revoke_root_key(process, tenant, &root_key).await;
    renew_root_key(client, process, &child).await;
}

fn chosen(client: &SimulatedClient) -> Option<HeldSecret> {
    let known = client.known();
    let place = client.sim.random(|random| random.place(known.keys.len()));
    known.keys.get(place).cloned()
}

async fn verify(park: Park, client: SimulatedClient) {
    while park.sim.now() < CALM {
        park.sim.sleep(park.sim.range(MS, 60 * MS)).await;
        let Some(key) = chosen(&client) else { continue };
        match (park.any_child().filter(|_| park.sim.percent(40)), park.any()) {
            (Some(child), _) => client.verify_inside(&child, &key).await,
            (None, Some(process)) => client.verify(&process, &key).await,
            (None, None) => None,
        };
    }
}

async fn manage(park: Park, client: SimulatedClient) {
    while park.sim.now() < CALM && !park.are_changes_over.load(Ordering::Relaxed) {
        park.sim.sleep(park.sim.range(20 * MS, 900 * MS)).await;
        let (Some(process), Some(key)) = (park.any(), chosen(&client)) else {
            continue;
        };
        match park.sim.range(0, 100) {
            0..=17 => client.issue(&process).await,
            18..=37 => client.revoke(&process, &key).await,
            38..=55 => client.disable(&process, &key).await,
            56..=69 => client.reactivate(&process, &key).await,
            70..=79 => client.rotate(&process, &key).await,
            80..=86 => client.set_user(&process, &key, false).await,
            87..=93 => client.set_user(&process, &key, true).await,
            94..=95 => client.set_tenant(&process, key.tenant, false).await,
            96..=97 => client.set_tenant(&process, key.tenant, true).await,
            _ => revoke_root_key(&park, &client, &process).await,
        }
        verify_everywhere(&park, &client, &key).await;
    }
}

/// Verifies a key that was just changed at once, on every node and child.
async fn verify_everywhere(park: &Park, client: &SimulatedClient, key: &HeldSecret) {
    let machines: Vec<_> = park
        .machines()
        .iter()
        .filter_map(|machine| machine.process.clone())
        .collect();
    for process in machines {
        client.verify(&process, key).await;
    }
    let children = park.children().clone();
    for child in children {
        client.verify_inside(&child, key).await;
    }
}

/// Replaces the database by the kept copy and records when for the checker.
fn put_back(park: &Park, known: &Mutex<SharedKnowledge>) {
    if park.database.put_back() {
        let stamp = park.sim.stamp();
        lock(known).history.put_back.push(stamp);
    }
}

/// Starts a task after a random delay within `within`.
fn spread<T>(sim: &Sim, within: Nanos, work: impl Future<Output = T> + Send + 'static) {
    let (own, after) = (sim.clone(), sim.range(0, within));
    sim.spawn(TaskOwner::World, async move {
        own.sleep(after).await;
        work.await;
    });
}

/// The machines of a run about one rule, and a client that repeats its case.
struct Scene {
    park: Park,
    client: SimulatedClient,
}

/// How often a node is asked until it accepts a key, and the interval.
const TRIES: u64 = 40;
const TRY_EVERY: Nanos = 20 * MS;

impl Scene {
    fn goes_on(&self) -> bool {
        self.park.sim.now() < CALM
    }

    fn key(&self) -> Option<HeldSecret> {
        chosen(&self.client)
    }

    /// Returns two different machines, chosen at random.
    fn two_machines(&self) -> (usize, usize) {
        let machines = self.park.machines().len();
        let first = self.park.sim.random(|random| random.place(machines));
        let second = self.park.sim.random(|random| random.place(machines.saturating_sub(1)));
        (first, if second >= first { second + 1 } else { second })
    }

    /// Returns a key that is valid: `here` has re-activated it, and `there` remembers it. `None` if that did not
    /// succeed.
    async fn ready(&self, here: usize, there: usize) -> Option<(Process, Process, HeldSecret)> {
        let (here, there) = (self.park.process(here)?, self.park.process(there)?);
        let key = self.key()?;
        self.client.reactivate(&here, &key).await;
        self.until_valid(&there, &key).await.then_some((here, there, key))
    }

    /// Verifies a key at a node until it is valid. Returns false after [`TRIES`].
    async fn until_valid(&self, process: &Process, key: &HeldSecret) -> bool {
        for _ in 0..TRIES {
            if self.client.verify(process, key).await == Some(VerifyOutcome::Valid) {
                return true;
            }
            self.park.sim.sleep(TRY_EVERY).await;
        }
        false
    }
}
