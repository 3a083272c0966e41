//! Durable truth: one trait, and the databases behind it.
//!
//! Every method of [`Store`] is one transaction. A change, its audit entry and its revision commit together, and the
//! revision is dense: the `head` row is written last and held to the commit, so revision order is commit order is
//! visibility order (coherence.md, section 2.1). SQL stands only in this crate; no HTTP type does.
//!
//! Business rules are not here: the caller hands in a decision (`decide`) that runs inside the transaction on what
//! was read there, and the store writes down what it decided.

pub mod error;
pub mod model;
pub mod store;

pub use error::{StoreError, WriteError};
pub use store::{Commit, CommitObserver, Store};
