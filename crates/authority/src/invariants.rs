//! Checks what must always hold in this process, and counts violations ([`InvariantCounts`]). The checks themselves are
//! in `keyreeve_core::coherence::invariants`; none is on the path of a verification.

use crate::{Authority, Node, VerifierMemory};
use keyreeve_core::coherence::holder::Holder;
use keyreeve_core::coherence::invariants::InvariantCounts;
use std::sync::Arc;

impl VerifierMemory {
    /// Returns the violations of invariants since the start.
    pub fn invariants(&self) -> &Arc<InvariantCounts> {
        &self.invariants
    }

    /// Checks the floor of fills. Call on the thread that applies changes in order.
    fn check_floor(&self) {
        // Read first: another thread may raise the floors at any time, and never lowers them.
        let covered = self.applied();
        self.invariants.note(self.keys.check_floor(covered));
        self.invariants.note(self.root_keys.check_floor(covered));
    }
}

impl Authority {
    /// Checks downstream verifiers, the clock, and in a single process what verdicts cover. Call once a second.
    pub fn check_invariants(&self) {
        let counts = self.verifier.invariants();
        counts.note(self.children().check());
        counts.note(self.clock.check());
        // Among several nodes the thread that polls checks it.
        if self.verifier.lease().deadline().is_endless() {
            self.verifier.check_floor();
        }
    }

    /// Checks the bounds of the memory. Takes the lock of each part of it in turn. Call once a second.
    pub fn check_memory(&self) {
        let counts = self.verifier.invariants();
        counts.note(self.verifier.keys.check());
        counts.note(self.verifier.root_keys.check());
    }
}

impl Node {
    /// Checks the lease, the session and what verdicts cover. Call on the thread that polls, between two polls.
    pub fn check_invariants(&self) {
        let verifier = self.verifier();
        let (counts, lease) = (verifier.invariants(), verifier.lease());
        let holder = self.holder();
        if let Some(holder) = &holder {
            counts.note(holder.check(lease));
            counts.note(holder.check_covered(verifier.applied()));
        }
        counts.note(self.check_probation(holder.as_ref().map(Holder::session), lease));
        counts.note(self.check_wait());
        verifier.check_floor();
    }
}
