//! What verification leaves behind: last uses and counts.

use keyreeve_core::{Digest, KeyId, Timestamp};

/// Uses and counts, collected in memory and written in groups.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Activity {
    /// When secrets were last used.
    pub uses: Vec<(Digest, Timestamp)>,
    /// Verdicts counted since the last time.
    pub counts: Vec<UsageCount>,
}

/// Verdicts of one kind on one key in one hour.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageCount {
    /// The key.
    pub key: KeyId,
    /// The start of the hour.
    pub hour: Timestamp,
    /// `valid`, `valid_retiring` (with a secret that is on its way out), or a denial's word.
    pub outcome: String,
    /// How many.
    pub count: u64,
}
