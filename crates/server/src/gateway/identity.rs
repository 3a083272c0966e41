//! Describes an accepted key in headers that an upstream can trust (G-05).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyreeve_core::coherence::Entry;
use keyreeve_core::key::MARKER;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Names of the identity headers, in this order. All are always set, empty where nothing is known: a gateway that only
/// overwrites would otherwise pass on a header that the client forged.
pub(super) const NAMES: [&str; 7] = [
    "x-keyreeve-key-id",
    "x-keyreeve-tenant",
    "x-keyreeve-subject",
    "x-keyreeve-owner-type",
    "x-keyreeve-scopes",
    "x-keyreeve-environment",
    "x-keyreeve-meta",
];

/// Longest claims that are passed on, as JSON. Many proxies cut or refuse headers over 8 KiB.
const META_BYTES_MAX: usize = 4 * 1024;

/// Claims that do not fit into a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TooLarge;

/// Returns the values of the headers, in the order of [`NAMES`].
pub(super) fn values(entry: &Entry, key: &str, with_meta: bool) -> Result<[String; 7], TooLarge> {
    let claims = entry.claims().filter(|_| with_meta).unwrap_or_default();
    if claims.len() > META_BYTES_MAX {
        return Err(TooLarge);
    }
    Ok([
        entry.key_id().to_string(),
        entry.gate().slug().to_string(),
        encoded(entry.subject()),
        owner_type(entry.subject()).to_owned(),
        entry.scopes().to_owned(),
        environment(key).to_owned(),
        URL_SAFE_NO_PAD.encode(claims),
    ])
}

/// Characters that are kept as they are beside letters and digits: `- . _ ~ : / @ + * = |`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'/')
    .remove(b'@')
    .remove(b'+')
    .remove(b'*')
    .remove(b'=')
    .remove(b'|');

/// Encodes text for a header: every other byte of its UTF-8 becomes `%` and two hex digits (RFC 3986, section 2.1).
fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// Returns the kind of owner, where the subject's form shows it.
fn owner_type(subject: &str) -> &'static str {
    match subject.split_once('_') {
        Some(("user", _)) => "user",
        Some(("org", _)) => "org",
        Some(_) | None => "",
    }
}

/// Returns the second part of the key's prefix: `live` of `acme_live_kr1…`. The complete secret was found by its
/// digest, so the prefix is the one that the tenant chose.
fn environment(key: &str) -> &str {
    let prefix = key.rsplit_once(MARKER).map_or("", |(prefix, _)| prefix);
    prefix.split_once('_').map_or("", |(_, environment)| environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_one_line_of_visible_ascii_that_can_be_read_back() {
        for (text, expected) in [
            ("user_2f4K", "user_2f4K"),
            ("auth0|abc@example.org", "auth0|abc@example.org"),
            ("a b", "a%20b"),
            ("100%", "100%25"),
            ("x\r\nX-Keyreeve-Scopes: admin", "x%0D%0AX-Keyreeve-Scopes:%20admin"),
            ("größe", "gr%C3%B6%C3%9Fe"),
            ("a,b;c\"d\\e", "a%2Cb%3Bc%22d%5Ce"),
            ("", ""),
        ] {
            assert_eq!(encoded(text), expected, "{text:?}");
        }
    }

    #[test]
    fn owner_and_environment_are_told_only_where_they_are_known() {
        assert_eq!((owner_type("user_1"), owner_type("org_1")), ("user", "org"));
        assert_eq!((owner_type("users_1"), owner_type("user")), ("", ""));
        let secret = |prefix: &str| format!("{prefix}_kr1{}", "0".repeat(49));
        assert_eq!(environment(&secret("acme_live")), "live");
        assert_eq!(environment(&secret("ak")), "");
        assert_eq!(environment(&secret("ak_kr1")), "kr1");
    }
}
