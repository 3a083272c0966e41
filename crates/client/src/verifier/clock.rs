//! The clocks that leases are counted on.

use keyreeve_core::coherence::Moment;
use rustix::time::{ClockId, clock_gettime};

/// Now, by the clock that goes on while the machine sleeps and by the one that nobody slews.
pub(super) fn moment() -> Moment {
    let reading = |clock| {
        let time = clock_gettime(clock);
        (time.tv_sec, time.tv_nsec)
    };
    Moment::from_readings(reading(ClockId::Boottime), reading(ClockId::MonotonicRaw))
}
