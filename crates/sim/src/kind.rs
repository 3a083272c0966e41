//! What a run is about: everything at once, or the one thing that a rule guards, again and again.

use crate::executor::{MS, Nanos, Sim};
use crate::node::LEASE_MS;

/// How long a run lasts, and one in which the database comes back older.
const RUN: Nanos = 24_000 * MS;
const LONG_RUN: Nanos = 44_000 * MS;
/// One seed in so many is for a run about one thing.
const FOCUSED_PART: u64 = 3;
/// Clients that ask about keys.
const CLIENTS: u64 = 5;
/// What children ask for where theirs are short, in milliseconds, and how long a node's lease is then: much longer, so
/// that the time which a change waits tells whose lease it waited for.
const SHORT_LEASE_MS: u64 = 1_000;
const LONG_LEASE_MS: u64 = 6_000;
/// Polls of all nodes and messages on their way.
const ROUND: Nanos = 1_600 * MS;

/// What goes wrong in a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Kind {
    /// Pauses, kills, cuts, outages and crashes.
    #[default]
    Everything,
    /// The same, and an older copy of the database in its place.
    OlderCopy,
    /// One machine that stops again and again.
    Stutter,
    /// Nodes are asked, by threads that lose the processor too, while they are without a lease and get one again (rules R3
    /// and R4).
    SlowThreads,
    /// A node leaves and comes back, and nodes hear late that their commit was made (rule R7).
    Leaving,
    /// Children ask about a key at the moment at which it is changed (section 2.5).
    Meanwhile,
    /// The database's disk is slow, and its server loses what is not on it without a restart (rule R18).
    SlowDisk,
    /// A failover loses the newest registrations, and sometimes changes (rule R7).
    Failover,
    /// An older copy comes, and nothing is changed any more after that (rule R19).
    QuietAfter,
    /// Children ask for leases that are shorter than their node's (rule R13).
    ShortLeases,
}

impl Kind {
    const FOCUSED: [Self; 7] = [
        Self::SlowThreads,
        Self::Leaving,
        Self::Meanwhile,
        Self::SlowDisk,
        Self::Failover,
        Self::QuietAfter,
        Self::ShortLeases,
    ];

    /// The kind of a seed's run.
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

    /// When it ends.
    pub(crate) fn end(self) -> Nanos {
        match self {
            Self::OlderCopy | Self::QuietAfter => LONG_RUN,
            _ => RUN,
        }
    }

    /// Whether it is about one thing only: messages are quick and arrive, but for what the run does on purpose.
    pub(crate) fn is_focused(self) -> bool {
        !matches!(self, Self::Everything | Self::OlderCopy)
    }

    /// Whether keys are changed at any time by clients that know of nothing else.
    pub(crate) fn has_managers(self) -> bool {
        !matches!(
            self,
            Self::SlowThreads | Self::Leaving | Self::Meanwhile | Self::SlowDisk | Self::Failover
        )
    }

    /// How many clients ask about keys at any time.
    pub(crate) fn clients(self) -> u64 {
        match self {
            // A child asks its node only about what it does not know yet.
            Self::Meanwhile => 0,
            _ => CLIENTS,
        }
    }

    /// With how many machines it begins.
    pub(crate) fn machines(self, sim: &Sim) -> u64 {
        match self {
            Self::Leaving | Self::Meanwhile => 2,
            Self::SlowThreads | Self::SlowDisk | Self::Failover => 3,
            Self::Everything | Self::OlderCopy | Self::Stutter | Self::QuietAfter | Self::ShortLeases => {
                sim.range(2, 5)
            }
        }
    }

    /// How long a node's lease lasts, in milliseconds.
    pub(crate) fn lease_ms(self) -> u64 {
        match self {
            Self::ShortLeases => LONG_LEASE_MS,
            _ => LEASE_MS,
        }
    }

    /// What children ask for, in milliseconds; `None` is as much as there is.
    pub(crate) fn child_lease_ms(self) -> Option<u64> {
        (self == Self::ShortLeases).then_some(SHORT_LEASE_MS)
    }

    /// How long an answer may take where nothing but children can hold it up: about a tenant with strange children W by
    /// the slowest clock, of the lease that they have, and where none is, no longer than polls take. With leases as short
    /// as a node's mostly are here, W is over before a node has heard of a change by a poll, the lease that its child had
    /// is over, and the others have heard that by a poll again: nothing shorter holds.
    pub(crate) fn answer_most(self) -> [Nanos; 2] {
        let lease_ms = self.child_lease_ms().unwrap_or(LEASE_MS);
        [lease_ms * MS * 5 / 4 * 11 / 10 + 500 * MS + ROUND, ROUND]
    }
}
