//! `docs/design/protocol.md`, section 2.5: children look a key up at the moment at which it is changed.

use super::{Scene, spread, verify_everywhere};
use crate::executor::{MS, Nanos};

/// Verifications and the change happen within this time. No other client verifies, because a child does not ask its
/// node about a key that it remembers.
const MOMENT: Nanos = 40 * MS;

pub(crate) async fn meanwhile(scene: Scene) {
    let sim = scene.park.sim.clone();
    while scene.goes_on() {
        sim.sleep(sim.range(10, 300) * MS).await;
        let (Some(process), Some(key)) = (scene.park.any(), scene.key()) else {
            continue;
        };
        // The change makes the children forget the key.
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
