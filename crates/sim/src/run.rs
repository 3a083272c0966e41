//! Runs one seed: machines, clients and faults for some seconds of simulated time.

use crate::child::{Identity, Manner};
use crate::clients::SharedKnowledge;
use crate::database::Database;
use crate::executor::{MS, Nanos, Sim, TaskOwner};
use crate::history::{FoundViolation, Verification, VerifyOutcome};
use crate::invariants::look;
use crate::kind::RunKind;
use crate::node::Faults;
use crate::park::{Park, lock};
use crate::scenarios;
use crate::scenarios::stutter::waited_for_a_stutterer;
use keyreeve_core::access::Reach;
use keyreeve_core::text::Slug;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// No fault or request starts after this time, so that pending requests can be answered.
pub(crate) const CALM: Nanos = 16_000 * MS;

/// The result of a seed.
#[derive(Debug, Default)]
pub(crate) struct SeedOutcome {
    pub(crate) violations: Vec<FoundViolation>,
    pub(crate) trace: String,
    pub(crate) verifications: usize,
    pub(crate) changes: usize,
    pub(crate) valid: usize,
    pub(crate) steps: u64,
    pub(crate) kind: RunKind,
}

/// Runs a seed.
pub(crate) fn run(seed: u64, is_traced: bool) -> SeedOutcome {
    let sim = Sim::new(seed, is_traced);
    let kind = RunKind::of(seed, &sim);
    let park = Park {
        kind,
        is_known_to_stutter: Arc::new(Mutex::new(Nanos::MAX)),
        sim: sim.clone(),
        database: Database::new(sim.clone(), kind.lease_ms()),
        machines: Arc::default(),
        children: Arc::default(),
        faults: Faults::default(),
        is_quiet: kind == RunKind::ShortLeases || (kind == RunKind::Everything && sim.percent(30)),
        processes: Arc::default(),
        are_changes_over: Arc::default(),
    };
    let known = Arc::new(Mutex::new(SharedKnowledge::new(
        kind.lease_ms(),
        park.is_quiet.then(|| kind.answer_most()),
    )));
    // A node that starts alone has read no other session when others register.
    let joining = (kind == RunKind::Everything && !park.is_quiet && sim.percent(20)).then(|| sim.range(1, 4));
    for _ in 0..joining.map_or_else(|| kind.machines(&sim), |_| 1) {
        park.add();
    }
    let (Ok(first), Ok(second)) = (Slug::parse("default"), Slug::parse("other")) else {
        return SeedOutcome::default();
    };
    let tenants = [first, second];
    add_children(&park, &tenants);
    park.database.weather().is_calm = park.is_quiet || kind.is_focused();
    sim.note("world", format_args!("is about {kind:?}"));
    sim.spawn(
        TaskOwner::World,
        scenarios::live(park.clone(), Arc::clone(&known), tenants),
    );
    if let Some(joining) = joining {
        sim.spawn(TaskOwner::World, scenarios::everything::join(park.clone(), joining));
    }
    park.faults.counts.add(&park.faults.of_children);
    let mut step = 0;
    sim.run_until(kind.end(), || {
        step += 1;
        look(&park, step);
    });
    let history = lock(&known).history.clone();
    let mut violations = history.check(park.database.head());
    violations.extend(waited_for_a_stutterer(&park, &history));
    sim.end();
    let is_valid = |one: &&Verification| one.said == VerifyOutcome::Valid;
    violations.extend(faults_of_children(&park));
    violations.extend(park.faults.counts.violations());
    SeedOutcome {
        violations,
        trace: sim.trace(),
        verifications: history.verifications.len(),
        changes: history.changes.len(),
        valid: history.verifications.iter().filter(is_valid).count(),
        steps: sim.steps(),
        kind,
    }
}

/// Adds the children with which a run begins.
fn add_children(park: &Park, tenants: &[Slug; 2]) {
    let some = park.sim.range(0, 4);
    match park.kind {
        RunKind::Everything | RunKind::OlderCopy | RunKind::QuietAfter => {
            (0..some).for_each(|_| park.new_child(tenants));
        }
        RunKind::ShortLeases => (0..=some).for_each(|_| park.new_child(tenants)),
        RunKind::Meanwhile => (0..3).for_each(|_| {
            park.add_child(Identity {
                manner: Manner::Honest,
                reach: Reach::Instance,
                root_key: Arc::default(),
                lease_ms: None,
            });
        }),
        RunKind::Stutter | RunKind::SlowThreads | RunKind::Leaving | RunKind::SlowDisk | RunKind::Failover => {}
    }
}

/// Returns violations that were seen in children.
fn faults_of_children(park: &Park) -> Vec<FoundViolation> {
    let (wrong, stays) = (&park.faults.told_wrong, &park.faults.overdue_stays);
    let faults = [
        ("L2", wrong, "a child was told of a tenant that it does not reach"),
        ("L3", stays, "a child stays with an order that it does not acknowledge"),
    ];
    let seen = faults.into_iter().filter(|(_, fault, _)| fault.load(Ordering::Relaxed));
    let violation = |(invariant, _, what): (_, _, &str)| FoundViolation {
        invariant,
        verification: what.to_owned(),
    };
    seen.map(violation).collect()
}
