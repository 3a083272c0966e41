//! A plaintext secret, between its creation and the answer that shows it.

use super::{Digest, Prefix, base62, format};
use zeroize::Zeroizing;

/// Random bytes in a secret.
pub const SECRET_ENTROPY_BYTES: usize = 32;

/// A complete key string in plaintext. It cannot be printed, compared, copied or serialised by accident, and its memory
/// is wiped when it is dropped (ARCHITECTURE.md, A2).
#[expect(
    missing_debug_implementations,
    reason = "a secret must not be printable, not even masked by mistake of a formatter"
)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Creates a secret. `entropy` must be fresh bytes of the operating system's generator.
    pub fn mint(prefix: &Prefix, entropy: &[u8; SECRET_ENTROPY_BYTES]) -> Self {
        let payload = Zeroizing::new(base62::of_256_bits(entropy));
        Self(Zeroizing::new(format::print(prefix, &payload)))
    }

    /// Returns the plaintext. Only the answer that shows the secret once may call this.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the digest, which is stored instead of the secret.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    /// Returns what a list may show of the secret.
    pub fn last_four(&self) -> LastFour {
        let mut last = [b'0'; 4];
        for (to, from) in last.iter_mut().rev().zip(self.0.bytes().rev()) {
            *to = from;
        }
        LastFour(last)
    }
}

/// The last four characters of a secret: part of its checksum, so they reveal nothing of the random part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastFour([u8; 4]);

impl LastFour {
    /// Parses what was stored; `None` unless it is four base62 characters.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 4] = text.as_bytes().try_into().ok()?;
        bytes.iter().all(u8::is_ascii_alphanumeric).then_some(Self(bytes))
    }

    /// Returns the four characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("")
    }
}
