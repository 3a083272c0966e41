//! Case folding, the same in every database and under every locale.

use caseless::Caseless as _;

/// Returns a text with case folded (Unicode 3.13, toCasefold): `Straße` and `STRASSE` become the same, and so do
/// `ΟΔΟΣ` and `οδος`.
pub(crate) fn folded(text: &str) -> String {
    text.chars().default_case_fold().collect()
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
        ] {
            assert_eq!(folded(one), folded(other));
        }
        assert_ne!(folded("a"), folded("ä"));
    }
}
