//! The durable store: one trait, and the databases behind it.
//!
//! Every method of [`Store`] is one transaction. A change, its audit entry and its revision commit together, and
//! revisions are dense: the `head` row is written last and locked until the commit, so revision order is commit order
//! is visibility order. All SQL is in this crate; no HTTP type is.
//!
//! Business rules are not here: the caller passes a decision (`decide`) that runs inside the transaction on what was
//! read there, and the store writes its result.

mod backend;
pub mod cluster;
#[cfg_attr(
    not(any(feature = "sqlite", feature = "postgres")),
    expect(dead_code, reason = "only a database reads back")
)]
mod codec;
#[cfg(all(feature = "sqlite", feature = "postgres"))]
pub mod copy;
pub mod describe;
pub mod error;
mod folded;
#[cfg(feature = "memory")]
mod intercepted;
mod lock;
#[cfg(feature = "memory")]
mod memory;
pub mod model;
mod news;
mod operations;
#[cfg(feature = "postgres")]
mod postgres;
mod reads;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;
pub mod store;
#[cfg_attr(
    not(any(feature = "sqlite", feature = "postgres")),
    expect(dead_code, reason = "only a database is asked in SQL")
)]
mod tx;
pub mod version;

pub use cluster::Cluster;
pub use error::{StoreError, WriteError};
#[cfg(feature = "memory")]
pub use intercepted::{Intercepted, Interceptor, StoreOperation};
pub use lock::DirectoryLock;
#[cfg(feature = "memory")]
pub use memory::{MemoryCopy, MemoryStore};
pub use news::{KeyNews, KeyOutcome};
#[cfg(feature = "postgres")]
pub use postgres::{
    DatabaseAccess, GivenAccess, LoginEnvironment, NetworkExposure, OnWait, PostgresStore, SchemaChange,
};
#[cfg(feature = "sqlite")]
pub use sqlite::{DATABASE_FILE, FoundDatabase, SqliteStore, inspect_database};
pub use store::{Commit, CommitObserver, Part, Store, WriteHealth};
