//! A verification as data: what is asked, and the verdict.

use keyreeve_core::Timestamp;
use keyreeve_core::access::Reach;
use keyreeve_core::coherence::Entry;
use keyreeve_core::limits::LimitStanding;
use keyreeve_core::policy::Reveal;
use keyreeve_core::verdict::{Denial, Outer};
use std::net::IpAddr;

/// Where a verdict came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// Memory.
    Memory,
    /// The store.
    Store,
}

/// The interface that a verdict was requested by; a label of metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Via {
    /// The API.
    Api,
    /// A gateway over HTTP.
    Gateway,
    /// A gateway over gRPC.
    Grpc,
    /// OAuth token introspection.
    Introspect,
}

impl Via {
    /// Every way.
    pub const ALL: [Self; 4] = [Self::Api, Self::Gateway, Self::Grpc, Self::Introspect];

    /// The index in [`Via::ALL`].
    pub(crate) const fn place(self) -> usize {
        match self {
            Self::Api => 0,
            Self::Gateway => 1,
            Self::Grpc => 2,
            Self::Introspect => 3,
        }
    }

    /// Returns the label of the metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Gateway => "gateway",
            Self::Grpc => "grpc",
            Self::Introspect => "introspect",
        }
    }
}

/// The state of a key's limits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Each limit.
    pub standings: Vec<LimitStanding>,
    /// After a refusal: seconds after which a use might be accepted; `None` is never.
    pub retry_seconds: Option<u64>,
}

/// The answer to a verification.
#[derive(Debug)]
pub struct Verdict {
    /// Good, or the denial.
    pub outcome: Result<(), Denial>,
    /// The key, if the presented secret belongs to one.
    pub entry: Option<Entry>,
    /// Every change up to this revision was taken into account.
    pub revision: u64,
    /// Where the answer came from.
    pub source: Source,
    /// The state of the key's limits, if it has any that count and is good otherwise.
    pub budget: Option<Box<Budget>>,
}

impl Verdict {
    /// Returns what the relying service should pass on; `None` if the key is good.
    pub fn outer(&self) -> Option<Outer> {
        let reveal = self.entry.as_ref().map_or(Reveal::None, |entry| entry.gate().reveal());
        self.outcome.err().map(|denial| denial.outer(reveal))
    }
}

/// A verification request.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// The interface that it came by.
    pub via: Via,
    /// The tenants whose keys the caller may verify.
    pub reach: &'q Reach,
    /// Scopes that the key must all have.
    pub scopes: &'q [&'q str],
    /// The time of the request.
    pub now: Timestamp,
    /// The address of the end user, if the caller sent it: checked where the key has a list of networks, and recorded.
    pub address: Option<IpAddr>,
    /// How much of the key's limits it takes. 0 only reads their state: it is no use of the key, and limits never deny
    /// it. `None`: limits play no part.
    pub cost: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_is_counted_in_its_own_place() {
        for (place, via) in Via::ALL.into_iter().enumerate() {
            assert_eq!(via.place(), place);
        }
    }
}
