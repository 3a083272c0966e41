//! What is remembered: the state of one process, from which verdicts are given and which changes are applied to.
//!
//! This is the lower floor of the crate. It imports nothing of the use cases above it, only what a call and an answer
//! are (`caller`, `question`) and `env`; `scripts/language` measures that. The use cases hold its types and call
//! them.

mod changes;
mod check_policies;
mod downstream;
mod gates;
mod leaks;
mod meters;
mod operations;
mod refusals;
mod root_pass;
mod root_uses;
mod tallies;
mod tombstones;
mod uses;
pub mod verifier;

pub(crate) use changes::Remembered;
pub(crate) use check_policies::TenantChecks;
pub(crate) use downstream::JoinRefusal;
pub use downstream::{
    CHILD_LEASE_MS, CHILD_LEASE_MS_MIN, ChildCounts, Children, ConnectedChild, Newcomer, OldestOrder, VerifierLine,
};
pub(crate) use leaks::LeakReports;
pub use leaks::{LeakResult, LeakSource};
pub(crate) use meters::SHARDS as METER_SHARDS;
pub(crate) use operations::KeyOperation;
pub use operations::Operations;
pub use refusals::Refused;
pub(crate) use refusals::{Refusals, RefusedCall};
pub(crate) use root_pass::RootPass;
pub(crate) use tombstones::{Denied, How, Tombstones};
pub use uses::Reported;
pub(crate) use verifier::VerifierMemory;
