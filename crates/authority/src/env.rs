//! Time and entropy, handed in.

use async_trait::async_trait;
use keyreeve_core::Timestamp;
use keyreeve_core::coherence::Moment;
use std::time::Duration;
use thiserror::Error;

/// The operating system gave no random bytes. Nothing can be issued safely.
#[derive(Clone, Debug, Error)]
#[error("no entropy: {0}")]
pub struct NoEntropy(pub String);

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// The time now: the latest that it may be, by which everything is judged.
    fn now(&self) -> Timestamp;

    /// The earliest that it may be, by which everything is written down and counted. Another time than [`Clock::now`]
    /// only while the clock that tells it is in doubt (`keyreeve_core::coherence::reference`).
    fn earliest(&self) -> Timestamp {
        self.now()
    }

    /// How far the reference clock is behind the time that expiry is decided by; `None` if it is followed.
    fn behind(&self) -> Option<Duration> {
        None
    }

    /// Told of a time that was surely reached, at a start.
    fn reached(&self, time: Timestamp) {
        let _ = time;
    }

    /// The clocks that leases are counted on. Never stepped back.
    fn moment(&self) -> Moment;

    /// Told of the database's time, as of a poll that was sent at `sent`. A clock that many nodes must agree on goes by
    /// it; others do not care.
    fn database_said(&self, now: Timestamp, sent: Moment) {
        let (_, _) = (now, sent);
    }
}

/// Waits.
#[async_trait]
pub trait Timer: Send + Sync + 'static {
    /// Comes back after so many milliseconds.
    async fn sleep_ms(&self, ms: u64);
}

/// Gives random bytes.
pub trait Entropy: Send + Sync + 'static {
    /// Fills the buffer with bytes nobody can guess.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), NoEntropy>;
}
