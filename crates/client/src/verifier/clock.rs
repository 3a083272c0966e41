//! The clocks that leases are counted on.

use keyreeve_core::coherence::Moment;
use rustix::time::{ClockId, clock_gettime};

/// Reads the clock that includes suspension of the machine, and the one that is not slewed.
pub(super) fn moment() -> Moment {
    let reading = |clock| {
        let time = clock_gettime(clock);
        (time.tv_sec, time.tv_nsec)
    };
    Moment::from_readings(reading(ClockId::Boottime), reading(ClockId::MonotonicRaw))
}
