//! Tests the simulator: each rule is broken on purpose, and a violation of an invariant that it guards must be
//! detected.

use crate::kind::RunKind;
use crate::run::run;
use anyhow::bail;
use keyreeve_core::coherence::invariants::Invariant;
use keyreeve_core::coherence::rules::{Rule, break_rule};
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Returns the invariants that a rule guards. A violation of another one does not show that the rule is needed for its
/// purpose, and does not count.
fn guarded_by(rule: Rule) -> &'static [&'static str] {
    match rule {
        // An answer after the end of a lease is also an answer without a lease.
        Rule::LeaseFromSending | Rule::LeasesNest => &["I1", "I3"],
        Rule::NoLeaseNoAnswer => &["I3"],
        // An overtaken reading brings back what the same process has denied before.
        Rule::OvertakenFillsVoid => &["I1", "I4"],
        Rule::ASetAndNoMark | Rule::LeaseGivenBefore => &["L1"],
        Rule::OnlyOfTheirReach => &["L2"],
        Rule::OverdueEndsGrants => &["L1", "L3"],
        Rule::Probation => &["R17"],
        Rule::FloorOfTheSession => &["R19"],
        Rule::EmptyAtRegistration
        | Rule::RefusalEndsTheLease
        | Rule::ApplyBeforeExtending
        | Rule::AckAfterApplying
        | Rule::DeadlineBeforeLookUp
        | Rule::SessionsAfterCommit
        | Rule::WaitLongEnough
        | Rule::NoShortcutOnRepeat
        | Rule::BuryLate
        | Rule::ChildrenAreWaitedFor
        | Rule::HoldBeforeLookUp
        | Rule::LaterChangesJoin
        | Rule::HoldingBesideAcks
        | Rule::JudgedAtEveryMessage
        | Rule::SentAwayIsWaitedFor
        | Rule::HistoryFirst
        | Rule::DurableRenewals
        | Rule::OnlyTheWaitAfterALoss => &["I1"],
    }
}

/// The run in which a broken rule was detected.
#[derive(Clone)]
struct FoundMutant {
    seed: u64,
    invariant: &'static str,
    /// What the processes have noticed themselves.
    inside: Vec<&'static str>,
    kind: RunKind,
}

/// Breaks every rule in turn.
pub(crate) fn hunt(seeds: u64, only: &str) -> anyhow::Result<()> {
    let mut survivors = Vec::new();
    for rule in Rule::ALL.into_iter().filter(|rule| rule.name().contains(only)) {
        break_rule(Some(rule));
        let found = first_found(seeds, guarded_by(rule));
        break_rule(None);
        if let Some(found) = found {
            let FoundMutant {
                seed, invariant, kind, ..
            } = found;
            let inside: Vec<_> = found.inside.iter().map(|name| format!(", {name}")).collect();
            println!(
                "{:<28} found at seed {seed} ({invariant}, a run of {kind:?}{})",
                rule.name(),
                inside.concat()
            );
        } else {
            println!("{:<28} NOT FOUND within {seeds} seeds", rule.name());
            survivors.push(rule.name());
        }
    }
    if !survivors.is_empty() {
        bail!("nobody noticed that these were broken: {}", survivors.join(", "));
    }
    Ok(())
}

/// Returns the lowest seed that breaks one of some invariants. Runs on as many threads as there are processors.
fn first_found(seeds: u64, invariants: &[&str]) -> Option<FoundMutant> {
    let (next, found) = (AtomicU64::new(1), Mutex::new(None::<FoundMutant>));
    let lowest = || found.lock().unwrap_or_else(PoisonError::into_inner);
    let search = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed > seeds || lowest().as_ref().is_some_and(|lowest| lowest.seed < seed) {
            return;
        }
        let outcome = run(seed, false);
        let mut broken = outcome.violations.iter().map(|violation| violation.invariant);
        let shown = broken.find(|invariant| invariants.contains(invariant));
        let kind = outcome.kind;
        if let Some(invariant) = shown {
            let mut lowest = lowest();
            if lowest.as_ref().is_none_or(|other| seed < other.seed) {
                let inside = outcome.violations.iter().map(|violation| violation.invariant);
                let inside = inside.filter(|name| Invariant::ALL.iter().any(|one| one.name() == *name));
                *lowest = Some(FoundMutant {
                    seed,
                    invariant,
                    inside: inside.collect(),
                    kind,
                });
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(search);
        }
    });
    lowest().take()
}
