//! Checks after every step what must always hold inside each process: the checks that a debug build asserts and a
//! server counts.

use crate::history::FoundViolation;
use crate::park::{Park, lock};
use keyreeve_core::coherence::invariants::InvariantCounts;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// The bounds of memories are checked once in this many steps: they need the locks of all of its parts.
const MEMORY_EVERY: u64 = 1_000;

/// The violations of all processes of a run, also of those that were killed. The counts alone are kept: a process that
/// was killed must be dropped, so that its connections end.
#[derive(Clone, Default)]
pub(crate) struct Counts(Arc<Mutex<Vec<Arc<InvariantCounts>>>>);

impl Counts {
    /// Adds a process.
    pub(crate) fn add(&self, counts: &Arc<InvariantCounts>) {
        lock(&self.0).push(Arc::clone(counts));
    }

    /// Returns one violation of each invariant that was violated.
    pub(crate) fn violations(&self) -> Vec<FoundViolation> {
        let mut found = BTreeMap::new();
        for counts in &*lock(&self.0) {
            for (invariant, _, newest) in counts.read() {
                if let Some(violation) = newest {
                    found.entry(invariant).or_insert(violation);
                }
            }
        }
        let all = found.into_iter().map(|(invariant, violation)| FoundViolation {
            invariant: invariant.name(),
            verification: violation.to_string(),
        });
        all.collect()
    }
}

/// Checks every process that runs.
pub(crate) fn look(park: &Park, step: u64) {
    for process in park.machines().iter().filter_map(|machine| machine.process.as_ref()) {
        process.authority.check_invariants();
        if let Some(node) = process.authority.node() {
            node.check_invariants();
        }
        if step.is_multiple_of(MEMORY_EVERY) {
            process.authority.check_memory();
        }
    }
    for child in &*park.children() {
        park.faults.of_children.note(child.check());
    }
}
