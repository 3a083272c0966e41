//! The prefix of a tenant's key strings.

use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// Why a text is not a prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum InvalidPrefix {
    /// Not of the form below.
    #[error("a prefix is a lower-case letter and 1 to 15 letters or digits, then perhaps `_` and 1 to 15 more")]
    Form,
    /// Reserved for credentials of Keyreeve itself.
    #[error("this prefix is kept for Keyreeve's own credentials")]
    Reserved,
}

/// `[a-z][a-z0-9]{1,15}(_[a-z0-9]{1,15})?`, for example `ak`, `uspl` or `acme_live`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Prefix(Arc<str>);

/// The form as a regular expression.
pub(super) const PATTERN: &str = "[a-z][a-z0-9]{1,15}(?:_[a-z0-9]{1,15})?";
/// Longest prefix, in bytes: 16, an underscore, 15.
pub(super) const PREFIX_BYTES_MAX: usize = 32;
/// Shortest prefix, in bytes.
pub(super) const PREFIX_BYTES_MIN: usize = 2;
const PART_BYTES_MAX: usize = 16;
const ROOT: &str = "kr_root";

impl Prefix {
    /// Parses a prefix that a tenant may choose.
    pub fn parse(text: &str) -> Result<Self, InvalidPrefix> {
        if text == ROOT {
            return Err(InvalidPrefix::Reserved);
        }
        if is_prefix(text) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidPrefix::Form)
        }
    }

    /// Returns the prefix of root keys, which no tenant may choose.
    pub fn root() -> Self {
        Self(ROOT.into())
    }

    /// Returns the default prefix. Clerk's request helpers require exactly this one (clerk-wire, section 5).
    pub fn standard() -> Self {
        Self("ak".into())
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a text has the form of a prefix.
pub(super) fn is_prefix(text: &str) -> bool {
    let lower_or_digit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let (first, second) = match text.split_once('_') {
        Some((first, second)) => (first, Some(second)),
        None => (text, None),
    };
    let starts_with_letter = first.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    let first_fits = (PREFIX_BYTES_MIN..=PART_BYTES_MAX).contains(&first.len()) && first.bytes().all(lower_or_digit);
    let second_fits =
        second.is_none_or(|part| (1..PART_BYTES_MAX).contains(&part.len()) && part.bytes().all(lower_or_digit));
    starts_with_letter && first_fits && second_fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_a_prefix_is_checked() {
        for good in [
            "ak",
            "uspl",
            "acme_live",
            "a0",
            "abcdefghijklmnop_abcdefghijklmno",
            "ak_1",
        ] {
            assert!(Prefix::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "A",
            "Ak",
            "1a",
            "_ak",
            "ak_",
            "ak__x",
            "a_b",
            "ak_b_c",
            "ak-live",
            "äk",
            "abcdefghijklmnopq",
            "ak_abcdefghijklmnop",
        ] {
            assert_eq!(Prefix::parse(bad), Err(InvalidPrefix::Form), "{bad}");
        }
    }

    #[test]
    fn no_tenant_may_take_the_prefix_of_root_keys() {
        assert_eq!(Prefix::parse("kr_root"), Err(InvalidPrefix::Reserved));
    }
}
