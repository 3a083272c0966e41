//! Everything about an API key that can be decided without IO: its id and string, its lifecycle, its policy, its
//! verdict, and the memory that a verifier answers from.
//!
//! This crate reads no clock, no randomness, no environment, no file and no socket (ARCHITECTURE.md, A1): time and
//! entropy are arguments, so that a simulator runs exactly the code that ships.

pub mod access;
pub mod audit;
pub mod check;
pub mod coherence;
mod hex;
pub mod id;
pub mod key;
pub mod lifecycle;
pub mod limits;
pub mod policy;
pub mod scope;
pub mod text;
pub mod time;
pub mod user;
pub mod verdict;

pub use check::CheckPolicy;
pub use hex::{bytes_of_hex, hex, hex_digits};
pub use id::{KeyId, RootKeyId, UserId};
pub use key::{Digest, Prefix, Secret};
pub use lifecycle::Key;
pub use limits::Limits;
pub use policy::Policy;
pub use time::Timestamp;
pub use user::User;
