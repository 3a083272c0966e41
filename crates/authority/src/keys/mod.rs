//! What can be done to keys: one file a verb, or a pair of verbs that are each other's way back.

mod change;
mod end;
mod hold;
mod issue;
mod minting;
mod read;
mod rotate;
mod update;

pub use change::ChangedKey;
pub use end::RevokeCommand;
pub use issue::{IssueCommand, IssuedKeys};
pub use minting::KeyWithSecret;
pub use read::{Listing, Shown};
pub use rotate::{RotateCommand, RotatedKey};
