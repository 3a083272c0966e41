//! A lease: the time until which a verifier may answer from memory.

use super::invariants::{Invariant, InvariantResult};
use super::rules::{Rule, keeps};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A reading of two clocks, in nanoseconds.
///
/// One includes suspension of the machine (`CLOCK_BOOTTIME`), the other is not slewed by a time daemon
/// (`CLOCK_MONOTONIC_RAW`). A lease holds only while both are before its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Moment {
    /// Includes suspension of the machine.
    pub boot: u64,
    /// Is never slewed.
    pub raw: u64,
}

const NS_PER_MS: u64 = 1_000_000;
const NS_PER_SECOND: u64 = 1_000_000_000;

impl Moment {
    /// Converts what `clock_gettime` returns for the two clocks, in seconds and nanoseconds.
    pub fn from_readings(boot: (i64, i64), raw: (i64, i64)) -> Self {
        let nanoseconds = |(seconds, rest): (i64, i64)| {
            let (seconds, rest) = (u64::try_from(seconds).unwrap_or(0), u64::try_from(rest).unwrap_or(0));
            seconds.saturating_mul(NS_PER_SECOND).saturating_add(rest)
        };
        Self {
            boot: nanoseconds(boot),
            raw: nanoseconds(raw),
        }
    }

    /// Returns the moment `ms` milliseconds later.
    pub fn plus_ms(self, ms: u64) -> Self {
        let more = ms.saturating_mul(NS_PER_MS);
        Self {
            boot: self.boot.saturating_add(more),
            raw: self.raw.saturating_add(more),
        }
    }

    /// Returns the later reading of each clock.
    #[must_use]
    pub fn latest(self, other: Self) -> Self {
        Self {
            boot: self.boot.max(other.boot),
            raw: self.raw.max(other.raw),
        }
    }

    /// Returns the milliseconds since another moment, by the clock that shows more; 0 if it is in the future.
    pub fn ms_since(self, earlier: Self) -> u64 {
        let boot = self.boot.saturating_sub(earlier.boot);
        boot.max(self.raw.saturating_sub(earlier.raw)) / NS_PER_MS
    }

    /// Returns the time since another moment, suspension included; zero if it is in the future. For reported durations,
    /// not for decisions about leases.
    pub fn elapsed_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.boot.saturating_sub(earlier.boot))
    }

    /// Whether this is at or after another moment by both clocks.
    pub fn is_surely_at_or_after(self, other: Self) -> bool {
        self.boot >= other.boot && self.raw >= other.raw
    }

    /// Returns the milliseconds that have passed at least: by the clock that shows less.
    pub fn surely_ms_since(self, earlier: Self) -> u64 {
        let boot = self.boot.saturating_sub(earlier.boot);
        boot.min(self.raw.saturating_sub(earlier.raw)) / NS_PER_MS
    }
}

/// The end of a lease at the time when it was loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadline(Moment);

/// The end that never comes, of a single process: every commit is applied to its memory before it is answered.
const ENDLESS: u64 = u64::MAX;

impl Deadline {
    /// Whether the lease never ends, so that no clock must be read.
    pub fn is_endless(self) -> bool {
        self.0.boot == ENDLESS && self.0.raw == ENDLESS
    }

    /// Whether there is no lease: it has not begun, or was dropped.
    pub fn is_none(self) -> bool {
        self.0 == Moment::default()
    }

    /// Whether there was a lease that is over.
    pub fn has_ended(self, now: Moment) -> bool {
        self.0.boot > 0 && !self.covers(now)
    }

    /// Returns the milliseconds that remain at least: by the clock that shows less.
    pub fn left_ms(self, now: Moment) -> u64 {
        // Rounded down: a lease that is granted from this may be a millisecond short, never too long.
        let left = |end: u64, now: u64| end.saturating_sub(now) / NS_PER_MS;
        left(self.0.boot, now.boot).min(left(self.0.raw, now.raw))
    }

    /// Checks [`Invariant::LeasesNest`] for a lease that is about to be granted to a downstream verifier at `now`.
    pub fn check_grant(self, length_ms: u64, now: Moment) -> InvariantResult {
        Invariant::LeasesNest.at_most(length_ms, self.left_ms(now))
    }

    /// Whether an answer that was looked up after the deadline was loaded may be used at `now`.
    pub fn covers(self, now: Moment) -> bool {
        now.boot < self.0.boot && now.raw < self.0.raw
    }
}

/// The lease of one verifier. Written by the thread that polls, read by every verification.
#[derive(Debug)]
pub struct Lease {
    boot: AtomicU64,
    raw: AtomicU64,
}

impl Lease {
    /// Returns a lease that has not begun.
    pub fn none() -> Self {
        Self {
            boot: AtomicU64::new(0),
            raw: AtomicU64::new(0),
        }
    }

    /// Returns the lease of a single process.
    pub fn endless() -> Self {
        Self {
            boot: AtomicU64::new(ENDLESS),
            raw: AtomicU64::new(ENDLESS),
        }
    }

    /// Returns the end of the lease. Rule R4: load it *before* a look-up, and compare the clock with what was loaded.
    /// If it were loaded afterwards, a poll in between could renew the lease and an old entry would be used.
    pub fn deadline(&self) -> Deadline {
        // A writer between the two loads leaves an old end and a new one. `covers` needs both, so the earlier one
        // decides.
        Deadline(Moment {
            boot: self.boot.load(Ordering::Acquire),
            raw: self.raw.load(Ordering::Acquire),
        })
    }

    /// Rule R3: extends the lease to its length after the time the poll was *sent*. Call after everything that the poll
    /// brought was applied. The lease never gets shorter by this.
    pub fn extend(&self, sent: Moment, length_ms: u64) {
        let end = sent.plus_ms(length_ms);
        // A reader between the two writes gets one old end. `covers` needs both, so the old end decides.
        self.boot.fetch_max(end.boot, Ordering::Release);
        self.raw.fetch_max(end.raw, Ordering::Release);
    }

    /// Checks [`Invariant::LeaseEnd`]. `renewed` is when the newest renewal was sent; without one there is no lease. Call
    /// on the thread that extends the lease.
    pub fn check(&self, renewed: Option<Moment>, length_ms: u64) -> InvariantResult {
        let end = self.deadline();
        if end.is_endless() {
            return Ok(());
        }
        let most = renewed.map_or(Moment::default(), |sent| sent.plus_ms(length_ms));
        Invariant::LeaseEnd.at_most(end.0.boot, most.boot)?;
        Invariant::LeaseEnd.at_most(end.0.raw, most.raw)
    }

    /// Ends it now.
    pub fn drop_now(&self) {
        // A reader between the two writes gets one old end. `covers` needs both, so the 0 decides.
        self.boot.store(0, Ordering::Release);
        self.raw.store(0, Ordering::Release);
    }
}

/// Checks [`Invariant::WaitLength`]: with clocks that are wrong by a tenth in opposite directions, a lease takes 11/9 of
/// its length on the waiter's clock.
pub(super) fn check_wait(wait_ms: u64, lease_ms: u64) -> InvariantResult {
    let is_kept = u128::from(wait_ms) * 9 >= u128::from(lease_ms) * 11;
    // A lease of some hundred million years is longer than any wait that can be expressed.
    Invariant::WaitLength.require(is_kept || wait_ms == u64::MAX, wait_ms, lease_ms)
}

/// Returns how long a change waits for verifiers that do not acknowledge, in milliseconds: W = 1.25 L + 0.5 s. A
/// holder's clock may be 10 % slow and the waiter's 10 % fast (1.1 / 0.9 = 1.22). Half a second covers a pause that no
/// clock shows.
pub fn wait_ms(lease_ms: u64) -> u64 {
    if !keeps(Rule::WaitLongEnough) {
        return lease_ms / 4;
    }
    // Rounded up: a wait may be a millisecond long, never short.
    lease_ms.saturating_add(lease_ms.div_ceil(4)).saturating_add(500)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::default().plus_ms(ms)
    }

    #[test]
    fn a_lease_counts_from_the_sending_and_never_shrinks() {
        let lease = Lease::none();
        assert!(!lease.deadline().covers(at(0)));
        lease.extend(at(100), 1_000);
        lease.extend(at(50), 1_000);
        assert!(lease.deadline().covers(at(1_099)));
        assert!(!lease.deadline().covers(at(1_100)));
    }

    #[test]
    fn both_clocks_must_agree() {
        let lease = Lease::none();
        lease.extend(at(0), 1_000);
        let suspended = Moment {
            boot: at(5_000).boot,
            raw: at(10).raw,
        };
        assert!(!lease.deadline().covers(suspended), "the machine slept");
        let slewed = Moment {
            boot: at(10).boot,
            raw: at(5_000).raw,
        };
        assert!(!lease.deadline().covers(slewed), "the clock was slowed down");
    }

    #[test]
    fn a_deadline_loaded_before_is_not_renewed_by_a_poll_in_between() {
        let lease = Lease::none();
        lease.extend(at(0), 1_000);
        let loaded = lease.deadline();
        lease.extend(at(2_000), 1_000);
        assert!(!loaded.covers(at(2_001)));
    }

    #[test]
    fn the_wait_is_longer_than_a_slow_clock_can_stretch_a_lease() {
        for lease in [2_000, 15_000, 45_000] {
            assert!(wait_ms(lease) * 9 > lease * 11);
        }
        assert_eq!(wait_ms(15_000), 19_250);
    }

    #[test]
    fn a_lease_that_ends_too_late_is_reported() {
        let lease = Lease::none();
        assert_eq!(lease.check(None, 1_000), Ok(()));
        lease.extend(at(100), 1_000);
        assert_eq!(lease.check(Some(at(100)), 1_000), Ok(()));
        for renewed in [None, Some(at(99))] {
            let violation = lease.check(renewed, 1_000).unwrap_err();
            assert_eq!(violation.invariant, Invariant::LeaseEnd);
        }
        lease.drop_now();
        assert_eq!(lease.check(None, 1_000), Ok(()));
        assert_eq!(Lease::endless().check(None, 1_000), Ok(()));
    }

    #[test]
    fn a_grant_beyond_the_nodes_own_lease_is_reported() {
        let lease = Lease::none();
        lease.extend(at(0), 1_000);
        assert_eq!(lease.deadline().check_grant(400, at(600)), Ok(()));
        let violation = lease.deadline().check_grant(401, at(600)).unwrap_err();
        let nested = (Invariant::LeasesNest, 401, 400);
        assert_eq!((violation.invariant, violation.found, violation.allowed), nested);
    }

    #[test]
    fn a_wait_that_a_slow_clock_outlasts_is_reported() {
        assert_eq!(check_wait(wait_ms(u64::MAX), u64::MAX), Ok(()));
        let violation = check_wait(1_222, 1_000).unwrap_err();
        assert_eq!(violation.invariant, Invariant::WaitLength);
    }
}
