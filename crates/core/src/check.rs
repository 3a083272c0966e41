//! Check policies: what a gateway in front of an API requires of a key.
//!
//! A gateway names a policy in the path of its request and cannot state anything else about it, so that nothing a
//! client sends can loosen it (G-07). Every tenant has the policy `default`, which accepts any good key of the tenant.

use crate::access::words;
use crate::scope::Scopes;
use crate::text::{CheckPolicyName, TextError};
use std::fmt;

/// The policy that every tenant has without creating it.
pub const DEFAULT_CHECK_POLICY: &str = "default";
/// Most check policies of a tenant, without the built-in one.
pub const CHECK_POLICIES_MAX: usize = 100;
/// Most headers in which a policy looks for a key.
pub const KEY_HEADERS_MAX: usize = 4;
/// The longest time that a gateway may keep an answer, in seconds: the default length of a lease. An instance with
/// shorter leases answers with less (G-14).
pub const CACHE_SECONDS_MAX: u32 = 15;

words!(
    /// Whether the gateway must authenticate itself (G-13).
    GatewayCredential {
        /// Any client of the listener may send checks.
        None => "none",
        /// A root key with `keys:verify` is required in the header `X-Keyreeve-Gateway`.
        Required => "required",
    }
);

/// A header that may contain a key: in `Authorization` after the word Bearer, in any other one alone. In lower case.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct KeyHeader(Box<str>);

impl KeyHeader {
    /// Most characters of a name.
    pub const CHARS_MAX: usize = 64;
    const FORM: TextError = TextError::Form {
        form: "the name of a header that holds a key, such as Authorization or X-API-Key: letters, digits and hyphens, \
               and none that gateways or HTTP itself write",
    };

    /// Parses the name of a header, in any case.
    pub fn parse(name: &str) -> Result<Self, TextError> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if !(1..=Self::CHARS_MAX).contains(&name.len()) || !name.bytes().all(is_name) {
            return Err(Self::FORM);
        }
        let name = name.to_ascii_lowercase();
        match is_written_by_others(&name) {
            true => Err(Self::FORM),
            false => Ok(Self(name.into())),
        }
    }

    /// Returns the header `Authorization`.
    pub fn authorization() -> Self {
        Self("authorization".into())
    }

    /// Whether the key comes after the word Bearer there.
    pub fn is_authorization(&self) -> bool {
        *self.0 == *"authorization"
    }

    /// Returns the name in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyHeader {
    /// Writes the name with a capital at the start of each word.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            "x-api-key" => f.write_str("X-API-Key"),
            name => {
                let mut starts = true;
                for char in name.chars() {
                    let shown = if starts { char.to_ascii_uppercase() } else { char };
                    starts = char == '-';
                    fmt::Write::write_char(f, shown)?;
                }
                Ok(())
            }
        }
    }
}

/// Headers that never contain a key: a gateway, a proxy or HTTP itself writes them, or configurations remove them.
fn is_written_by_others(name: &str) -> bool {
    const WHOLE: [&str; 14] = [
        "accept",
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "via",
    ];
    const BEGINNINGS: [&str; 6] = [
        "x-keyreeve-",
        "x-forwarded-",
        "x-original-",
        "x-real-",
        "x-envoy-",
        "x-request-",
    ];
    WHOLE.contains(&name) || BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

/// The realm that the challenge of a 401 names (RFC 9110, section 11.5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Realm(Box<str>);

impl Realm {
    /// Most characters.
    pub const CHARS_MAX: usize = 64;

    /// Parses visible ASCII and spaces, without what would end or escape a quoted string.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
        match (1..=Self::CHARS_MAX).contains(&text.len()) && text.bytes().all(is_plain) {
            true => Ok(Self(text.into())),
            false => Err(TextError::Form {
                form: "1 to 64 visible ASCII characters or blanks, without quotation marks and backslashes",
            }),
        }
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Realm {
    fn default() -> Self {
        Self("keyreeve".into())
    }
}

/// What a gateway requires of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckPolicy {
    /// Its name in paths.
    pub name: CheckPolicyName,
    /// Scopes that a key must all have.
    pub scopes: Scopes,
    /// The headers in which a key is looked for, in this order. Never empty, without repetitions.
    pub key_headers: Vec<KeyHeader>,
    /// Whether the key's claims are sent to the upstream in `X-Keyreeve-Meta`.
    pub meta: bool,
    /// How long a gateway may keep a positive answer, in seconds; 0 is not at all.
    pub cache_max_age_seconds: u32,
    /// The realm in the challenge of a 401.
    pub realm: Realm,
    /// Whether the gateway must authenticate itself.
    pub gateway_credential: GatewayCredential,
}

/// The fields of a check policy to change. `None` leaves a field unchanged.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CheckPolicyEdit {
    /// Required scopes.
    pub scopes: Option<Scopes>,
    /// The headers in which a key is looked for.
    pub key_headers: Option<Vec<KeyHeader>>,
    /// Whether claims are sent to the upstream.
    pub meta: Option<bool>,
    /// How long an answer may be kept, in seconds.
    pub cache_max_age_seconds: Option<u32>,
    /// The realm in the challenge of a 401.
    pub realm: Option<Realm>,
    /// Whether the gateway must authenticate itself.
    pub gateway_credential: Option<GatewayCredential>,
}

impl CheckPolicy {
    /// Returns a policy that accepts any good key.
    pub fn any(name: CheckPolicyName) -> Self {
        Self {
            name,
            scopes: Scopes::default(),
            key_headers: vec![KeyHeader::authorization(), KeyHeader("x-api-key".into())],
            meta: false,
            cache_max_age_seconds: 0,
            realm: Realm::default(),
            gateway_credential: GatewayCredential::None,
        }
    }

    /// Returns the policy with some fields changed.
    #[must_use]
    pub fn edited(self, edit: CheckPolicyEdit) -> Self {
        Self {
            scopes: edit.scopes.unwrap_or(self.scopes),
            key_headers: edit.key_headers.unwrap_or(self.key_headers),
            meta: edit.meta.unwrap_or(self.meta),
            cache_max_age_seconds: edit.cache_max_age_seconds.unwrap_or(self.cache_max_age_seconds),
            realm: edit.realm.unwrap_or(self.realm),
            gateway_credential: edit.gateway_credential.unwrap_or(self.gateway_credential),
            name: self.name,
        }
    }
}

/// Parses a list of header names: 1 to [`KEY_HEADERS_MAX`]; a repeated one is kept once.
pub fn key_headers<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Vec<KeyHeader>, TextError> {
    let wrong_number = TextError::Form {
        form: "1 to 4 names of headers",
    };
    let mut headers: Vec<KeyHeader> = Vec::new();
    for (place, name) in names.into_iter().enumerate() {
        let header = KeyHeader::parse(name)?;
        if place >= KEY_HEADERS_MAX {
            return Err(wrong_number);
        }
        if !headers.contains(&header) {
            headers.push(header);
        }
    }
    match headers.is_empty() {
        true => Err(wrong_number),
        false => Ok(headers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_header_is_one_that_nobody_else_writes() {
        for (given, shown) in [
            ("authorization", "Authorization"),
            ("X-API-KEY", "X-API-Key"),
            ("api-key", "Api-Key"),
            ("X-Acme-Token", "X-Acme-Token"),
        ] {
            assert_eq!(KeyHeader::parse(given).unwrap().to_string(), shown);
        }
        for name in [
            "",
            "X_API_Key",
            "a b",
            "a:b",
            "ä",
            "Host",
            "cookie",
            "X-Keyreeve-Subject",
            "x-forwarded-for",
            "X-Real-IP",
        ] {
            assert!(KeyHeader::parse(name).is_err(), "{name}");
        }
        assert!(KeyHeader::parse(&"x".repeat(65)).is_err());
    }

    #[test]
    fn headers_are_looked_through_in_their_order_and_each_once() {
        let names = key_headers(["X-API-Key", "Authorization", "x-api-key"]).unwrap();
        let names: Vec<_> = names.iter().map(KeyHeader::as_str).collect();
        assert_eq!(names, ["x-api-key", "authorization"]);
        assert!(key_headers([]).is_err());
        assert!(key_headers(["a", "b", "c", "d", "e"]).is_err());
        assert!(key_headers(["a"; 5]).is_err());
    }

    #[test]
    fn a_realm_cannot_leave_its_quotation_marks() {
        assert!(Realm::parse("Acme API").is_ok());
        for text in ["", "a\"b", "a\\b", "a\r\nb", "ä"] {
            assert!(Realm::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_built_in_policy_takes_any_good_key_and_lets_nobody_keep_the_answer() {
        let policy = CheckPolicy::any(CheckPolicyName::parse(DEFAULT_CHECK_POLICY).unwrap());
        assert!(policy.scopes.is_empty() && !policy.meta && policy.cache_max_age_seconds == 0);
        let edit = CheckPolicyEdit {
            meta: Some(true),
            ..CheckPolicyEdit::default()
        };
        let edited = policy.clone().edited(edit);
        assert_eq!(CheckPolicy { meta: false, ..edited }, policy);
    }
}
