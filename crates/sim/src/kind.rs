//! The kind of a run: everything at once, or repeatedly the one case that a rule guards.

use crate::executor::{MS, Nanos, Sim};
use crate::node::LEASE_MS;

/// Duration of a run, and of one in which an older copy replaces the database.
const RUN: Nanos = 24_000 * MS;
const LONG_RUN: Nanos = 44_000 * MS;
/// One in this many seeds is for a run about one rule.
const FOCUSED_PART: u64 = 3;
/// Clients that verify keys.
const CLIENTS: u64 = 5;
/// The lease that children request in runs with short ones, in milliseconds, and the node's lease then. It is much
/// longer, so that the duration of a change shows which of the two leases it waited for.
const SHORT_LEASE_MS: u64 = 1_000;
const LONG_LEASE_MS: u64 = 6_000;
/// Time for one poll of each node, with messages in transit.
const ROUND: Nanos = 1_600 * MS;

/// The faults of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum RunKind {
    /// Pauses, kills, cuts, outages and crashes.
    #[default]
    Everything,
    /// The same, and an older copy that replaces the database.
    OlderCopy,
    /// One machine that stops repeatedly.
    Stutter,
    /// Nodes verify, on threads that lose the processor too, while they lose their lease and get one again (rules R3
    /// and R4).
    SlowThreads,
    /// A node leaves and comes back, and nodes learn late that their commit was made (rule R7).
    Leaving,
    /// Children look a key up at the moment at which it is changed (protocol.md, section 2.5).
    Meanwhile,
    /// The database's disk is slow, and its server loses unsynced commits without a restart (rule R18).
    SlowDisk,
    /// A failover loses the newest registrations, and sometimes changes (rule R7).
    Failover,
    /// An older copy comes, and nothing is changed after that (rule R19).
    QuietAfter,
    /// Children request leases that are shorter than their node's (rule R13).
    ShortLeases,
}

impl RunKind {
    const FOCUSED: [Self; 7] = [
        Self::SlowThreads,
        Self::Leaving,
        Self::Meanwhile,
        Self::SlowDisk,
        Self::Failover,
        Self::QuietAfter,
        Self::ShortLeases,
    ];

    /// Returns the kind of a seed's run.
    pub(crate) fn of(seed: u64, sim: &Sim) -> Self {
        let luck = sim.range(0, 10);
        if seed.is_multiple_of(FOCUSED_PART) {
            let count = u64::try_from(Self::FOCUSED.len()).unwrap_or(1);
            let place = usize::try_from(seed / FOCUSED_PART % count).unwrap_or(0);
            return Self::FOCUSED.get(place).copied().unwrap_or(Self::Everything);
        }
        match luck {
            0..=6 => Self::Everything,
            7..=8 => Self::OlderCopy,
            _ => Self::Stutter,
        }
    }

    /// Returns when the run ends.
    pub(crate) fn end(self) -> Nanos {
        match self {
            Self::OlderCopy | Self::QuietAfter => LONG_RUN,
            _ => RUN,
        }
    }

    /// Whether the run is about one rule: messages are fast and arrive, except for the faults of its case.
    pub(crate) fn is_focused(self) -> bool {
        !matches!(self, Self::Everything | Self::OlderCopy)
    }

    /// Whether clients change keys at any time, independently of the case.
    pub(crate) fn has_managers(self) -> bool {
        !matches!(
            self,
            Self::SlowThreads | Self::Leaving | Self::Meanwhile | Self::SlowDisk | Self::Failover
        )
    }

    /// Returns how many clients verify keys at any time.
    pub(crate) fn clients(self) -> u64 {
        match self {
            // A child asks its node only for keys that it does not remember.
            Self::Meanwhile => 0,
            _ => CLIENTS,
        }
    }

    /// Returns how many machines the run begins with.
    pub(crate) fn machines(self, sim: &Sim) -> u64 {
        match self {
            Self::Leaving | Self::Meanwhile => 2,
            Self::SlowThreads | Self::SlowDisk | Self::Failover => 3,
            Self::Everything | Self::OlderCopy | Self::Stutter | Self::QuietAfter | Self::ShortLeases => {
                sim.range(2, 5)
            }
        }
    }

    /// Returns a node's lease, in milliseconds.
    pub(crate) fn lease_ms(self) -> u64 {
        match self {
            Self::ShortLeases => LONG_LEASE_MS,
            _ => LEASE_MS,
        }
    }

    /// Returns the lease that children request, in milliseconds; `None` requests the longest.
    pub(crate) fn child_lease_ms(self) -> Option<u64> {
        (self == Self::ShortLeases).then_some(SHORT_LEASE_MS)
    }

    /// Returns how long an answer may take if only children can delay it, for each tenant. With faulty children it is W
    /// of their lease by the slowest clock, plus polls; without any it is polls alone. A lease as short as a node's
    /// usually is here allows no tighter bound: W passes before a node has polled a change, the lease of its child has
    /// ended, and the other nodes have polled that.
    pub(crate) fn answer_most(self) -> [Nanos; 2] {
        let lease_ms = self.child_lease_ms().unwrap_or(LEASE_MS);
        [lease_ms * MS * 5 / 4 * 11 / 10 + 500 * MS + ROUND, ROUND]
    }
}
