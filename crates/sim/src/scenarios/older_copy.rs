//! An older copy of the database replaces it.

use super::{chosen, put_back};
use crate::clients::{SharedKnowledge, SimulatedClient};
use crate::executor::{MS, Nanos};
use crate::park::Park;
use keyreeve_authority::Node;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// When all processes must answer again.
const BACK: Nanos = 40_000 * MS;
/// For this long before that, no message is lost or late: several leases.
const SETTLING: Nanos = 8_000 * MS;

/// Replaces the database by a copy that was made earlier: while nodes run, or while all of them are stopped.
pub(crate) async fn older_copy(park: Park, known: Arc<Mutex<SharedKnowledge>>) {
    let sim = &park.sim;
    sim.sleep(sim.range(1_000 * MS, 6_000 * MS)).await;
    park.database.keep_copy();
    sim.sleep(sim.range(500 * MS, 6_000 * MS)).await;
    let are_stopped = sim.percent(30);
    if are_stopped {
        // What a client was just answered is in the notes, within the time that a real node takes to write them.
        let answered = sim.now();
        park.database.weather().down_until = answered + 10 * MS;
        sim.sleep(10 * MS).await;
        park.machines().iter_mut().for_each(|machine| machine.kill(sim));
    }
    put_back(&park, &known);
    if are_stopped {
        let machines = park.machines().len();
        for place in 0..machines {
            sim.sleep(sim.range(0, 1_500 * MS)).await;
            park.restart(place);
        }
    }
}

/// An older copy comes while nodes run, and has lost many changes. After that nothing is changed: only what the nodes
/// write again restores it.
pub(crate) async fn quiet_after(park: Park, known: Arc<Mutex<SharedKnowledge>>) {
    let sim = &park.sim;
    sim.sleep(sim.range(1_000 * MS, 3_000 * MS)).await;
    park.database.keep_copy();
    sim.sleep(sim.range(6_000 * MS, 10_000 * MS)).await;
    park.are_changes_over.store(true, Ordering::Relaxed);
    put_back(&park, &known);
}

/// Checks that every process answers when there was no fault for long.
pub(crate) async fn all_are_back(park: Park, client: SimulatedClient) {
    park.sim.sleep(BACK - SETTLING).await;
    // One lost answer costs most of a lease, and a process that has none for a moment must not count as silent.
    park.database.weather().is_calm = true;
    park.sim.sleep(SETTLING).await;
    let machines: Vec<_> = park.machines().iter().filter_map(|one| one.process.clone()).collect();
    for process in machines {
        // One that was killed repeatedly, or lost leases, may still be on probation: its time begins again with each lost
        // answer before the calm (rule R17).
        let is_on_probation = |node: &Arc<Node>| node.health().is_on_probation;
        if process.authority.node().is_some_and(is_on_probation) {
            continue;
        }
        let mut answers = false;
        for _ in 0..8 {
            let Some(key) = chosen(&client) else { return };
            answers = answers || client.answers(&process, &key).await;
        }
        if !answers {
            client.known().history.silent.push(process.owner);
        }
    }
}
