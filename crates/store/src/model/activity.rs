//! What verification records: last uses and counts.

use keyreeve_core::text::{Slug, Subject};
use keyreeve_core::{Digest, KeyId, Timestamp};

/// Uses and counts, collected in memory and written in groups.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ActivityBatch {
    /// When calls with secrets were last accepted.
    pub uses: Vec<(Digest, Timestamp)>,
    /// Secrets that were presented in refused calls: they have arrived at their holder.
    pub presented: Vec<(Digest, Timestamp)>,
    /// When calls with secrets of keys were last refused.
    pub refused: Vec<(KeyId, Timestamp)>,
    /// Verdicts counted since the last write.
    pub counts: Vec<UsageCount>,
    /// Outcomes by address.
    pub traces: Vec<Trace>,
    /// When calls with secrets of root keys were last accepted.
    pub root_key_uses: Vec<(Digest, Timestamp)>,
}

/// Verdicts of one kind on one key in one hour.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageCount {
    /// The key.
    pub key: KeyId,
    /// The start of the hour.
    pub hour: Timestamp,
    /// `valid`, `valid_retiring` (with a retiring secret), or the name of a denial.
    pub outcome: String,
    /// How many verdicts.
    pub count: u64,
    /// Their cost beyond one unit each. 0 for refused calls, which cost nothing.
    pub extra_cost: u64,
}

impl UsageCount {
    /// The outcome of calls that were accepted with the current secret.
    pub const VALID: &str = "valid";
    /// The outcome of calls that were accepted with a retiring secret.
    pub const VALID_RETIRING: &str = "valid_retiring";

    /// Whether an outcome is one of accepted calls; every other is the name of a denial.
    pub fn is_accepted(outcome: &str) -> bool {
        [Self::VALID, Self::VALID_RETIRING].contains(&outcome)
    }

    /// Returns the cost of all these calls.
    pub fn cost(&self) -> u64 {
        match Self::is_accepted(&self.outcome) {
            true => self.count.saturating_add(self.extra_cost),
            false => 0,
        }
    }
}

/// How often a key had an outcome from one address, and when last.
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

/// Which refusals to count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusalQuery {
    /// Of this tenant's keys.
    pub tenant: Slug,
    /// Only of this owner's.
    pub subject: Option<Subject>,
    /// Since this time.
    pub since: Timestamp,
    /// Maximum number of rows to return, the largest first.
    pub limit: u32,
}

/// How soon a key must expire to count as expiring, in days.
pub const CENSUS_DAYS: [u32; 3] = [1, 7, 30];
/// How soon a root key must expire to count as expiring, in days.
pub const CENSUS_ROOT_KEY_DAYS: u32 = 14;
/// Maximum number of tenants that a census lists.
pub const CENSUS_TENANTS_MAX: u32 = 100;

/// Numbers of keys of all tenants.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Census {
    /// Keys that work.
    pub active: u64,
    /// Active keys that do not work, because their owner or their tenant is suspended or removed.
    pub owner_blocked: u64,
    /// Keys that are disabled.
    pub disabled: u64,
    /// Keys past their expiry.
    pub expired: u64,
    /// Keys that are revoked and kept.
    pub revoked: u64,
    /// Keys that work and expire within [`CENSUS_DAYS`].
    pub expiring: [u64; 3],
    /// Number of keys without expiry by tenant, the most first; [`CENSUS_TENANTS_MAX`] tenants at most.
    pub endless: Vec<(Slug, u64)>,
    /// Root keys that work and expire within [`CENSUS_ROOT_KEY_DAYS`].
    pub root_keys_expiring: u64,
}

impl Census {
    /// Returns the time `days` after `now`.
    pub(crate) fn horizon(now: Timestamp, days: u32) -> Timestamp {
        const DAY_MS: i64 = 24 * 3_600_000;
        Timestamp::from_millis(now.millis().saturating_add(i64::from(days) * DAY_MS))
    }
}
