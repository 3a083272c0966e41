//! What a verifier answers from memory, and the rules that keep that memory true.
//!
//! [`lease::Lease`] says until when a verifier may answer, [`holder::Holder`] what each poll of the database means for
//! it, and [`grantor::Grantor`] when a change has reached everybody. None of them reads a clock or the network.
//!
//! Two rules matter already in one process. A change is applied here after its commit and before its answer, so an
//! acknowledged revocation is never overtaken by a cached verdict. And a fill, which reads the store while changes go
//! on, can never put back what a change has just removed (rule R5).

mod cache;
pub mod child;
mod entry;
mod gate;
pub mod grantor;
pub mod holder;
pub mod holding;
pub mod lease;
pub mod nursery;
pub mod probation;
pub mod reference;
pub mod rules;

pub use cache::{Cache, Cached, Filled, Ticket};
pub use entry::{Entry, NewEntry, Noted};
pub use gate::Gate;
pub use lease::{Deadline, Lease, Moment, wait_ms};
