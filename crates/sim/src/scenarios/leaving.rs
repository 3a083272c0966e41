//! Rule R7: a node that was alone when it last read the sessions learns late that its commit was made.

use super::{Scene, spread};
use crate::executor::MS;

/// How much longer than others the answer to a change may take: about the interval between two polls.
pub(crate) const SLOW_ANSWER_MS: u64 = 400;
const QUESTIONS: u64 = 4;

pub(crate) async fn leaving(scene: Scene) {
    let sim = scene.park.sim.clone();
    scene.park.database.weather().slow_answer = SLOW_ANSWER_MS * MS;
    while scene.goes_on() {
        scene.park.leave(1).await;
        let (Some(key), Some(alone)) = (scene.key(), scene.park.process(0)) else {
            sim.sleep(100 * MS).await;
            continue;
        };
        // The sessions that it reads for this are what it knows of others until the next change.
        scene.client.reactivate(&alone, &key).await;
        scene.park.restart(1);
        let Some(newcomer) = scene.park.process(1) else {
            continue;
        };
        sim.sleep(sim.range(5, 400) * MS).await;
        scene.until_valid(&newcomer, &key).await;
        scene.client.disable(&alone, &key).await;
        for _ in 0..QUESTIONS {
            let (client, newcomer, key) = (scene.client.clone(), newcomer.clone(), key.clone());
            spread(&sim, 30 * MS, async move { client.verify(&newcomer, &key).await });
        }
        sim.sleep(sim.range(50, 600) * MS).await;
    }
    scene.park.database.weather().slow_answer = 0;
}
