//! Slices of hard limits.

use keyreeve_core::limits::Need;
use keyreeve_core::{KeyId, Timestamp};

/// Asks for slices of the limits of one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SliceRequest {
    /// The key.
    pub key: KeyId,
    /// Of which limits, and how much.
    pub needs: Vec<Need>,
    /// The time that they are counted at.
    pub now: Timestamp,
}
