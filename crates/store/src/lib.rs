//! Durable truth: one trait, and the databases behind it.
//!
//! Every method of [`Store`] is one transaction. A change, its audit entry and its revision commit together, and the
//! revision is dense: the `head` row is written last and held to the commit, so revision order is commit order is
//! visibility order (coherence.md, section 2.1). SQL stands only in this crate; no HTTP type does.
//!
//! Business rules are not here: the caller hands in a decision (`decide`) that runs inside the transaction on what
//! was read there, and the store writes down what it decided.

pub mod cluster;
#[cfg_attr(
    not(any(feature = "sqlite", feature = "postgres")),
    expect(dead_code, reason = "only a database reads back")
)]
mod codec;
#[cfg(all(feature = "sqlite", feature = "postgres"))]
pub mod copy;
pub mod error;
mod lock;
#[cfg(feature = "memory")]
mod memory;
pub mod model;
mod operations;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;
pub mod store;
mod tx;

pub use cluster::Cluster;
pub use error::{StoreError, WriteError};
pub use lock::DirectoryLock;
#[cfg(feature = "memory")]
pub use memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use store::{Commit, CommitObserver, Fate, KeyNews, Store};
