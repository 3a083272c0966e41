//! The one error body: an RFC 9457 problem and Clerk's error format in one object.

use crate::Code;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The code names and the content type of a route's errors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// `/api_keys` routes: Clerk's codes, `application/json`.
    Clerk,
    /// `/oauth2` routes: Keyreeve's codes, and the fields that OAuth clients read (RFC 6749, section 5.2).
    OAuth,
    /// All other routes: Keyreeve's codes, `application/problem+json`.
    Problem,
}

impl Family {
    /// Returns the content type of an error.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Clerk | Self::OAuth => "application/json",
            Self::Problem => "application/problem+json",
        }
    }

    /// Returns a code as this family names it.
    pub const fn spell(self, code: Code) -> &'static str {
        match self {
            Self::Clerk => code.on_clerk_wire(),
            Self::OAuth | Self::Problem => code.as_str(),
        }
    }
}

/// An error: a code, what happened and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The code.
    pub code: Code,
    /// What happened, why, and what to do, for people. Never contains what the caller sent.
    pub detail: String,
    /// Fields for programs.
    pub meta: Map<String, Value>,
}

impl Problem {
    /// Creates a problem.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            meta: Map::new(),
        }
    }

    /// Creates a problem with one field of the request.
    pub fn field(field: &str, detail: &str) -> Self {
        Self::new(Code::BadRequest, format!("`{field}` {detail}.")).with("param_name", field)
    }

    /// Adds a field for programs.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.meta.insert(name.to_owned(), value.into());
        self
    }

    /// Returns the body of the answer.
    pub fn body(&self, family: Family, request_id: &str) -> ErrorBody {
        let code = family.spell(self.code).to_owned();
        let is_oauth = family == Family::OAuth;
        ErrorBody {
            error: is_oauth.then(|| self.code.on_oauth_wire().to_owned()),
            error_description: is_oauth.then(|| described(&self.detail)),
            kind: format!("/errors/{}", self.code.as_str()),
            title: self.code.title().to_owned(),
            status: self.code.status(),
            detail: self.detail.clone(),
            code: code.clone(),
            request_id: request_id.to_owned(),
            errors: vec![ErrorItem {
                code,
                message: self.code.title().to_owned(),
                long_message: self.detail.clone(),
                meta: self.meta.clone(),
            }],
        }
    }
}

/// Replaces characters that a description may not have (RFC 6749, section 5.2): quotation marks, backslashes,
/// non-ASCII.
fn described(detail: &str) -> String {
    let allowed = |char| match char {
        ' ' | '!' | '#'..='[' | ']'..='~' => char,
        '"' | '\\' => '\'',
        _ => '?',
    };
    detail.chars().map(allowed).collect()
}

/// The error body. Every field is always present, except those of OAuth, which are on its routes only.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// On `/oauth2` routes: the code of RFC 6749.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(invalid_request|invalid_client|insufficient_scope|temporarily_unavailable|server_error)$")]
    pub error: Option<String>,
    /// On `/oauth2` routes: the same as `detail`, in ASCII.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_description: Option<String>,
    /// The page of this server that explains the code.
    #[serde(rename = "type")]
    #[schema(example = "/errors/KEY_LIMIT_REACHED")]
    pub kind: String,
    /// The same for every occurrence of the code.
    pub title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What happened here, why, and what to do.
    pub detail: String,
    /// The stable code.
    pub code: String,
    /// The id of the request, as in the header `X-Request-Id`.
    pub request_id: String,
    /// The same error in Clerk's format.
    pub errors: Vec<ErrorItem>,
}

/// An error in Clerk's format.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorItem {
    /// The stable code.
    pub code: String,
    /// A short message.
    pub message: String,
    /// What happened, why, and what to do.
    pub long_message: String,
    /// Fields for programs, for example `param_name`, or `max` and `used`.
    #[schema(value_type = Object)]
    pub meta: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_body_is_a_problem_document_and_clerks_shape() {
        let problem = Problem::new(Code::KeyLimitReached, "3 of 3.")
            .with("max", 3)
            .with("used", 3);
        let body = serde_json::to_value(problem.body(Family::Clerk, "req_1")).unwrap();
        let expected = serde_json::json!({
            "type": "/errors/KEY_LIMIT_REACHED",
            "title": "The key limit is reached",
            "status": 409,
            "detail": "3 of 3.",
            "code": "KEY_LIMIT_REACHED",
            "request_id": "req_1",
            "errors": [{
                "code": "KEY_LIMIT_REACHED",
                "message": "The key limit is reached",
                "long_message": "3 of 3.",
                "meta": { "max": 3, "used": 3 },
            }],
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn on_oauth_routes_the_body_is_also_what_oauth_clients_read() {
        let body = Problem::new(Code::BadRequest, "`token` is \"missing\" …").body(Family::OAuth, "r");
        assert_eq!(body.code, "BAD_REQUEST");
        assert_eq!(body.error.as_deref(), Some("invalid_request"));
        assert_eq!(body.error_description.as_deref(), Some("`token` is 'missing' ?"));
        for (code, word) in [
            (Code::RootKeyInvalid, "invalid_client"),
            (Code::PermissionDenied, "insufficient_scope"),
            (Code::RateLimited, "temporarily_unavailable"),
            (Code::ServiceUnavailable, "temporarily_unavailable"),
            (Code::InternalError, "server_error"),
        ] {
            assert_eq!(code.on_oauth_wire(), word);
        }
    }

    #[test]
    fn each_family_has_its_spelling_and_content_type() {
        let problem = Problem::field("name", "must not be empty");
        assert_eq!(problem.body(Family::Clerk, "r").code, "bad_request");
        assert_eq!(problem.body(Family::Problem, "r").code, "BAD_REQUEST");
        assert_eq!(Family::Problem.content_type(), "application/problem+json");
        assert_eq!(problem.meta.get("param_name"), Some(&Value::from("name")));
    }
}
