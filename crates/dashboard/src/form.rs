//! Forms: reads the fields that a browser sent, and checks with the CSRF token that one of our pages sent them.

use super::fields::{CSRF, FormFields};
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
    fn an_empty_mark_is_never_the_same() {
        assert!(is_same("a", "a") && !is_same("a", "b") && !is_same("", ""));
    }
}
