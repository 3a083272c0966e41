//! Fields: what a browser sent in a form or in an address, and the addresses that are made of them.

use hyper::http::request::Parts;

/// Most fields in one form.
const FIELDS_MAX: usize = 2_000;
/// The field with the CSRF token.
pub(super) const CSRF: &str = "csrf";
/// Fields that never become part of an address.
const PRIVATE: [&str; 5] = [CSRF, "password", "new_password", "again", "once"];

/// The fields of a form or of a query, in order. A name may occur several times.
#[derive(Clone, Default)]
pub(super) struct FormFields(Vec<(String, String)>);

impl FormFields {
    pub(super) fn parse(text: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(text).take(FIELDS_MAX);
        // Browsers send line ends as CRLF (WHATWG HTML, form submission).
        let field = |(name, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| {
            (name.into_owned(), value.replace("\r\n", "\n"))
        };
        Self(pairs.map(field).collect())
    }

    /// Parses the query of a request.
    pub(super) fn of_query(parts: &Parts) -> Self {
        Self::parse(parts.uri.query().unwrap_or("").as_bytes())
    }

    /// Returns a field as it was sent, or the empty text.
    pub(super) fn raw(&self, name: &str) -> &str {
        let field = self.0.iter().find(|(field, _)| field == name);
        field.map_or("", |(_, value)| value)
    }

    /// Returns a field without surrounding white space; `None` if nothing is left.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        Some(self.raw(name).trim()).filter(|text| !text.is_empty())
    }

    /// Returns where to go after the form: its `back` field if that is a path of this site, otherwise `otherwise`.
    pub(super) fn back_or(&self, otherwise: &str) -> String {
        self.get("back").map_or(otherwise, |back| local(Some(back))).to_owned()
    }

    /// Returns every value of a field.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    }

    /// Makes fields from pairs.
    pub(super) fn of<'f>(pairs: impl IntoIterator<Item = (&'f str, String)>) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        )
    }

    /// Returns the names of the fields.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Encodes the fields as a query, which [`FormFields::parse`] reads.
    pub(super) fn encoded(&self) -> String {
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&self.0)
            .finish()
    }

    /// Returns the fields with one set, also to the empty text, or removed if `value` is `None`.
    pub(super) fn set(&self, name: &str, value: Option<String>) -> Self {
        let mut fields: Vec<_> = self.0.iter().filter(|(field, _)| field != name).cloned().collect();
        fields.extend(value.map(|value| (name.to_owned(), value)));
        Self(fields)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(field, _)| field == name)
    }

    /// Returns the fields with one set, or removed if `value` is empty.
    pub(super) fn with(&self, name: &str, value: &str) -> Self {
        let mut fields: Vec<_> = self.0.iter().filter(|(field, _)| field != name).cloned().collect();
        if !value.is_empty() {
            fields.push((name.to_owned(), value.to_owned()));
        }
        Self(fields)
    }

    /// Returns an address with these fields as its query, without those that must not be in an address.
    pub(super) fn address(&self, path: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let shown = self.0.iter().filter(|(name, value)| {
            !PRIVATE.contains(&name.as_str()) && !value.is_empty() && !value.contains(keyreeve_core::key::MARKER)
        });
        for (name, value) in shown {
            query.append_pair(name, value);
        }
        match query.finish() {
            query if query.is_empty() => path.to_owned(),
            query => format!("{path}?{query}"),
        }
    }
}

/// Returns a path of this site; anything else becomes the home page, so that a link cannot redirect to another site.
pub(super) fn local(text: Option<&str>) -> &str {
    let is_local = |text: &&str| {
        text.starts_with('/')
            && !text.starts_with("//")
            && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    text.filter(is_local).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_private_never_gets_into_an_address() {
        let fields = FormFields::parse(b"csrf=1&password=2&name=a+b&key=ak_kr1xyz&empty=&id=x&id=y");
        assert_eq!(fields.address("/keys"), "/keys?name=a+b&id=x&id=y");
        assert_eq!(fields.with("name", "").with("id", "z").address("/keys"), "/keys?id=z");
    }

    #[test]
    fn only_a_path_of_this_site_is_followed() {
        assert_eq!(local(Some("/keys?state=active")), "/keys?state=active");
        for text in [
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "",
            "keys",
            "/a\r\nb",
            "javascript:1",
        ] {
            assert_eq!(local(Some(text)), "/", "{text:?}");
        }
    }
}
