//! The operations on keys: one file for each verb, or for verbs that share their code.

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
pub use read::{Listing, ShownKeys};
pub use revoke_many::{ManyRevoked, Selection};
pub use rotate::{RotateCommand, RotatedKey};

use crate::Authority;

/// The use cases of keys.
#[derive(Clone, Copy, Debug)]
pub struct KeyUseCases<'a>(pub(crate) &'a Authority);

impl Authority {
    /// Returns the use cases of keys.
    pub fn keys(&self) -> KeyUseCases<'_> {
        KeyUseCases(self)
    }
}
