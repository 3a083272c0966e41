//! The digest of a secret: SHA-256 of the whole key string, the only form in which a secret is stored.
//!
//! Secrets carry 256 random bits, so a plain fast digest cannot be searched and a slow one would only cost
//! (OWASP ASVS 5.0, 11.4.1).

use sha2::block_api::compress256;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::hash::{Hash, Hasher};
use subtle::ConstantTimeEq as _;

/// SHA-256 of a full key string. Compared in constant time.
#[derive(Clone, Copy, Eq)]
pub struct Digest([u8; 32]);

/// Bytes of a block of SHA-256, and of the message's length at the end of the last one.
const BLOCK: usize = 64;
const LENGTH: usize = 8;
/// FIPS 180-4, section 5.3.3.
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// A message that is one block with its padding (FIPS 180-4, section 5.1.1), as every key of the usual length is.
fn padded(message: &[u8]) -> Option<[u8; BLOCK]> {
    let mut block = [0; BLOCK];
    let (text, length) = block.split_last_chunk_mut::<LENGTH>()?;
    let bits = u64::try_from(message.len()).ok()?.checked_mul(8)?;
    *length = bits.to_be_bytes();
    *text.get_mut(message.len())? = 0x80;
    text.get_mut(..message.len())?.copy_from_slice(message);
    Some(block)
}

impl Digest {
    /// The digest of a key string, given as its bytes. One of the usual length is one block, and a quarter of the library's
    /// time goes into what only longer messages need.
    pub fn of(secret: &[u8]) -> Self {
        match padded(secret) {
            Some(block) => Self::of_block(block),
            None => Self(Sha256::digest(secret).into()),
        }
    }

    fn of_block(block: [u8; BLOCK]) -> Self {
        let mut state = INITIAL;
        compress256(&mut state, &[block]);
        let mut bytes = [0; 32];
        let (words, _) = bytes.as_chunks_mut::<4>();
        for (word, part) in words.iter_mut().zip(state) {
            *word = part.to_be_bytes();
        }
        Self(bytes)
    }

    /// A digest read back from where it was stored.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// In hexadecimal digits.
    pub fn to_hex(&self) -> String {
        crate::hex(&self.0)
    }

    /// Reads what [`Digest::to_hex`] writes.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return None;
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            let digit = |digit: &u8| {
                char::from(*digit)
                    .to_digit(16)
                    .and_then(|digit| u8::try_from(digit).ok())
            };
            *byte = digit(high)? << 4 | digit(low)?;
        }
        Some(Self(bytes))
    }

    fn words(&self) -> [u64; 4] {
        let (words, _) = self.0.as_chunks();
        std::array::from_fn(|place| words.get(place).copied().map_or(0, u64::from_le_bytes))
    }

    /// The first eight bytes as a number. Digests are uniform, so this is a good hash for a table.
    pub fn spread(&self) -> u64 {
        self.0.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
    }
}

impl PartialEq for Digest {
    /// Word by word: an eighth of the steps that bytes would take.
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
        for length in 0..=2 * BLOCK {
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
