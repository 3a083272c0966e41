//! Forms: the fields that a browser sent, and the CSRF check that one of our pages sent them.

use super::page_error::PageError;
use super::visitor::Visitor;
use crate::Dashboard;
use axum::extract::{FromRequest, FromRequestParts as _, Request};
use hyper::Method;
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use keyreeve_api::{Code, Problem};
use keyreeve_web::{RequestInfo, body};
use subtle::ConstantTimeEq as _;

/// Largest form in bytes: two hundred selected keys, or a policy, with room to spare.
const FORM_BYTES_MAX: usize = 128 * 1024;
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
        self.get("back")
            .map_or(otherwise, |back| super::page::local(Some(back)))
            .to_owned()
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

    /// Encodes the fields as a query, which [`Fields::parse`] reads.
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

/// A form that a signed-in user sent from one of our pages.
pub(super) struct SignedInForm {
    pub(super) visitor: Visitor,
    pub(super) fields: FormFields,
    pub(super) path: String,
}

impl FromRequest<Dashboard> for SignedInForm {
    type Rejection = PageError;

    async fn from_request(request: Request, app: &Dashboard) -> Result<Self, PageError> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let visitor = match Visitor::from_request_parts(&mut parts, app).await {
            Ok(visitor) => visitor,
            // The fields are kept in the address of the form, for the time after signing in.
            Err(page_error) => {
                let fields = read_anonymous(app, &parts, body).await?;
                return Err(page_error.keeping(fields.address(&path)));
            }
        };
        let fields = read(&parts, body).await?;
        let kept = fields.address(&path);
        if !is_same(fields.raw(CSRF), &visitor.csrf) {
            return Err(PageError::from(not_ours()).keeping(kept));
        }
        Ok(Self { visitor, fields, path })
    }
}

/// Reads the form of a signed-in user.
async fn read(parts: &Parts, body: axum::body::Body) -> Result<FormFields, PageError> {
    require_form(parts)?;
    let bytes = body::read(&parts.headers, body, FORM_BYTES_MAX).await?;
    Ok(FormFields::parse(&bytes))
}

/// Reads the form of a visitor who is not signed in, within the limits on request bodies of its address.
pub(super) async fn read_anonymous(
    app: &Dashboard,
    parts: &Parts,
    body: axum::body::Body,
) -> Result<FormFields, PageError> {
    require_form(parts)?;
    let address = parts.extensions.get::<RequestInfo>().and_then(|info| info.client);
    let bodies = &app.host().address_rate_limits().bodies;
    let sent = bodies.read(address, &parts.headers, body, FORM_BYTES_MAX).await?;
    Ok(FormFields::parse(&sent.bytes))
}

fn require_form(parts: &Parts) -> Result<(), PageError> {
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_form = content_type.is_some_and(|text| text.starts_with("application/x-www-form-urlencoded"));
    if parts.method == Method::POST && !is_form {
        let problem = Problem::new(
            Code::UnsupportedMediaType,
            "A form is application/x-www-form-urlencoded.",
        );
        return Err(problem.into());
    }
    Ok(())
}

/// Compares in constant time. An empty `expected` equals nothing.
pub(super) fn is_same(given: &str, expected: &str) -> bool {
    !expected.is_empty() && bool::from(given.as_bytes().ct_eq(expected.as_bytes()))
}

/// The problem of a form without the CSRF token of this session: from another site, or from a page of an earlier
/// session.
pub(super) fn not_ours() -> Problem {
    Problem::new(
        Code::FormNotOurs,
        "The form does not carry the mark of this session: it comes from another site, or from a page of an earlier \
         session. Nothing was changed. Open the form again and send it from there.",
    )
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
    fn an_empty_mark_is_never_the_same() {
        assert!(is_same("a", "a") && !is_same("a", "b") && !is_same("", ""));
    }
}
