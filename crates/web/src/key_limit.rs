//! The wire form of a key's limit.

use keyreeve_api::limits::KeyLimit;
use keyreeve_api::seconds::Whole;
use keyreeve_core::limits::{Bound, Count, Limit};

/// Returns a limit in the form in which it is also requested.
pub fn limit(limit: &Limit) -> KeyLimit {
    let wish = KeyLimit {
        name: limit.name.to_string(),
        limit: Whole(limit.bound.limit()),
        seconds: None,
        burst: None,
        hard: Some(true),
        period: None,
    };
    match limit.bound {
        Bound::Quota { period, .. } => KeyLimit {
            period: Some(period.to_string()),
            ..wish
        },
        Bound::Rate {
            seconds, burst, count, ..
        } => KeyLimit {
            seconds: Some(Whole(seconds.into())),
            burst: Some(Whole(burst.into())),
            hard: Some(count == Count::Hard),
            ..wish
        },
    }
}
