//! Rules R3 and R4: a node that had no lease gets one again, while it is asked about a key that was denied meanwhile, and
//! while a thread that has looked that key up before goes on.

use super::{Scene, spread};
use crate::executor::MS;

/// A machine is cut off for so long: longer than W by the slowest clock, so that what is changed meanwhile is effective
/// before the machine has heard of it.
const CUT_MS: (u64, u64) = (3_400, 4_600);
/// Within this time after that it polls again, and so long a thread may stand still.
const STILL_MS: u64 = 2_500;
const QUESTIONS: u64 = 48;

pub(crate) async fn slow_threads(scene: Scene) {
    while scene.goes_on() {
        let sim = scene.park.sim.clone();
        let (away, other) = scene.two_machines();
        let Some((here, there, key)) = scene.ready(other, away).await else {
            sim.sleep(100 * MS).await;
            continue;
        };
        let until = sim.now() + sim.range(CUT_MS.0, CUT_MS.1) * MS;
        scene.park.cut_off(away, until);
        scene.client.disable(&here, &key).await;
        let rest = until.saturating_sub(sim.now()) + STILL_MS * MS;
        for number in 0..QUESTIONS {
            let (client, there, key) = (scene.client.clone(), there.clone(), key.clone());
            let still = if number % 4 == 0 {
                sim.range(0, STILL_MS) * MS
            } else {
                0
            };
            spread(
                &sim,
                rest,
                async move { client.verify_slowly(&there, &key, still).await },
            );
        }
        sim.sleep(rest).await;
    }
}
