//! Rule R18: unsynced commits are lost, and the server keeps its start time.

use super::{Scene, spread};
use crate::executor::MS;
use crate::park::Park;

/// Pause of a machine: longer than W by the slowest clock, so that it takes another for dead whose counts have not
/// changed.
const STILL_MS: (u64, u64) = (3_400, 4_200);
/// How long before the end of the pause the database loses its unsynced commits.
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
        // While a change waits for acknowledgements, the sessions are read repeatedly.
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

/// Keeps the disk up to date, except while it is slow on purpose.
pub(crate) async fn keep_up(park: Park) {
    loop {
        park.sim.sleep(park.sim.range(5 * MS, 60 * MS)).await;
        let until = park.database.weather().disk_is_slow_until;
        if park.sim.now() >= until {
            park.database.write_out();
        }
    }
}
