//! Whether calls can be judged now: asked by the very ways that a secret takes which nobody remembers.

use crate::{Authority, Failure};
use keyreeve_core::Digest;

/// What no secret has: secrets are longer.
const NOBODYS: &[u8] = b"keyreeve readiness";

impl Authority {
    /// Whether what is remembered may be answered now.
    pub fn holds_lease(&self) -> bool {
        self.holds(self.verifier.lease().deadline())
    }

    /// Looks for a key and for a root key that nobody has, in the store and within the lease (rules R4 to R6). An error
    /// if a caller's secret could not be judged either.
    pub async fn can_judge(&self) -> Result<(), Failure> {
        let digest = Digest::of(NOBODYS);
        self.entry_by(digest).await?;
        self.root_key_of(digest).await?;
        Ok(())
    }
}
