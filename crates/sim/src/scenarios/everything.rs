//! Pauses, kills, cuts, outages and crashes, and machines that start later.

use crate::executor::MS;
use crate::kind::RunKind;
use crate::park::Park;
use crate::run::CALM;

/// Pauses, kills, cuts and outages.
pub(crate) async fn misfortune(park: Park) {
    let sim = park.sim.clone();
    while sim.now() < CALM {
        sim.sleep(sim.range(100 * MS, 2_500 * MS)).await;
        let place = sim.random(|random| random.place(park.machines().len()));
        let until = sim.now() + sim.range(50 * MS, 5_000 * MS);
        if park.is_quiet {
            continue;
        }
        if sim.percent(25) {
            park.trouble_child(until);
            continue;
        }
        match sim.range(0, 100) {
            0..=34 => park.pause(place, until),
            35..=59 => {
                if let Some(machine) = park.machines().get_mut(place) {
                    machine.kill(&sim);
                }
                sim.sleep(sim.range(0, 800 * MS)).await;
                park.restart(place);
            }
            60..=84 => park.cut(place, until),
            85..=94 => {
                sim.note("database", format_args!("is away until {}", until / MS));
                park.database.weather().down_until = until;
                if sim.percent(50) {
                    park.database.crash();
                }
            }
            // A machine that starts before those that know what an older copy has lost does not know it either: nothing
            // is promised for that.
            _ if park.kind == RunKind::Everything && park.machines().len() < 5 => park.add(),
            _ => {}
        }
    }
    let machines = park.machines().len();
    for place in 0..machines {
        park.restart(place);
    }
}

/// Starts machines one after the other, while keys are used and changed.
pub(crate) async fn join(park: Park, machines: u64) {
    for _ in 0..machines {
        park.sim.sleep(park.sim.range(500 * MS, 4_000 * MS)).await;
        park.add();
    }
}
