//! What can be done to keys: one file a verb, or a pair of verbs that are each other's way back.

mod change;
mod end;
mod hold;
mod issue;
mod minting;
mod read;
mod revoke_many;
mod rotate;
mod update;

pub use change::ChangedKey;
pub use end::{PurgeCommand, RevokeCommand};
pub use issue::{IssueCommand, IssuedKeys};
pub use minting::KeyWithSecret;
pub use read::{Listing, Shown};
pub use revoke_many::{ManyRevoked, Selection};
pub use rotate::{RotateCommand, RotatedKey};
