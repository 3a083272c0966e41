//! Time and entropy as traits, so that a simulator can supply both.

use async_trait::async_trait;
use keyreeve_core::Timestamp;
use keyreeve_core::coherence::Moment;
use keyreeve_core::coherence::invariants::InvariantResult;
use std::time::Duration;
use thiserror::Error;

/// The operating system returned no random bytes. Nothing can be issued safely.
#[derive(Clone, Debug, Error)]
#[error("no entropy: {0}")]
pub struct NoEntropy(pub String);

/// The clock.
pub trait Clock: Send + Sync + 'static {
    /// Returns the latest possible time now. Expiry is decided by it.
    fn now(&self) -> Timestamp;

    /// Returns the earliest possible time now, which is stored and counted by. Differs from [`Clock::now`] only while
    /// the reference clock is in doubt (`keyreeve_core::coherence::reference`).
    fn earliest(&self) -> Timestamp {
        self.now()
    }

    /// Returns how far the reference clock is behind the time that expiry is decided by; `None` if it is followed.
    fn behind(&self) -> Option<Duration> {
        None
    }

    /// Checks what must always hold of the time that it gives.
    fn check(&self) -> InvariantResult {
        Ok(())
    }

    /// Reports a time that was certainly reached, at a start.
    fn reached(&self, time: Timestamp) {
        let _ = time;
    }

    /// Reads the clocks that leases are counted on. They never go back.
    fn moment(&self) -> Moment;

    /// Reports the database's time, as of a poll that was sent at `sent`. A clock that several nodes must agree on
    /// follows it; others ignore it.
    fn database_said(&self, now: Timestamp, sent: Moment) {
        let (_, _) = (now, sent);
    }
}

/// Waits.
#[async_trait]
pub trait Timer: Send + Sync + 'static {
    /// Returns after `ms` milliseconds.
    async fn sleep_ms(&self, ms: u64);
}

/// The source of random bytes.
pub trait Entropy: Send + Sync + 'static {
    /// Fills the buffer with unpredictable bytes.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), NoEntropy>;
}
