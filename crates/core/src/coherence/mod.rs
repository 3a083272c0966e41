//! What a verifier answers from memory, and the rules that keep that memory consistent with the store.
//!
//! [`lease::Lease`] has the time until which a verifier may answer, [`holder::Holder`] decides what each poll of the
//! database means for it, and [`grantor::Grantor`] when a change is effective everywhere. None of them reads a clock or
//! the network.
//!
//! Two rules already matter in a single process. A change is applied here after its commit and before its answer, so no
//! verdict from memory is older than an acknowledged revocation. And a fill, which reads the store while changes
//! commit, can never store again what a change has just removed (rule R5).

mod cache;
pub mod child;
pub mod downstream;
mod entry;
mod gate;
pub mod grantor;
pub mod holder;
pub mod holding;
pub mod invariants;
pub mod lease;
pub mod probation;
pub mod reference;
pub mod rules;

pub use cache::{Cache, Cached, Filled, Ticket};
pub use entry::{Entry, NewEntry, Noted};
pub use gate::Gate;
pub use lease::{Deadline, Lease, Moment, wait_ms};
