//! One machine that stops repeatedly (rule R17).

use crate::executor::{MS, Nanos};
use crate::history::{FoundViolation, RunHistory};
use crate::kind::RunKind;
use crate::park::{Park, lock};
use crate::run::CALM;

/// After this many stops no change waits for the machine; a change then takes less than this time.
const STOPS: u32 = 3;
const QUICK: Nanos = 2_400 * MS;

/// Pauses one machine for longer than its lease, lets it run for a moment, and pauses it again. Nothing else happens.
pub(crate) async fn stutter(park: Park) {
    let sim = park.sim.clone();
    for stop in 0.. {
        if sim.now() >= CALM {
            break;
        }
        if stop == STOPS {
            *lock(&park.is_known_to_stutter) = sim.now();
        }
        let until = sim.now() + sim.range(2_300 * MS, 2_700 * MS);
        park.pause(0, until);
        sim.sleep(until.saturating_sub(sim.now()) + sim.range(500 * MS, 700 * MS))
            .await;
    }
}

/// Rule R17: returns changes that waited for a machine that was known to stop repeatedly.
pub(crate) fn waited_for_a_stutterer(park: &Park, history: &RunHistory) -> Vec<FoundViolation> {
    if park.kind != RunKind::Stutter {
        return Vec::new();
    }
    let after = *lock(&park.is_known_to_stutter);
    let stutterer = park.machines().first().and_then(|machine| machine.process.clone());
    stutterer
        .map(|process| history.waited_too_long(process.owner, after, QUICK))
        .unwrap_or_default()
}
