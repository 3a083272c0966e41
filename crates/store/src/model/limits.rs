//! Slices of hard limits.

use keyreeve_core::limits::Need;
use keyreeve_core::{KeyId, Timestamp};

/// A request for slices of the limits of one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SliceRequest {
    /// The key.
    pub key: KeyId,
    /// The limits, and how much of each.
    pub needs: Vec<Need>,
    /// The time at which they are counted.
    pub now: Timestamp,
}
