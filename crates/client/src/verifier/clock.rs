//! The clocks that leases are counted on.

use keyreeve_core::coherence::Moment;
use rustix::time::{ClockId, clock_gettime};

/// Now, by the clock that goes on while the machine sleeps and by the one that nobody slews.
pub(super) fn moment() -> Moment {
    Moment {
        boot: nanoseconds(ClockId::Boottime),
        raw: nanoseconds(ClockId::MonotonicRaw),
    }
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let (seconds, rest) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds
        .unwrap_or(0)
        .saturating_mul(1_000_000_000)
        .saturating_add(rest.unwrap_or(0))
}
