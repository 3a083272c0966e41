//! Rule R7: a standby takes over without the newest registrations, and sometimes without the newest changes.

use super::{Scene, put_back, spread};
use crate::executor::MS;

/// The machine that starts just before the failover.
const NEWCOMER: usize = 2;
/// After this long all machines have their leases again: W by the slowest clock, and some polls.
const SETTLED_MS: u64 = 4_500;
const QUESTIONS: u64 = 8;

pub(crate) async fn failover(scene: Scene) {
    let sim = scene.park.sim.clone();
    while scene.goes_on() {
        let Some((here, _, key)) = scene.ready(0, 1).await else {
            sim.sleep(100 * MS).await;
            continue;
        };
        scene.park.leave(NEWCOMER).await;
        sim.sleep(sim.range(10, 500) * MS).await;
        scene.park.database.keep_copy();
        scene.park.restart(NEWCOMER);
        let Some(newcomer) = scene.park.process(NEWCOMER) else {
            return;
        };
        if sim.percent(40)
            && let (Some(second), Some(other)) = (scene.park.process(1), scene.key().filter(|one| one.id != key.id))
        {
            scene.client.disable(&second, &other).await;
        }
        scene.until_valid(&newcomer, &key).await;
        let until = sim.now() + sim.range(1_500, 3_000) * MS;
        scene.park.cut_off(NEWCOMER, until);
        put_back(&scene.park, &scene.client.known);
        scene.client.disable(&here, &key).await;
        for _ in 0..QUESTIONS {
            let (client, newcomer, key) = (scene.client.clone(), newcomer.clone(), key.clone());
            spread(&sim, 400 * MS, async move { client.verify(&newcomer, &key).await });
        }
        sim.sleep(SETTLED_MS * MS + until.saturating_sub(sim.now())).await;
    }
}
