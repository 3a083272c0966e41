//! Readiness: whether calls can be verified now, tested on the path of a secret that is not in memory.

use crate::verify::{Source, Verdict, Via};
use crate::{Authority, Failure};
use keyreeve_core::Digest;
use keyreeve_core::verdict::Denial;

/// No secret has this text: secrets are longer.
const NOBODYS: &[u8] = b"keyreeve readiness";

impl Authority {
    /// Whether the memory may be used now.
    pub fn holds_lease(&self) -> bool {
        self.holds(self.verifier.lease().deadline())
    }

    /// Looks up a key and a root key that do not exist, in the store and within the lease (rules R4 to R6). Fails if a
    /// caller's secret could not be verified either.
    pub async fn can_judge(&self) -> Result<(), Failure> {
        let digest = Digest::of(NOBODYS);
        self.entry_by(digest).await?;
        self.root_key_of(digest).await?;
        Ok(())
    }

    /// Returns the verdict on a secret that the store was not asked for, or was asked for in vain.
    pub fn unanswered(&self, via: Via) -> Verdict {
        self.denied(Denial::Unavailable, Source::Store, via)
    }
}
