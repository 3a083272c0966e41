//! Formatting and parsing key strings: `<prefix>_kr1<43 base62><6 base62 of CRC-32 over everything before it>`.
//!
//! The checksum is not for security: a mistyped key is refused without a digest or a look-up, and a secret scanner can
//! tell a key from noise without a request.

use super::{Digest, Prefix, base62, prefix};
use thiserror::Error;

/// The fixed text after the prefix, by which one scanner rule finds every tenant's keys. `1` is the version of the
/// format.
pub const MARKER: &str = "_kr1";

const TAIL_BYTES: usize = base62::CHARS_OF_256_BITS + base62::CHARS_OF_32_BITS;
const BYTES_MIN: usize = prefix::PREFIX_BYTES_MIN + MARKER.len() + TAIL_BYTES;
const BYTES_MAX: usize = prefix::PREFIX_BYTES_MAX + MARKER.len() + TAIL_BYTES;

/// From this many characters on, the text after the marker is redacted as a part of a secret.
const TELLING_BYTES: usize = 8;

/// Why a text is not a key. Only for logs and metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Malformed {
    /// Too short or too long.
    #[error("a key has {BYTES_MIN} to {BYTES_MAX} characters")]
    Length,
    /// No `_kr1` where it must be, or the prefix is not one.
    #[error("a key is a prefix, `_kr1` and 49 letters or digits")]
    Form,
    /// The checksum does not match: a typing error, or a key of another system.
    #[error("the key's checksum does not fit: it was mistyped or cut")]
    Checksum,
}

/// A text with the form of a key and a matching checksum. Borrows the text.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "it holds a plaintext secret")]
pub struct Presented<'a>(&'a str);

impl<'a> Presented<'a> {
    /// Whether a text has a length that keys have. Cheap enough to call for every text.
    pub fn may_be(text: &str) -> bool {
        (BYTES_MIN..=BYTES_MAX).contains(&text.len())
    }

    /// Checks form and checksum, without a digest or a look-up.
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        if !Self::may_be(text) {
            return Err(Malformed::Length);
        }
        let split = |at: usize| text.split_at_checked(text.len() - at).ok_or(Malformed::Form);
        let (checked, checksum) = split(base62::CHARS_OF_32_BITS)?;
        let (head, tail) = split(TAIL_BYTES)?;
        let prefix = head.strip_suffix(MARKER).ok_or(Malformed::Form)?;
        // Without a branch for each byte, the compiler processes sixteen at a time.
        let are_alphanumeric = tail
            .bytes()
            .fold(true, |so_far, byte| so_far & byte.is_ascii_alphanumeric());
        if !prefix::is_prefix(prefix) || !are_alphanumeric {
            return Err(Malformed::Form);
        }
        if checksum.as_bytes() == checksum_of(checked) {
            Ok(Self(text))
        } else {
            Err(Malformed::Checksum)
        }
    }

    /// Returns the digest to look the key up by.
    pub fn digest(self) -> Digest {
        Digest::of(self.0.as_bytes())
    }
}

/// Returns a regular expression for keys of one prefix or of all. It does not check the checksum.
pub fn pattern(prefix: Option<&Prefix>) -> String {
    let prefix = prefix.map_or(prefix::PATTERN, Prefix::as_str);
    format!("{prefix}{MARKER}[0-9A-Za-z]{{{TAIL_BYTES}}}")
}

/// Removes the random part of everything in a text that could be a key, complete or cut off.
pub fn redacted(text: &str) -> String {
    let mut parts = text.split(MARKER);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part
            .find(|char: char| !char.is_ascii_alphanumeric())
            .unwrap_or(part.len());
        let (random, rest) = part.split_at_checked(end).unwrap_or((part, ""));
        let shown = if random.len() < TELLING_BYTES { random } else { "…" };
        out.extend([MARKER, shown, rest]);
    }
    out
}

/// Builds a key string.
pub(super) fn print(prefix: &Prefix, payload: &[u8; base62::CHARS_OF_256_BITS]) -> String {
    // As long as any key: growing would leave a part of the secret in memory that is not wiped.
    let mut text = String::with_capacity(BYTES_MAX);
    text.push_str(prefix.as_str());
    text.push_str(MARKER);
    text.extend(payload.iter().copied().map(char::from));
    let checksum = checksum_of(&text);
    text.extend(checksum.iter().copied().map(char::from));
    text
}

fn checksum_of(text: &str) -> [u8; base62::CHARS_OF_32_BITS] {
    base62::of_32_bits(crc32fast::hash(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::Secret;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_string_has_the_published_form() {
        let secret = Secret::mint(&Prefix::standard(), &[0; 32]);
        assert_eq!(
            secret.expose(),
            "ak_kr100000000000000000000000000000000000000000001wav2j"
        );
        assert_eq!(secret.last_four().as_str(), "av2j");
    }

    proptest! {
        #[test]
        fn every_minted_secret_parses_and_keeps_its_digest(entropy: [u8; 32], prefix in "[a-z][a-z0-9]{1,15}(_[a-z0-9]{1,15})?") {
            let Ok(prefix) = Prefix::parse(&prefix) else { return Ok(()) };
            let secret = Secret::mint(&prefix, &entropy);
            let presented = Presented::parse(secret.expose()).map(Presented::digest);
            prop_assert_eq!(presented, Ok(secret.digest()));
        }

        #[test]
        fn one_changed_character_is_refused_without_a_digest(entropy: [u8; 32], at in 0_usize..55, to in "[0-9A-Za-z_]") {
            let secret = Secret::mint(&Prefix::standard(), &entropy);
            let mut text = secret.expose().to_owned();
            prop_assume!(text.get(at..=at) != Some(to.as_str()));
            text.replace_range(at..=at, &to);
            prop_assert!(Presented::parse(&text).is_err());
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,120}") {
            let _verdict = Presented::parse(&text).map(|_| ());
        }
    }

    #[test]
    fn what_could_be_a_key_is_not_shown() {
        let key = "ak_kr100000000000000000000000000000000000000000001wav2j";
        for (text, shown) in [
            ("", ""),
            ("no key, ak_kr1 alone, x_kr1abc", "no key, ak_kr1 alone, x_kr1abc"),
            (key, "ak_kr1…"),
            (&format!("({key}), {key}/x é"), "(ak_kr1…), ak_kr1…/x é"),
            ("cut off: ak_kr1000000000", "cut off: ak_kr1…"),
        ] {
            assert_eq!(redacted(text), shown);
        }
    }

    #[test]
    fn what_has_no_form_of_a_key_is_refused_by_its_form() {
        let long = "a".repeat(10_000);
        for (text, why) in [
            ("", Malformed::Length),
            (long.as_str(), Malformed::Length),
            (
                "ak_kr2AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                Malformed::Form,
            ),
            (
                "AK_kr100000000000000000000000000000000000000000001wav2j",
                Malformed::Form,
            ),
            (
                "ak_kr10000000000000000000000000000000000000000000_wav2j",
                Malformed::Form,
            ),
            (
                "ak_kr1000000000000000000000000000000000000000000000é2j",
                Malformed::Form,
            ),
            (
                "ak_kr100000000000000000000000000000000000000000001wav2k",
                Malformed::Checksum,
            ),
        ] {
            assert_eq!(Presented::parse(text).map(|_| ()), Err(why), "{text}");
        }
    }
}
