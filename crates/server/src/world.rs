//! The real clocks, sleeps and the operating system's entropy. Decisions read them only here.

use async_trait::async_trait;
use crossbeam_utils::atomic::AtomicCell;
use keyreeve_authority::env::{Clock, Entropy, NoEntropy, Timer};
use keyreeve_core::Timestamp;
use keyreeve_core::coherence::invariants::InvariantResult;
use keyreeve_core::coherence::reference::{Course, News, Reference, Telling, Terms};
use keyreeve_core::coherence::{Moment, wait_ms};
use rustix::time::{ClockId, clock_gettime};
use std::sync::{Mutex, PoisonError};
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

/// The time: the boot clock, which cannot be set, corrected by a reference clock
/// ([`keyreeve_core::coherence::reference`]). That is the database's clock for nodes, and this machine's wall clock for
/// a single process. Readers do not wait for the writer's lock.
#[derive(Debug)]
pub(crate) struct SteadyClock {
    /// A copy of the reference's course, for readers.
    course: AtomicCell<Course>,
    reference: Mutex<Reference>,
    is_of_machine: bool,
}

/// How much slower than the database's clock a machine's clock may run, in permille.
const DATABASE_SLACK_PERMILLE: i64 = 100;

impl SteadyClock {
    /// The database's time. Uses this machine's clock until the first reading of the database.
    pub(crate) fn of_database(lease_ms: u64) -> Self {
        Self::new(lease_ms, DATABASE_SLACK_PERMILLE, false)
    }

    /// This machine's time. [`SteadyClock::look`] must be called regularly.
    pub(crate) fn of_machine(lease_ms: u64) -> Self {
        let clock = Self::new(lease_ms, 0, true);
        clock.look();
        clock
    }

    fn new(lease_ms: u64, slack_permille: i64, is_of_machine: bool) -> Self {
        let number = |ms| i64::try_from(ms).unwrap_or(i64::MAX);
        let terms = Terms {
            lease_ms: number(lease_ms),
            wait_ms: number(wait_ms(lease_ms)),
            slack_permille,
        };
        let at = boot_ms();
        let reference = Reference::new(terms, WallClock.now().millis().saturating_sub(at), at);
        Self {
            course: AtomicCell::new(reference.course()),
            reference: Mutex::new(reference),
            is_of_machine,
        }
    }

    /// Feeds the machine's wall clock to the reference.
    pub(crate) fn look(&self) {
        let asked_at = boot_ms();
        let time = WallClock.now().millis();
        self.tell(time, asked_at, None);
    }

    fn tell(&self, time: i64, asked_at: i64, witness: Option<i64>) {
        self.change(|reference| {
            reference.told(Telling {
                time,
                asked_at,
                heard_at: boot_ms(),
                witness,
            })
        });
    }

    fn change(&self, change: impl FnOnce(&mut Reference) -> Option<News>) {
        let mut reference = self.reference.lock().unwrap_or_else(PoisonError::into_inner);
        let news = change(&mut reference);
        // Stored under the lock, so that an older course never replaces a newer one.
        self.course.store(reference.course());
        drop(reference);
        if let Some(news) = news {
            self.report(news);
        }
    }

    fn report(&self, news: News) {
        let whose = if self.is_of_machine {
            "this machine's"
        } else {
            "the database's"
        };
        match news {
            News::Ahead(ms) => tracing::warn!(
                ahead_ms = ms,
                "{whose} clock has been set ahead: keys are evaluated at its time, and records keep the previous time \
                 until it has lasted"
            ),
            News::Behind(ms) => tracing::error!(
                behind_ms = ms,
                "{whose} clock is behind the time that was given: keys are evaluated at the later time, and this \
                 process is not ready until the clock is right (docs/operations/clocks.md)"
            ),
            News::Settled => tracing::warn!("{whose} clock is correct again"),
            News::Followed(ms) => tracing::warn!(behind_ms = ms, "{whose} clock was set back, and is followed"),
        }
    }
}

fn boot_ms() -> i64 {
    let (seconds, nanoseconds) = reading(ClockId::Boottime);
    seconds.saturating_mul(1_000).saturating_add(nanoseconds / 1_000_000)
}

impl Clock for SteadyClock {
    /// The course is loaded after the boot clock is read, so that the result is never later than the start of a new
    /// course.
    fn now(&self) -> Timestamp {
        let at = boot_ms();
        Timestamp::from_millis(self.course.load().latest(at))
    }

    fn earliest(&self) -> Timestamp {
        let at = boot_ms();
        Timestamp::from_millis(self.course.load().earliest(at))
    }

    fn moment(&self) -> Moment {
        WallClock.moment()
    }

    fn behind(&self) -> Option<Duration> {
        let reference = self.reference.lock().unwrap_or_else(PoisonError::into_inner);
        let ms = reference.behind(boot_ms())?;
        Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
    }

    fn check(&self) -> InvariantResult {
        self.reference.lock().unwrap_or_else(PoisonError::into_inner).check()
    }

    fn reached(&self, time: Timestamp) {
        self.change(|reference| reference.reached(time.millis(), boot_ms()));
    }

    fn database_said(&self, now: Timestamp, sent: Moment) {
        if self.is_of_machine {
            return;
        }
        let witness = WallClock.now().millis().saturating_sub(boot_ms());
        let sent = i64::try_from(sent.boot / 1_000_000).unwrap_or(i64::MAX);
        self.tell(now.millis(), sent, Some(witness));
    }
}

/// Sleeps of the runtime.
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
