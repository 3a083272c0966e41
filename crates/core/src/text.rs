//! Texts that people choose: names, descriptions, subjects, reasons. Checked once, when they arrive; a valid text is
//! stored unchanged.

use std::fmt;
use thiserror::Error;

/// Why a text is not valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum TextError {
    /// Empty, or only white space.
    #[error("must not be empty")]
    Empty,
    /// Longer than the limit.
    #[error("must have at most {max} characters")]
    TooLong {
        /// Most characters (Unicode scalar values) allowed.
        max: usize,
    },
    /// White space at an end, which would make two names look the same.
    #[error("must not begin or end with white space")]
    Ends,
    /// A control character such as NUL or a line break.
    #[error("must not contain control characters")]
    Control,
    /// A character that reverses the direction of the following text, so that one name can look like another.
    #[error("must not contain bidirectional override characters")]
    Bidi,
    /// Not of the required form.
    #[error("must be {form}")]
    Form {
        /// The form, as text.
        form: &'static str,
    },
}

/// Whether a text may contain a line break or tab.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LineBreaks {
    One,
    Many,
}

fn check(text: &str, max: usize, lines: LineBreaks) -> Result<(), TextError> {
    // Bytes first, so that a text of megabytes is not counted.
    if text.len() > max.saturating_mul(4) || text.chars().count() > max {
        return Err(TextError::TooLong { max });
    }
    for char in text.chars() {
        let is_layout = matches!(char, '\n' | '\r' | '\t');
        if char.is_control() && !(is_layout && lines == LineBreaks::Many) {
            return Err(TextError::Control);
        }
        // U+202A to U+202E and U+2066 to U+2069: embeddings, overrides and isolates (Unicode UAX 9).
        if matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            return Err(TextError::Bidi);
        }
    }
    Ok(())
}

fn not_blank(text: &str) -> Result<(), TextError> {
    if text.trim().is_empty() {
        return Err(TextError::Empty);
    }
    Ok(())
}

fn slug_form(text: &str) -> Result<(), TextError> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let ends_well = !text.starts_with('-') && !text.ends_with('-');
    if !text.is_empty() && text.bytes().all(inner) && ends_well {
        return Ok(());
    }
    Err(TextError::Form {
        form: "lower-case letters, digits and inner hyphens",
    })
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $max:literal, $lines:expr $(, $also:expr)?) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(Box<str>);

        impl $name {
            /// Most characters, counted as Unicode scalar values.
            pub const CHARS_MAX: usize = $max;

            /// Parses a text that is within the bounds, unchanged.
            pub fn parse(text: &str) -> Result<Self, TextError> {
                check(text, $max, $lines)?;
                $($also(text)?;)?
                Ok(Self(text.into()))
            }

            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_type!(
    /// The display name of a key, a root key or a tenant.
    Name, 255, LineBreaks::One, not_blank
);
impl Name {
    /// Parses a new name. Names that were stored before this rule may have white space at their ends ([`Name::parse`]).
    pub fn parse_new(text: &str) -> Result<Self, TextError> {
        let name = Self::parse(text)?;
        if text.trim() == text {
            Ok(name)
        } else {
            Err(TextError::Ends)
        }
    }
}

impl Subject {
    /// Parses the owner of a new key, which must not be only white space. Stored ones may be older than this rule
    /// ([`Subject::parse`]).
    pub fn parse_new(text: &str) -> Result<Self, TextError> {
        not_blank(text)?;
        Self::parse(text)
    }
}

text_type!(
    /// A longer description of a key. May have several lines.
    Description, 255, LineBreaks::Many
);
text_type!(
    /// The owner of a key: any non-empty text; Clerk's forms are `user_…` and `org_…`.
    Subject, 255, LineBreaks::One, |text: &str| if text.is_empty() { Err(TextError::Empty) } else { Ok(()) }
);
text_type!(
    /// Why something was done, as free text.
    Note, 2000, LineBreaks::Many
);
text_type!(
    /// A tenant's short name, used in headers and addresses. It never changes.
    Slug, 63, LineBreaks::One, slug_form
);
text_type!(
    /// The name of a key's limit, also in the fields `RateLimit` and `RateLimit-Policy`.
    LimitName, 32, LineBreaks::One, slug_form
);
text_type!(
    /// The name of a check policy in the paths of gateways. It never changes.
    CheckPolicyName, 63, LineBreaks::One, slug_form
);

/// Claims: a JSON object, stored as the exact text that was sent. This crate does not parse it; the caller has checked
/// it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claims(Box<str>);

impl Claims {
    /// Most bytes of JSON text.
    pub const BYTES_MAX: usize = 16 * 1024;

    /// Takes the text of a JSON object that the caller has already checked.
    pub fn from_checked_json(text: &str) -> Result<Self, TextError> {
        if text.len() > Self::BYTES_MAX {
            return Err(TextError::TooLong { max: Self::BYTES_MAX });
        }
        Ok(Self(text.into()))
    }

    /// Returns the JSON text.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_exactly_or_refused_with_the_reason() {
        for good in [
            "ci",
            "x",
            " spaced ",
            "naïve 日本語 🔑",
            "a\"b\\c<script>",
            "\u{200f}rtl mark",
        ] {
            assert_eq!(Name::parse(good).unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("", TextError::Empty),
            ("   ", TextError::Empty),
            ("a\0b", TextError::Control),
            ("a\nb", TextError::Control),
            ("a\u{85}b", TextError::Control),
            ("a\u{202e}b", TextError::Bidi),
            ("a\u{2066}b", TextError::Bidi),
        ] {
            assert_eq!(Name::parse(bad), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn a_new_name_has_no_white_space_at_its_ends_and_a_stored_one_may() {
        for twin in [" ci", "ci ", "\u{a0}ci", "ci\u{2003}", "ci\u{3000}"] {
            assert_eq!(Name::parse_new(twin), Err(TextError::Ends), "{twin:?}");
            assert!(Name::parse(twin).is_ok());
        }
        assert!(Name::parse_new("a  b").is_ok());
        assert_eq!(Name::parse_new(" "), Err(TextError::Empty));
    }

    #[test]
    fn a_new_owner_is_not_blank_and_a_stored_one_may_be() {
        for blank in [" ", "\u{a0}\u{2003}"] {
            assert_eq!(Subject::parse_new(blank), Err(TextError::Empty));
            assert!(Subject::parse(blank).is_ok());
        }
        assert!(Subject::parse_new("user 1").is_ok());
    }

    #[test]
    fn limits_count_characters_and_not_bytes() {
        assert!(Name::parse(&"é".repeat(255)).is_ok());
        assert_eq!(Name::parse(&"é".repeat(256)), Err(TextError::TooLong { max: 255 }));
        assert_eq!(
            Name::parse(&"x".repeat(10_000_000)),
            Err(TextError::TooLong { max: 255 })
        );
    }

    #[test]
    fn a_description_may_have_lines_but_no_other_control_characters() {
        assert!(Description::parse("one\ntwo\tthree").is_ok());
        assert!(Description::parse("").is_ok());
        assert_eq!(Description::parse("a\0"), Err(TextError::Control));
    }

    #[test]
    fn a_slug_is_lower_case_letters_digits_and_inner_hyphens() {
        assert!(Slug::parse("acme-2").is_ok());
        for bad in ["", "Acme", "-a", "a-", "a b", "a/b", "ä"] {
            assert!(Slug::parse(bad).is_err(), "{bad}");
        }
    }
}
