//! Describes where a secret was found, in a text that can be stored: without credentials, and above all without the
//! secret.

use hyper::Uri;
use keyreeve_api::leaks::URL_CHARS_MAX;
use keyreeve_core::key::{MARKER, redacted};

/// Most characters of the text. It also becomes the reason of a revocation.
const FOUND_CHARS_MAX: usize = 2_000;
/// Longest fragment of a URL in bytes, such as `L10-L20`.
const ANCHOR_BYTES_MAX: usize = 64;
/// Replaces what is not stored.
const HIDDEN: &str = "…";

/// The source of a report, and where it found the secret.
pub(super) struct FoundPlace {
    pub(super) by: String,
    pub(super) url: Option<String>,
    pub(super) note: Option<String>,
}

impl FoundPlace {
    /// Returns the text without anything that looks like a key, and without the random part of this secret.
    pub(super) fn without(&self, secret: &str) -> Box<str> {
        let at = self.url.as_ref().map_or(String::new(), |url| format!(" at {url}"));
        let note = self.note.as_ref().map_or(String::new(), |note| format!(": {note}"));
        let mut text = format!("found by {}{at}{note}", self.by);
        if let Some((_, payload)) = secret.rsplit_once(MARKER).filter(|(_, payload)| !payload.is_empty()) {
            text = text.replace(payload, HIDDEN);
            // The checksum alone is not secret. The random part is, also without the checksum.
            if let Some((random, _)) = payload.split_at_checked(payload.len().saturating_sub(6))
                && random.len() > 8
            {
                text = text.replace(random, HIDDEN);
            }
        }
        redacted(&text).chars().take(FOUND_CHARS_MAX).collect::<String>().into()
    }
}

/// Returns whether a text can be the name of a source.
pub(super) fn is_source(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=64).contains(&text.len())
        && text.bytes().all(is_plain)
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
}

/// Returns a URL without user, password and query, which may be credentials; `None` if it is no `http` or `https` URL.
pub(super) fn sound_url(text: &str) -> Option<String> {
    let text = text.trim();
    if text.chars().count() > URL_CHARS_MAX {
        return None;
    }
    let (address, anchor) = text
        .split_once('#')
        .map_or((text, None), |(address, anchor)| (address, Some(anchor)));
    let uri: Uri = address.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme))?;
    let authority = uri.authority()?.as_str();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let is_anchor = |anchor: &&str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        (1..=ANCHOR_BYTES_MAX).contains(&anchor.len()) && anchor.bytes().all(is_plain)
    };
    let anchor = anchor
        .filter(is_anchor)
        .map_or(String::new(), |anchor| format!("#{anchor}"));
    (!host.is_empty()).then(|| format!("{scheme}://{host}{}{anchor}", uri.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_without_what_may_be_a_credential() {
        for (text, kept) in [
            (
                "https://github.com/o/r/blob/1a/x.py#L10-L12",
                "https://github.com/o/r/blob/1a/x.py#L10-L12",
            ),
            (
                "https://me:pass@ci.example.com:8080/log?token=1#a b",
                "https://ci.example.com:8080/log",
            ),
            (" http://x ", "http://x/"),
        ] {
            assert_eq!(sound_url(text).as_deref(), Some(kept));
        }
        let long = format!("https://x/{}", "y".repeat(2_000));
        for wrong in [
            "",
            "x",
            "/x",
            "ftp://x/",
            "javascript:alert(1)",
            "https://",
            "https://a b/",
            long.as_str(),
        ] {
            assert_eq!(sound_url(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_written_down_never_holds_the_secret() {
        let secret = "acme_kr100000000000000000000000000000000000000000001wav2j";
        let (_, payload) = secret.split_once("_kr1").unwrap();
        let (random, _) = payload.split_at(43);
        let found = FoundPlace {
            by: "ci".to_owned(),
            url: sound_url(&format!("https://x/{secret}/{payload}")),
            note: Some(format!("{secret} {random} and another: ak_kr1{}", "A".repeat(49))),
        };
        let text = found.without(secret);
        assert!(
            text.starts_with("found by ci at https://x/") && text.contains("and another"),
            "{text}"
        );
        assert!(!text.contains(random) && !text.contains("AAAA"), "{text}");
    }

    #[test]
    fn a_source_is_a_word() {
        assert!(is_source("gitleaks") && is_source("ci-2.x_y"));
        for wrong in ["", "-x", "a b", "ü", "a/b", &"x".repeat(65)] {
            assert!(!is_source(wrong), "{wrong}");
        }
    }
}
