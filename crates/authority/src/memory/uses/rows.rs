//! Activity as rows of the database.

use super::waiting::{CountedVerdicts, UsePlace};
use keyreeve_core::{KeyId, Timestamp};
use keyreeve_store::model::{Trace, UsageCount};

const HOUR_MS: i64 = 3_600_000;

pub(super) fn usage(key: KeyId, hour: Timestamp, outcome: &str, counted: CountedVerdicts) -> UsageCount {
    UsageCount {
        key,
        hour,
        outcome: outcome.to_owned(),
        count: counted.count,
        extra_cost: counted.extra_cost,
    }
}

/// Returns the start of the hour of a time.
pub(super) fn hour_of(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.millis().div_euclid(HOUR_MS) * HOUR_MS)
}

pub(super) fn trace((place, (count, last_at)): (UsePlace, (u64, Timestamp))) -> Trace {
    let (key, outcome, address) = place;
    Trace {
        key,
        outcome: outcome.to_owned(),
        address: address.map(|address| address.to_string()).unwrap_or_default(),
        count,
        last_at,
    }
}
