//! Rule R18: what did not wait for the disk is lost, and the server's start is the same as before.

use super::{Scene, spread};
use crate::executor::MS;
use crate::park::Park;

/// A machine stands still for so long: longer than W by the slowest clock, so that it takes another for dead whose count
/// is what it was.
const STILL_MS: (u64, u64) = (3_400, 4_200);
/// So long before it goes on, the database loses what is not on its disk.
const BEFORE_MS: u64 = 150;
const QUESTIONS: u64 = 4;

pub(crate) async fn slow_disk(scene: Scene) {
    let sim = scene.park.sim.clone();
    while scene.goes_on() {
        let (watched, watcher) = scene.two_machines();
        let Some((here, there, key)) = scene.ready(watcher, watched).await else {
            sim.sleep(100 * MS).await;
            continue;
        };
        // While a change waits for acknowledgements, the sessions are read again and again.
        if let Some(other) = scene.key().filter(|other| other.id != key.id) {
            let (client, here) = (scene.client.clone(), here.clone());
            spread(&sim, MS, async move { client.disable(&here, &other).await });
        }
        sim.sleep(sim.range(5, 80) * MS).await;
        let until = sim.now() + sim.range(STILL_MS.0, STILL_MS.1) * MS;
        scene.park.database.weather().disk_is_slow_until = until;
        scene.park.pause(watcher, until);
        let loss = until.saturating_sub(sim.range(0, BEFORE_MS) * MS);
        sim.sleep(loss.saturating_sub(sim.now())).await;
        scene.park.database.lose_unwritten();
        sim.sleep(until.saturating_sub(sim.now()) + sim.range(1, 60) * MS).await;
        scene.client.disable(&here, &key).await;
        for _ in 0..QUESTIONS {
            let (client, there, key) = (scene.client.clone(), there.clone(), key.clone());
            spread(&sim, 20 * MS, async move { client.verify(&there, &key).await });
        }
        sim.sleep(sim.range(300, 1_500) * MS).await;
    }
}

/// The disk keeps up but for the time in which it is slow on purpose.
pub(crate) async fn keep_up(park: Park) {
    loop {
        park.sim.sleep(park.sim.range(5 * MS, 60 * MS)).await;
        let until = park.database.weather().disk_is_slow_until;
        if park.sim.now() >= until {
            park.database.write_out();
        }
    }
}
