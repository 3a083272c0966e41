//! Section 2.5: children ask about a key at the moment at which it is changed.

use super::{Scene, spread, verify_everywhere};
use crate::executor::{MS, Nanos};

/// Questions and the change come within this time. Nobody else asks: what a child knows already, it does not ask about.
const MOMENT: Nanos = 40 * MS;

pub(crate) async fn meanwhile(scene: Scene) {
    let sim = scene.park.sim.clone();
    while scene.goes_on() {
        sim.sleep(sim.range(10, 300) * MS).await;
        let (Some(process), Some(key)) = (scene.park.any(), scene.key()) else {
            continue;
        };
        // What the children have of it, they forget.
        scene.client.reactivate(&process, &key).await;
        let children = scene.park.children().clone();
        for child in children {
            let (client, key) = (scene.client.clone(), key.clone());
            spread(&sim, MOMENT, async move { client.verify_inside(&child, &key).await });
        }
        sim.sleep(sim.range(0, MOMENT)).await;
        scene.client.disable(&process, &key).await;
        verify_everywhere(&scene.park, &scene.client, &key).await;
    }
}
