//! What verification leaves behind: last uses and counts.

use keyreeve_core::text::{Slug, Subject};
use keyreeve_core::{Digest, KeyId, Timestamp};

/// Uses and counts, collected in memory and written in groups.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Activity {
    /// When secrets were last used.
    pub uses: Vec<(Digest, Timestamp)>,
    /// Verdicts counted since the last time.
    pub counts: Vec<UsageCount>,
    /// Where verdicts were asked for.
    pub traces: Vec<Trace>,
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

/// How often a key met an outcome from one address, and when last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trace {
    /// The key.
    pub key: KeyId,
    /// `valid`, or the denial.
    pub outcome: String,
    /// The address that the relying service gave; empty if it gave none.
    pub address: String,
    /// How often.
    pub count: u64,
    /// When last.
    pub last_at: Timestamp,
}

/// Whose refusals to count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusals {
    /// Of this tenant's keys.
    pub tenant: Slug,
    /// Only of this owner's.
    pub subject: Option<Subject>,
    /// Since this time.
    pub since: Timestamp,
    /// Most rows to give, the largest first.
    pub limit: u32,
}
