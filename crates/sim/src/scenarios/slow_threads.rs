//! Rules R3 and R4: a node without a lease gets one again while it verifies a key that was denied in between, and while
//! a thread that has looked the key up before continues.

use super::{Scene, spread};
use crate::executor::MS;

/// Time for which a machine is cut off: longer than W by the slowest clock, so that a change is effective before the
/// machine has polled it.
const CUT_MS: (u64, u64) = (3_400, 4_600);
/// Within this time after that it polls again; also the longest pause of a thread.
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
