//! Secrets between the transaction that stores their digest and the answer that shows them.

use keyreeve_core::Secret;
use keyreeve_core::key::{Prefix, SECRET_ENTROPY_BYTES};
use keyreeve_core::lifecycle::NewSecret;
use keyreeve_store::model::KeyRecord;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// A key and its new plaintext secret, for the one answer that shows it.
pub struct KeyWithSecret {
    /// The key.
    pub record: KeyRecord,
    /// The secret.
    pub secret: Secret,
}

/// Entropy that is read before the transaction, one secret an item. The decision inside the transaction mints with the
/// policy's prefix; afterwards the secrets are taken out. A decision that runs twice mints the same secret again.
#[derive(Clone)]
pub(super) struct Mint(Arc<Vec<MintingSlot>>);

struct MintingSlot {
    entropy: [u8; SECRET_ENTROPY_BYTES],
    minted: Mutex<Option<Secret>>,
}

impl Mint {
    pub(super) fn new(entropy: impl IntoIterator<Item = [u8; SECRET_ENTROPY_BYTES]>) -> Self {
        let slot = |entropy| MintingSlot {
            entropy,
            minted: Mutex::new(None),
        };
        Self(Arc::new(entropy.into_iter().map(slot).collect()))
    }

    /// Mints the secret of item `place`; `None` if there is no such item.
    pub(super) fn mint(&self, place: usize, prefix: &Prefix) -> Option<NewSecret> {
        let slot = self.0.get(place)?;
        let secret = Secret::mint(prefix, &slot.entropy);
        let kept = NewSecret::of(&secret, prefix);
        *slot.minted.lock().unwrap_or_else(PoisonError::into_inner) = Some(secret);
        Some(kept)
    }

    /// Takes the secret of item `place`; a second call returns `None`.
    pub(super) fn take(&self, place: usize) -> Option<Secret> {
        self.0
            .get(place)?
            .minted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl fmt::Debug for KeyWithSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyWithSecret")
            .field("id", &self.record.key.id)
            .finish_non_exhaustive()
    }
}
