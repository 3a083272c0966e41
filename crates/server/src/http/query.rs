//! Parses query parameters as strictly as bodies: an unknown or repeated one is refused.

use keyreeve_api::Problem;
use keyreeve_core::lifecycle::Standing;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use std::collections::HashMap;

/// The parameters of one request.
pub(crate) struct Parameters<'q>(HashMap<Cow<'q, str>, Cow<'q, str>>);

impl<'q> Parameters<'q> {
    /// Parses a query. Every parameter must be one of `known`, at most once.
    pub(crate) fn parse(query: Option<&'q str>, known: &[&str]) -> Result<Self, Problem> {
        let mut parameters = HashMap::new();
        for pair in query.unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = |text| decode(text).ok_or_else(|| Problem::field("query", "is not percent-encoded UTF-8"));
            let (name, value) = (decoded(name)?, decoded(value)?);
            if !known.contains(&&*name) {
                let listed = known.join(", ");
                return Err(Problem::field(
                    "query",
                    &format!("has an unknown parameter; this call takes {listed}"),
                ));
            }
            if parameters.insert(name.clone(), value).is_some() {
                return Err(Problem::field(&name, "is given twice"));
            }
        }
        Ok(Self(parameters))
    }

    /// Returns one parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| &**value)
    }

    /// Parses an integer within bounds. Clerk's Python SDK writes `10.0` (clerk-wire, section 3).
    pub(crate) fn whole(&self, name: &str, min: u64, max: u64) -> Result<Option<u64>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let digits = match text.split_once('.') {
            Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => whole,
            Some(_) => "",
            None => text,
        };
        let is_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = if is_digits { digits.parse::<u64>().ok() } else { None };
        match number.filter(|number| (min..=max).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(Problem::field(name, &format!("must be an integer from {min} to {max}"))),
        }
    }

    /// Parses `true` or `false`.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Problem> {
        match self.get(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(Problem::field(name, "must be true or false")),
        }
    }

    /// Parses a state of a key.
    pub(crate) fn standing(&self, name: &str) -> Result<Option<Standing>, Problem> {
        let Some(word) = self.get(name) else { return Ok(None) };
        let unknown = || Problem::field(name, "must be active, disabled, expired or revoked");
        Standing::parse(word).map(Some).ok_or_else(unknown)
    }
}

/// Decodes form data of the WHATWG URL standard: `+` is a space. `None` if it is malformed or not UTF-8. The libraries
/// for forms accept both, so each name and value is decoded by the library for percent-encoding.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let spaced = text.replace('+', " ");
    let decoded: Vec<u8> = percent_decode_str(&spaced).collect();
    // An escape of three bytes becomes one byte. A malformed one is left as it is, and the text is then too long.
    let escapes = text.matches('%').count();
    if decoded.len() + 2 * escapes != spaced.len() {
        return None;
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<Parameters<'_>, Problem> {
        Parameters::parse(Some(query), &["limit", "query", "include_invalid"])
    }

    #[test]
    fn numbers_may_be_decimals_but_must_be_whole() {
        for (text, number) in [("10", 10), ("10.0", 10), ("007", 7)] {
            assert_eq!(
                parse(&format!("limit={text}")).unwrap().whole("limit", 1, 100),
                Ok(Some(number))
            );
        }
        for text in [
            "",
            "0",
            "101",
            "1.5",
            "1.",
            ".0",
            "-1",
            "+1",
            "1e1",
            "99999999999999999999",
            "x",
        ] {
            assert!(
                parse(&format!("limit={text}")).unwrap().whole("limit", 1, 100).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn unknown_and_repeated_parameters_are_refused() {
        assert!(parse("colour=1").is_err());
        assert!(parse("limit=1&limit=1").is_err());
        assert!(parse("").is_ok() && parse("limit=1&query=x").is_ok());
    }

    #[test]
    fn values_are_decoded() {
        for (query, text) in [
            ("query=a%20b+c%C3%A9", "a b cé"),
            ("query=%2B%25%26%3d", "+%&="),
            ("%71uery=é", "é"),
            ("query=%EF%BF%BD", "\u{fffd}"),
        ] {
            assert_eq!(parse(query).unwrap().get("query"), Some(text), "{query}");
        }
    }

    #[test]
    fn malformed_escapes_and_other_encodings_are_refused() {
        for broken in [
            "query=%",
            "query=%2",
            "query=%zz",
            "query=%2g",
            "query=%+1",
            "query=%%41",
            "query=a%41%",
            "query=%ff",
            "query=%C3",
            "query=%ED%A0%80",
            "%zz=1",
        ] {
            assert!(parse(broken).is_err(), "{broken}");
        }
    }
}
