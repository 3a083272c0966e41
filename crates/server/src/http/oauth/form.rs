//! Parses the form in the body of an OAuth request (RFC 6749, section 3.2 and appendix B): unknown parameters are
//! ignored, one without a value counts as omitted, and a repeated one makes the request invalid.

use axum::body::Body;
use hyper::http::request::Parts;
use keyreeve_api::{Code, Problem};
use keyreeve_web::address_rate_limits::AddressRateLimits;
use keyreeve_web::{RequestInfo, body};

/// Largest form. A token is 87 bytes at most, a reason 2 000 characters.
const FORM_BYTES_MAX: usize = 64 * 1024;
/// Most parameters that are read.
const PARAMETERS_MAX: usize = 100;

/// The parameters of one request. It holds a plaintext secret, so it cannot be printed.
pub(super) struct OauthForm(Vec<(String, String)>);

impl OauthForm {
    /// Reads the body of a request.
    pub(super) async fn read(parts: &Parts, incoming: Body) -> Result<Self, Problem> {
        let bytes = body::read(&parts.headers, incoming, FORM_BYTES_MAX).await?;
        Self::of(parts, &bytes)
    }

    /// Reads the form of a client without a credential.
    pub(super) async fn read_anonymous(
        limits: &AddressRateLimits,
        info: &RequestInfo,
        parts: &Parts,
        incoming: Body,
    ) -> Result<Self, Problem> {
        let sent = limits
            .bodies
            .read(info.client, &parts.headers, incoming, FORM_BYTES_MAX)
            .await?;
        Self::of(parts, &sent.bytes)
    }

    fn of(parts: &Parts, bytes: &[u8]) -> Result<Self, Problem> {
        require_form(parts)?;
        if parts.uri.query().is_some() {
            let detail = "The parameters must be in the body: a secret in an address ends up in logs.";
            return Err(Problem::new(Code::BadRequest, detail));
        }
        Self::parse(bytes)
    }

    fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(bytes) {
            if parameters.iter().any(|(known, _)| *known == name) {
                return Err(Problem::new(Code::BadRequest, "The form has a parameter twice."));
            }
            if parameters.len() == PARAMETERS_MAX {
                let detail = format!("The form has more than {PARAMETERS_MAX} parameters.");
                return Err(Problem::new(Code::BadRequest, detail));
            }
            parameters.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(parameters))
    }

    /// Returns a parameter that has a value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Returns the token that the request is about.
    pub(super) fn token(&self) -> Result<&str, Problem> {
        self.get("token").ok_or_else(|| Problem::field("token", "is required"))
    }
}

/// Refuses another content type; without the header, a form is assumed.
fn require_form(parts: &Parts) -> Result<(), Problem> {
    if body::is_of_type(&parts.headers, "application/x-www-form-urlencoded") {
        return Ok(());
    }
    let detail = "The body is not a form. Send Content-Type: application/x-www-form-urlencoded.";
    Err(Problem::new(Code::UnsupportedMediaType, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(form: &str) -> Option<String> {
        OauthForm::parse(form.as_bytes()).ok()?.token().ok().map(str::to_owned)
    }

    #[test]
    fn a_form_is_read_as_rfc_6749_says() {
        assert_eq!(token("token=abc").as_deref(), Some("abc"));
        assert_eq!(token("x=1&token=a%62c&token_type_hint=").as_deref(), Some("abc"));
        for refused in ["", "token", "token=", "Token=abc", "token=a&token=a", "token=a&x=1&x=2"] {
            assert_eq!(token(refused), None, "{refused}");
        }
        let many: Vec<_> = (0..101).map(|number| format!("p{number}=1")).collect();
        assert!(OauthForm::parse(many.join("&").as_bytes()).is_err());
    }
}
