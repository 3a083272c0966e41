//! One machine that stops again and again (rule R17).

use crate::executor::{MS, Nanos};
use crate::history::{History, Violation};
use crate::kind::Kind;
use crate::park::{Park, lock};
use crate::run::CALM;

/// After so many stops nobody waits for a machine any more, and for how long a change then takes less.
const STOPS: u32 = 3;
const QUICK: Nanos = 2_400 * MS;

/// One machine stops for longer than its lease, runs for a moment, and stops again. Nothing else happens.
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

/// Rule R17: changes that waited for a machine that stops again and again, after it was known to.
pub(crate) fn waited_for_a_stutterer(park: &Park, history: &History) -> Vec<Violation> {
    if park.kind != Kind::Stutter {
        return Vec::new();
    }
    let after = *lock(&park.is_known_to_stutter);
    let stutterer = park.machines().first().and_then(|machine| machine.process.clone());
    stutterer
        .map(|process| history.waited_too_long(process.owner, after, QUICK))
        .unwrap_or_default()
}
