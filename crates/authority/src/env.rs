//! Time and entropy, handed in.

use keyreeve_core::Timestamp;
use thiserror::Error;

/// The operating system gave no random bytes. Nothing can be issued safely.
#[derive(Clone, Debug, Error)]
#[error("no entropy: {0}")]
pub struct NoEntropy(pub String);

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock time now.
    fn now(&self) -> Timestamp;
}

/// Gives random bytes.
pub trait Entropy: Send + Sync + 'static {
    /// Fills the buffer with bytes nobody can guess.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), NoEntropy>;
}
