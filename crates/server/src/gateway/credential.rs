//! Finds the one key in a request (G-11).

use crate::http::bearer;
use hyper::HeaderMap;
use keyreeve_core::check::KeyHeader;

/// The headers of a request, of any transport.
pub(super) trait RequestHeaders {
    /// Returns every value of a header, by its name in lower case.
    fn values<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f [u8]>;
}

impl RequestHeaders for HeaderMap {
    fn values<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f [u8]> {
        self.get_all(name).iter().map(|value| value.as_bytes())
    }
}

/// The request has more than one key, or a value that could be read as more than one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ambiguous;

/// Returns the key from the first of the named headers that has one; `None` if none has. The same key in two headers is
/// one key; a repeated header is refused, whatever its values are.
pub(super) fn find<'f>(
    fields: &'f impl RequestHeaders,
    headers: &'f [KeyHeader],
) -> Result<Option<&'f str>, Ambiguous> {
    let mut found = None;
    for header in headers {
        let mut values = fields.values(header.as_str());
        let Some(value) = values.next() else { continue };
        if values.next().is_some() {
            return Err(Ambiguous);
        }
        let key = match header.is_authorization() {
            true => bearer::of_value(value).map_err(|_| Ambiguous)?,
            false => alone(value)?,
        };
        match (found, key) {
            (Some(before), Some(key)) if before != key => return Err(Ambiguous),
            (None, Some(_)) => found = key,
            (Some(_) | None, _) => {}
        }
    }
    Ok(found)
}

/// Returns a header's value that consists of a key alone.
fn alone(value: &[u8]) -> Result<Option<&str>, Ambiguous> {
    if value.contains(&b',') {
        return Err(Ambiguous);
    }
    let text = str::from_utf8(value).map(|text| text.trim_matches([' ', '\t']));
    Ok(text.ok().filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};
    use keyreeve_core::check::key_headers;

    fn of(names: &[&str], fields: &[(&'static str, &str)]) -> Result<Option<String>, Ambiguous> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let names = key_headers(names.iter().copied()).unwrap();
        find(&headers, &names).map(|key| key.map(str::to_owned))
    }

    const USUAL: &[&str] = &["Authorization", "X-API-Key"];

    #[test]
    fn a_key_is_found_in_the_headers_of_the_policy_and_nowhere_else() {
        let found = |key: &str| Ok(Some(key.to_owned()));
        assert_eq!(of(USUAL, &[("authorization", "Bearer a")]), found("a"));
        assert_eq!(of(USUAL, &[("x-api-key", " a ")]), found("a"));
        assert_eq!(
            of(USUAL, &[("authorization", "Basic eDp5"), ("x-api-key", "a")]),
            found("a")
        );
        assert_eq!(
            of(&["X-API-Key"], &[("authorization", "Bearer b"), ("x-api-key", "a")]),
            found("a")
        );
        assert_eq!(of(&["X-Acme"], &[("x-acme", "a"), ("x-api-key", "b")]), found("a"));
        for nothing in [
            &[][..],
            &[("x-api-key", "")],
            &[("authorization", "Bearer ")],
            &[("x-acme", "a")],
        ] {
            assert_eq!(of(USUAL, nothing), Ok(None), "{nothing:?}");
        }
    }

    #[test]
    fn two_keys_are_refused_and_one_key_twice_is_one() {
        assert_eq!(
            of(USUAL, &[("authorization", "Bearer a"), ("x-api-key", "a")]),
            Ok(Some("a".to_owned()))
        );
        for fields in [
            &[("authorization", "Bearer a"), ("x-api-key", "b")][..],
            &[("authorization", "Bearer a"), ("authorization", "Bearer a")],
            &[("authorization", "Basic eDp5"), ("authorization", "Bearer a")],
            &[("authorization", "Bearer a, Bearer b")],
            &[("authorization", "Bearer a,b")],
            &[("x-api-key", "a"), ("x-api-key", "a")],
            &[("x-api-key", "a,b")],
            &[("x-api-key", ","), ("authorization", "Bearer a")],
        ] {
            assert_eq!(of(USUAL, fields), Err(Ambiguous), "{fields:?}");
        }
    }
}
