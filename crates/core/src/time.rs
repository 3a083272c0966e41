//! Points in time as milliseconds since the Unix epoch. Nothing here reads a clock.

/// A point in time: Unix milliseconds, as on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(i64);

/// Milliseconds in a second.
pub const MILLIS_PER_SECOND: i64 = 1_000;
/// Seconds in a day.
pub const SECONDS_PER_DAY: u64 = 86_400;

impl Timestamp {
    /// Returns the point `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Returns the milliseconds since the Unix epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Returns this point plus a number of seconds, saturating instead of wrapping.
    pub fn plus_seconds(self, seconds: u64) -> Self {
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(seconds.saturating_mul(MILLIS_PER_SECOND)))
    }

    /// Returns the milliseconds from `earlier` to this point; zero if it is not earlier.
    pub fn millis_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}
