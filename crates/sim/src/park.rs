//! All machines and children of a run, and the faults that can be applied to them.

use crate::child::{ChildProcess, Identity, Manner};
use crate::database::{Cut, Database};
use crate::executor::{MS, Nanos, Sim};
use crate::kind::RunKind;
use crate::node::{Faults, Machine, Process};
use keyreeve_core::access::Reach;
use keyreeve_core::text::Slug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Maximum time for a process to leave.
const LEAVING: Nanos = 2_000 * MS;

/// All machines and children of a run.
#[derive(Clone)]
pub(crate) struct Park {
    pub(crate) kind: RunKind,
    /// When the machine that stops repeatedly had done so often enough for R17.
    pub(crate) is_known_to_stutter: Arc<Mutex<Nanos>>,
    pub(crate) sim: Sim,
    pub(crate) database: Database,
    pub(crate) machines: Arc<Mutex<Vec<Machine>>>,
    pub(crate) children: Arc<Mutex<Vec<ChildProcess>>>,
    pub(crate) faults: Faults,
    /// No fault occurs except those of the first tenant's children.
    pub(crate) is_quiet: bool,
    pub(crate) processes: Arc<Mutex<u32>>,
    /// No change is made any more.
    pub(crate) are_changes_over: Arc<AtomicBool>,
}

impl Park {
    pub(crate) fn machines(&self) -> MutexGuard<'_, Vec<Machine>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a number that no process had before.
    pub(crate) fn process_number(&self) -> u32 {
        let mut last = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        *last += 1;
        *last
    }

    /// Adds a machine, which starts at once.
    pub(crate) fn add(&self) {
        let mut machine = Machine::new(&self.database, u64::try_from(self.machines().len()).unwrap_or(0) + 1);
        machine.start(&self.database, self.process_number(), &self.faults);
        self.machines().push(machine);
    }

    pub(crate) fn children(&self) -> MutexGuard<'_, Vec<ChildProcess>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add_child(&self, identity: Identity) {
        let park = self.clone();
        let told_wrong = Arc::clone(&self.faults.told_wrong);
        let number = self.process_number();
        let child = ChildProcess::start(&self.database, number, identity, told_wrong, move || park.any());
        self.children().push(child);
    }

    /// Adds a child with a random tenant and manner.
    pub(crate) fn new_child(&self, tenants: &[Slug; 2]) {
        let [first, second] = tenants.clone();
        let late = self.sim.range(2_050, 5_000) * MS;
        let manner = match self.sim.range(0, 10) {
            0..=3 => Manner::Honest,
            4 => Manner::NeverSaysSo,
            5 => Manner::SaysSoLate(late),
            6 => Manner::IsSlow(late),
            7 => Manner::Hangs,
            _ => Manner::Stays,
        };
        let reach = match self.sim.range(0, 4) {
            0 if !self.is_quiet || manner == Manner::Honest => Reach::Instance,
            1 if !self.is_quiet || manner == Manner::Honest => Reach::Tenant(second),
            _ => Reach::Tenant(first),
        };
        self.add_child(Identity {
            manner,
            reach,
            root_key: Arc::default(),
            lease_ms: self.kind.child_lease_ms(),
        });
    }

    /// Returns a random child.
    pub(crate) fn any_child(&self) -> Option<ChildProcess> {
        let children = self.children();
        let place = self.sim.random(|random| random.place(children.len()));
        children.get(place).cloned()
    }

    /// Returns the process of a random machine, if it runs.
    pub(crate) fn any(&self) -> Option<Process> {
        let machines = self.machines();
        let place = self.sim.random(|random| random.place(machines.len()));
        machines.get(place)?.process.clone()
    }

    /// Starts a machine that does not run.
    pub(crate) fn restart(&self, place: usize) {
        let number = self.process_number();
        if let Some(machine) = self.machines().get_mut(place)
            && machine.process.is_none()
        {
            machine.start(&self.database, number, &self.faults);
        }
    }

    /// Returns the process on a machine, if it runs.
    pub(crate) fn process(&self, place: usize) -> Option<Process> {
        self.machines().get(place)?.process.clone()
    }

    /// Ends a process after it has handed its lease back, so that no change waits for it.
    pub(crate) async fn leave(&self, place: usize) {
        let Some(process) = self.process(place) else { return };
        process.leaving.is_asked.store(true, Ordering::Relaxed);
        let asked = self.sim.now();
        while !process.leaving.is_done.load(Ordering::Relaxed) && self.sim.now() < asked + LEAVING {
            self.sim.sleep(10 * MS).await;
        }
        if let Some(machine) = self.machines().get_mut(place) {
            machine.kill(&self.sim);
        }
    }

    /// Pauses a child, cuts its connection, or kills and replaces it.
    pub(crate) fn trouble_child(&self, until: Nanos) {
        let Some(child) = self.any_child() else { return };
        match self.sim.range(0, 3) {
            0 => self.sim.pause(child.owner, until),
            1 => child.cut(until),
            _ => {
                self.sim.kill(child.owner);
                self.children().retain(|other| other.owner != child.owner);
                self.add_child(child.identity.clone());
            }
        }
        self.sim.note(
            "world",
            format_args!("child {:?} has trouble until {}", child.owner, until / MS),
        );
    }

    /// Pauses a machine until a time.
    pub(crate) fn pause(&self, place: usize, until: Nanos) {
        if let Some(process) = self.process(place) {
            self.sim
                .note("world", format_args!("machine {place} stops until {}", until / MS));
            self.sim.pause(process.owner, until);
        }
    }

    /// Cuts a machine off from the database until a time, in one direction or both.
    pub(crate) fn cut(&self, place: usize, until: Nanos) {
        let which = self.sim.range(0, 3);
        if let Some(process) = self.process(place) {
            self.sim.note(
                "world",
                format_args!("machine {place} is cut off ({which}) until {}", until / MS),
            );
            let cut = Cut {
                out: if which == 1 { 0 } else { until },
                back: if which == 0 { 0 } else { until },
            };
            *lock(&process.wire.cut) = cut;
        }
    }

    /// Cuts a machine off from the database in both directions.
    pub(crate) fn cut_off(&self, place: usize, until: Nanos) {
        if let Some(process) = self.process(place) {
            self.sim
                .note("world", format_args!("machine {place} is cut off until {}", until / MS));
            *lock(&process.wire.cut) = Cut {
                out: until,
                back: until,
            };
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
