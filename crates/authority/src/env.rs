//! Time and entropy, handed in.

use async_trait::async_trait;
use keyreeve_core::Timestamp;
use keyreeve_core::coherence::Moment;
use thiserror::Error;

/// The operating system gave no random bytes. Nothing can be issued safely.
#[derive(Clone, Debug, Error)]
#[error("no entropy: {0}")]
pub struct NoEntropy(pub String);

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock time now.
    fn now(&self) -> Timestamp;

    /// The clocks that leases are counted on. Never stepped back.
    fn moment(&self) -> Moment;

    /// Told of the database's time, as of a poll that was sent at `sent`. A clock that many nodes must agree on goes by
    /// it from then on; the machine's own clock does not care.
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
