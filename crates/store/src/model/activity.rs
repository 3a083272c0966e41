//! What verification leaves behind: last uses and counts.

use keyreeve_core::text::{Slug, Subject};
use keyreeve_core::{Digest, KeyId, Timestamp};

/// Uses and counts, collected in memory and written in groups.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Activity {
    /// When calls with secrets were last accepted.
    pub uses: Vec<(Digest, Timestamp)>,
    /// Secrets that were presented in calls that were refused: they have arrived.
    pub presented: Vec<(Digest, Timestamp)>,
    /// When calls with secrets of keys were last refused.
    pub refused: Vec<(KeyId, Timestamp)>,
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
    /// `valid`, `valid_retiring` (with a secret that is on its way out), or the denial.
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

/// How soon a key must end to count as one that expires, in days.
pub const CENSUS_DAYS: [u32; 3] = [1, 7, 30];
/// Most tenants that a census names.
pub const CENSUS_TENANTS_MAX: u32 = 100;

/// How many keys there are, of all tenants.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Census {
    /// Keys that work.
    pub active: u64,
    /// Keys that are held.
    pub disabled: u64,
    /// Keys past their end.
    pub expired: u64,
    /// Keys that are revoked and kept.
    pub revoked: u64,
    /// Keys that work and end within so many days: [`CENSUS_DAYS`].
    pub expiring: [u64; 3],
    /// How many keys without an end a tenant has, the most first; [`CENSUS_TENANTS_MAX`] tenants at most.
    pub endless: Vec<(Slug, u64)>,
}

impl Census {
    /// The time so many days on.
    pub(crate) fn horizon(now: Timestamp, days: u32) -> Timestamp {
        const DAY_MS: i64 = 24 * 3_600_000;
        Timestamp::from_millis(now.millis().saturating_add(i64::from(days) * DAY_MS))
    }
}
