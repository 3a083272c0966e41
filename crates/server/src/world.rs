//! The real clocks, pauses and the operating system's entropy: the only places that read them.

use async_trait::async_trait;
use keyreeve_authority::env::{Clock, Entropy, NoEntropy, Timer};
use keyreeve_core::Timestamp;
use keyreeve_core::coherence::Moment;
use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The machine's wall clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WallClock;

impl Clock for WallClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the wall clock"
    )]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    fn moment(&self) -> Moment {
        Moment::from_readings(reading(ClockId::Boottime), reading(ClockId::MonotonicRaw))
    }
}

fn reading(clock: ClockId) -> (i64, i64) {
    let time = clock_gettime(clock);
    (time.tv_sec, time.tv_nsec)
}

/// The database's clock, which all its nodes go by: an upper bound of it, so that a key expires early by a poll at
/// most and never late, whatever the clocks of the machines say. It never steps back (coherence.md, section 2.8).
#[derive(Debug)]
pub(crate) struct DatabaseClock {
    /// Unix ms of the database minus ms of this machine's boot clock.
    offset: AtomicI64,
    /// When that was found out, in ms of the boot clock.
    since: AtomicI64,
    /// The newest time that was given.
    latest: AtomicI64,
}

impl DatabaseClock {
    /// Goes by the machine until the database has spoken.
    pub(crate) fn new() -> Self {
        let boot = boot_ms(WallClock.moment());
        Self {
            offset: AtomicI64::new(WallClock.now().millis().saturating_sub(boot)),
            since: AtomicI64::new(boot),
            latest: AtomicI64::new(i64::MIN),
        }
    }
}

fn boot_ms(moment: Moment) -> i64 {
    i64::try_from(moment.boot / 1_000_000).unwrap_or(i64::MAX)
}

impl Clock for DatabaseClock {
    fn now(&self) -> Timestamp {
        let boot = boot_ms(self.moment());
        // This machine's clock may run a tenth slower than the database's.
        let slack = boot.saturating_sub(self.since.load(Ordering::Acquire)).max(0) / 10;
        let now = boot
            .saturating_add(self.offset.load(Ordering::Acquire))
            .saturating_add(slack);
        let latest = self.latest.load(Ordering::Relaxed);
        if now > latest {
            self.latest.fetch_max(now, Ordering::Relaxed);
        }
        Timestamp::from_millis(now.max(latest))
    }

    fn moment(&self) -> Moment {
        WallClock.moment()
    }

    fn database_said(&self, now: Timestamp, sent: Moment) {
        let is_first = self.latest.load(Ordering::Relaxed) == i64::MIN;
        let sent = boot_ms(sent);
        self.offset.store(now.millis().saturating_sub(sent), Ordering::Release);
        self.since.store(sent, Ordering::Release);
        if is_first {
            self.latest.store(now.millis(), Ordering::Relaxed);
        }
    }
}

/// The runtime's pauses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokioTimer;

#[async_trait]
impl Timer for TokioTimer {
    async fn sleep_ms(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

/// The operating system's generator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OsEntropy;

impl Entropy for OsEntropy {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks for entropy")]
    fn fill(&self, buffer: &mut [u8]) -> Result<(), NoEntropy> {
        getrandom::fill(buffer).map_err(|error| NoEntropy(error.to_string()))
    }
}
