//! Texts without regard to case, alike in every database and under every locale.

use caseless::Caseless as _;
use unicode_normalization::UnicodeNormalization as _;

/// Returns a text with case folded (Unicode 3.13, canonical caseless matching): `Straße` equals `STRASSE`, and `é` as one code
/// point equals `e` with a combining accent. Composed at the end, so that a search for `e` does not match `é`.
pub(crate) fn folded(text: &str) -> String {
    text.nfd().default_case_fold().nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_is_folded_for_all_letters() {
        for (one, other) in [
            ("ÄRGER", "ärger"),
            ("Straße", "STRASSE"),
            ("ΟΔΟΣ", "οδος"),
            ("ПРИВЕТ", "привет"),
            ("ǅ", "ǆ"),
            ("ASCII 100%_\\", "ascii 100%_\\"),
            ("É", "e\u{301}"),
            ("\u{1e9b}\u{323}", "\u{17f}\u{323}\u{307}"),
        ] {
            assert_eq!(folded(one), folded(other));
        }
        assert!(!folded("ä").contains(&folded("a")));
        assert!(!folded("a\u{308}").contains(&folded("a")));
    }
}
