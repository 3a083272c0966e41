//! The digest of a secret: SHA-256 of the complete key string, the only form in which a secret is stored.
//!
//! Secrets have 256 random bits, so a fast digest cannot be searched, and a slow one would only cost time (OWASP ASVS
//! 5.0, 11.4.1).

use sha2::block_api::Sha256VarCore;
use sha2::digest::Output;
use sha2::digest::block_api::{Buffer, VariableOutputCore as _};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::hash::{Hash, Hasher};
use subtle::ConstantTimeEq as _;

/// Bytes of a digest.
const BYTES: usize = 32;

/// SHA-256 of a complete key string. Compared in constant time.
#[derive(Clone, Copy, Eq)]
pub struct Digest([u8; BYTES]);

impl Digest {
    /// Returns the digest of a key string. One of the usual length is less than a block of SHA-256, so it is passed to
    /// the library's core as the end of a message, without the buffering that longer ones need.
    pub fn of(secret: &[u8]) -> Self {
        let (Ok(mut core), Ok(mut end)) = (Sha256VarCore::new(BYTES), Buffer::<Sha256VarCore>::try_new(secret)) else {
            return Self(Sha256::digest(secret).into());
        };
        let mut digest = Output::<Sha256VarCore>::default();
        core.finalize_variable_core(&mut end, &mut digest);
        Self(digest.into())
    }

    /// Returns a digest that was stored.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns it in hexadecimal digits.
    pub fn to_hex(&self) -> String {
        crate::hex(&self.0)
    }

    /// Parses what [`Digest::to_hex`] writes.
    pub fn from_hex(text: &str) -> Option<Self> {
        crate::bytes_of_hex(text).map(Self)
    }

    fn words(&self) -> [u64; 4] {
        let (words, _) = self.0.as_chunks();
        std::array::from_fn(|place| words.get(place).copied().map_or(0, u64::from_le_bytes))
    }

    /// Returns the first eight bytes as a number. Digests are uniform, so this is a good hash for a table.
    pub fn spread(&self) -> u64 {
        self.0.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
    }
}

impl PartialEq for Digest {
    /// Compares words: an eighth of the steps that bytes would take.
    fn eq(&self, other: &Self) -> bool {
        self.words().ct_eq(&other.words()).into()
    }
}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.spread());
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_librarys_for_every_length() {
        let text: Vec<u8> = (0..=255).collect();
        for length in 0..=128 {
            let message = &text[length..2 * length];
            assert_eq!(Digest::of(message).0, *Sha256::digest(message), "{length} bytes");
        }
    }

    #[test]
    fn a_digest_is_read_back_from_its_digits() {
        let digest = Digest::of(b"x");
        assert_eq!(Digest::from_hex(&digest.to_hex()), Some(digest));
        let text = digest.to_hex();
        for wrong in [&format!("{text}0"), &text.replace(char::is_numeric, "g"), "00", ""] {
            assert_eq!(Digest::from_hex(wrong), None, "{wrong}");
        }
    }
}
