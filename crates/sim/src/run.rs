//! One seed: machines, clients and bad luck for some seconds of simulated time.

use crate::child::ChildProcess;
use crate::clients::{Client, Held, Known};
use crate::database::{Cut, Database};
use crate::executor::{MS, Nanos, Owner, Sim};
use crate::history::Violation;
use crate::node::{Machine, Process};
use keyreeve_core::text::Slug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long a run lasts.
const RUN: Nanos = 24_000 * MS;
/// From here on nothing new is begun, so that what is under way can be answered.
const CALM: Nanos = 16_000 * MS;
const CLIENTS: u64 = 5;

/// What came of a seed.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) violations: Vec<Violation>,
    pub(crate) trace: String,
    pub(crate) verifications: usize,
    pub(crate) changes: usize,
    pub(crate) valid: usize,
    pub(crate) steps: u64,
}

/// All machines of a run.
#[derive(Clone)]
struct Park {
    sim: Sim,
    database: Database,
    machines: Arc<Mutex<Vec<Machine>>>,
    children: Arc<Mutex<Vec<ChildProcess>>>,
    processes: Arc<Mutex<u32>>,
}

impl Park {
    fn machines(&self) -> MutexGuard<'_, Vec<Machine>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn process_number(&self) -> u32 {
        let mut last = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        *last += 1;
        *last
    }

    fn add(&self) {
        let mut machine = Machine::new(&self.database, u64::try_from(self.machines().len()).unwrap_or(0) + 1);
        machine.start(&self.database, self.process_number());
        self.machines().push(machine);
    }

    fn children(&self) -> MutexGuard<'_, Vec<ChildProcess>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_child(&self) {
        let park = self.clone();
        let child = ChildProcess::start(&self.database, self.process_number(), move || park.any());
        self.children().push(child);
    }

    /// A child that luck names.
    fn any_child(&self) -> Option<ChildProcess> {
        let children = self.children();
        let place = self.sim.random(|random| random.place(children.len()));
        children.get(place).cloned()
    }

    /// A process that runs now, if the one that luck names does.
    fn any(&self) -> Option<Process> {
        let machines = self.machines();
        let place = self.sim.random(|random| random.place(machines.len()));
        machines.get(place)?.process.clone()
    }

    fn restart(&self, place: usize) {
        let number = self.process_number();
        if let Some(machine) = self.machines().get_mut(place)
            && machine.process.is_none()
        {
            machine.start(&self.database, number);
        }
    }
}

/// Runs a seed.
pub(crate) fn run(seed: u64, is_traced: bool) -> Outcome {
    let sim = Sim::new(seed, is_traced);
    let database = Database::new(sim.clone());
    let park = Park {
        sim: sim.clone(),
        database,
        machines: Arc::default(),
        children: Arc::default(),
        processes: Arc::default(),
    };
    let known = Arc::new(Mutex::new(Known::default()));
    for _ in 0..sim.range(2, 5) {
        park.add();
    }
    for _ in 0..sim.range(0, 3) {
        park.add_child();
    }
    sim.spawn(Owner::World, live(park.clone(), Arc::clone(&known)));
    sim.run_until(RUN);
    let history = known.lock().unwrap_or_else(PoisonError::into_inner).history.clone();
    sim.end();
    let is_valid = |one: &&crate::history::Verification| one.said == crate::history::Said::Valid;
    Outcome {
        violations: history.check(park.database.head()),
        trace: sim.trace(),
        verifications: history.verifications.len(),
        changes: history.changes.len(),
        valid: history.verifications.iter().filter(is_valid).count(),
        steps: sim.steps(),
    }
}

/// Founds the instance, then lets clients and bad luck loose.
async fn live(park: Park, known: Arc<Mutex<Known>>) {
    let Ok(tenant) = Slug::parse("default") else { return };
    let client = Client {
        sim: park.sim.clone(),
        known,
        tenant,
    };
    let founder = park.any();
    if let Some(process) = founder {
        // At the beginning nothing is lost on purpose; should an answer be all the same, the run is an empty one.
        drop(process.authority.found().await);
        for _ in 0..2 {
            client.make_user(&process).await;
        }
        for _ in 0..4 {
            client.issue(&process).await;
        }
    }
    for _ in 0..CLIENTS {
        park.sim.spawn(Owner::World, verify(park.clone(), client.clone()));
    }
    for _ in 0..2 {
        park.sim.spawn(Owner::World, manage(park.clone(), client.clone()));
    }
    let sim = park.sim.clone();
    sim.spawn(Owner::World, misfortune(park));
}

fn chosen(client: &Client) -> Option<Held> {
    let known = client.known();
    let place = client.sim.random(|random| random.place(known.keys.len()));
    known.keys.get(place).cloned()
}

async fn verify(park: Park, client: Client) {
    while park.sim.now() < CALM {
        park.sim.sleep(park.sim.range(MS, 60 * MS)).await;
        let Some(key) = chosen(&client) else { continue };
        match (park.any_child().filter(|_| park.sim.percent(40)), park.any()) {
            (Some(child), _) => client.verify_inside(&child, &key).await,
            (None, Some(process)) => client.verify(&process, &key).await,
            (None, None) => {}
        }
    }
}

async fn manage(park: Park, client: Client) {
    while park.sim.now() < CALM {
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
            94..=95 => client.set_tenant(&process, false).await,
            _ => client.set_tenant(&process, true).await,
        }
        // What was just changed is asked about at once, everywhere.
        let machines: Vec<_> = park
            .machines()
            .iter()
            .filter_map(|machine| machine.process.clone())
            .collect();
        for process in machines {
            client.verify(&process, &key).await;
        }
        let children = park.children().clone();
        for child in children {
            client.verify_inside(&child, &key).await;
        }
    }
}

/// Pauses, kills, cuts and outages.
async fn misfortune(park: Park) {
    let sim = park.sim.clone();
    while sim.now() < CALM {
        sim.sleep(sim.range(100 * MS, 2_500 * MS)).await;
        let place = sim.random(|random| random.place(park.machines().len()));
        let until = sim.now() + sim.range(50 * MS, 5_000 * MS);
        if sim.percent(25) {
            trouble_child(&park, until);
            continue;
        }
        match sim.range(0, 100) {
            0..=34 => pause(&park, place, until),
            35..=59 => {
                if let Some(machine) = park.machines().get_mut(place) {
                    machine.kill(&sim);
                }
                sim.sleep(sim.range(0, 800 * MS)).await;
                park.restart(place);
            }
            60..=84 => cut(&park, place, until),
            85..=94 => {
                sim.note("database", format_args!("is away until {}", until / MS));
                park.database.weather().down_until = until;
            }
            _ if park.machines().len() < 5 => park.add(),
            _ => {}
        }
    }
    let machines = park.machines().len();
    for place in 0..machines {
        park.restart(place);
    }
}

/// A child is paused, cut off from its node, or killed and another one started.
fn trouble_child(park: &Park, until: Nanos) {
    let Some(child) = park.any_child() else { return };
    match park.sim.range(0, 3) {
        0 => park.sim.pause(child.owner, until),
        1 => child.cut(until),
        _ => {
            park.sim.kill(child.owner);
            park.children().retain(|other| other.owner != child.owner);
            park.add_child();
        }
    }
    park.sim.note(
        "world",
        format_args!("child {:?} has trouble until {}", child.owner, until / MS),
    );
}

fn pause(park: &Park, place: usize, until: Nanos) {
    if let Some(process) = park.machines().get(place).and_then(|machine| machine.process.clone()) {
        park.sim
            .note("world", format_args!("machine {place} stops until {}", until / MS));
        park.sim.pause(process.owner, until);
    }
}

fn cut(park: &Park, place: usize, until: Nanos) {
    let which = park.sim.range(0, 3);
    if let Some(process) = park.machines().get(place).and_then(|machine| machine.process.clone()) {
        park.sim.note(
            "world",
            format_args!("machine {place} is cut off ({which}) until {}", until / MS),
        );
        let cut = Cut {
            out: if which == 1 { 0 } else { until },
            back: if which == 0 { 0 } else { until },
        };
        *process.wire.cut.lock().unwrap_or_else(PoisonError::into_inner) = cut;
    }
}
