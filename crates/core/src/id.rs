//! Identifiers: a type prefix and 32 hex digits of a UUIDv7 (RFC 9562, section 5.7). Safe to log, never secret.

use crate::hex::{bytes_of_hex, hex_digits};
use crate::time::Timestamp;
use std::fmt;
use thiserror::Error;

/// Why a text is not an identifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("an id is `{prefix}` and 32 hex digits")]
pub struct InvalidId {
    /// The expected prefix.
    pub prefix: &'static str,
}

/// Random bytes that one UUIDv7 needs beside its time.
pub const ID_ENTROPY_BYTES: usize = 10;

/// UUIDv7 layout: 48 bits of milliseconds, version, 12 bits, variant, 62 bits.
///
/// The 12 bits after the version are `sequence` (RFC 9562, section 6.2, method 1), so ids that one node makes in one
/// millisecond sort in the order in which they were made, and "newest first" is the id's own order.
fn uuid_v7(at: Timestamp, sequence: u16, entropy: [u8; ID_ENTROPY_BYTES]) -> [u8; 16] {
    // There are no times before 1970.
    let [_, _, t0, t1, t2, t3, t4, t5] = at.millis().max(0).to_be_bytes();
    // More than 12 bits would overwrite the version.
    let [s0, s1] = (sequence & 0x0fff).to_be_bytes();
    let [_, _, r0, r1, r2, r3, r4, r5, r6, r7] = entropy;
    [
        t0,
        t1,
        t2,
        t3,
        t4,
        t5,
        0x70 | s0,
        s1,
        0x80 | (r0 & 0x3f),
        r1,
        r2,
        r3,
        r4,
        r5,
        r6,
        r7,
    ]
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $prefix:literal $(, also $alias:literal)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The text before the hex digits.
            pub const PREFIX: &'static str = $prefix;

            /// Returns a new id. `sequence` orders ids of one millisecond; `entropy` must be fresh random bytes.
            pub fn new(at: Timestamp, sequence: u16, entropy: [u8; ID_ENTROPY_BYTES]) -> Self {
                Self(uuid_v7(at, sequence, entropy))
            }

            /// Returns a bound below every id made at this time or later, and above every one made before.
            pub fn first_at(at: Timestamp) -> Self {
                Self(uuid_v7(at, 0, [0; ID_ENTROPY_BYTES]))
            }

            /// Returns the id with these UUID bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// Returns the bytes of the UUID.
            pub const fn bytes(self) -> [u8; 16] {
                self.0
            }

            /// Returns when it was made, in milliseconds.
            pub fn made_at(self) -> Timestamp {
                let [t0, t1, t2, t3, t4, t5, ..] = self.0;
                Timestamp::from_millis(i64::from_be_bytes([0, 0, t0, t1, t2, t3, t4, t5]))
            }

            /// Parses an id.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                let hex = text.strip_prefix($prefix)$(.or_else(|| text.strip_prefix($alias)))?;
                hex.and_then(bytes_of_hex).map(Self).ok_or(InvalidId { prefix: $prefix })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                let mut digits = [0; 32];
                for (place, &byte) in digits.as_chunks_mut().0.iter_mut().zip(&self.0) {
                    *place = hex_digits(byte);
                }
                f.write_str(str::from_utf8(&digits).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id_type!(
    /// Identifies one API key in all its states; rotation keeps it. Clerk's form `ak_` + 32 hex; `api_key_` + 32 hex is
    /// accepted too (clerk-wire, section 2).
    KeyId, "ak_", also "api_key_"
);
id_type!(
    /// Identifies one root key.
    RootKeyId, "rk_"
);
id_type!(
    /// The id of a user, which is also the subject of the user's keys.
    UserId, "user_"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_prints_and_parses_back_in_either_case() {
        let id = KeyId::new(Timestamp::from_millis(1_700_000_000_000), 5, [0xab; 10]);
        let text = id.to_string();
        let hex = text.strip_prefix("ak_").unwrap();
        assert_eq!(hex.len(), 32);
        for form in [
            text.clone(),
            format!("ak_{}", hex.to_uppercase()),
            format!("api_key_{hex}"),
        ] {
            assert_eq!(KeyId::parse(&form), Ok(id), "{form}");
        }
    }

    #[test]
    fn an_id_is_a_uuid_of_version_7() {
        let [_, _, _, _, _, _, version, _, variant, ..] =
            KeyId::new(Timestamp::from_millis(1_700_000_000_000), 0, [0xff; 10]).bytes();
        assert_eq!((version >> 4, variant >> 6), (7, 0b10));
    }

    #[test]
    fn ids_of_one_millisecond_sort_in_the_order_they_were_made() {
        let at = Timestamp::from_millis(1_700_000_000_000);
        let ids: Vec<_> = (0..4096)
            .map(|n| KeyId::new(at, n, [0xff ^ u8::try_from(n % 256).unwrap(); 10]))
            .collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(ids[4095] < KeyId::new(Timestamp::from_millis(1_700_000_000_001), 0, [0; 10]));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "ak_",
            "rk_00",
            "ak_zz",
            "ak_0123456789abcdef0123456789abcde",
            "AK_0123456789abcdef0123456789abcdef",
        ] {
            assert!(KeyId::parse(text).is_err(), "{text}");
        }
        assert!(KeyId::parse(&format!("ak_{}é", "0".repeat(30))).is_err());
    }
}
