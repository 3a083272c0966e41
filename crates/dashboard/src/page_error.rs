//! The error of a page: what extractors and handlers fail with. It knows no layout; `error_page.rs` renders it, where the
//! request is known.

use super::errors::Errors;
use super::fields::FormFields;
use super::sentences::of_failure;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::http::request::Parts;
use keyreeve_api::{Code, Problem};
use keyreeve_authority::Failure;
use keyreeve_web::Rejected;

/// The error of a page that cannot be shown.
#[derive(Clone)]
pub(super) struct PageError {
    problem: Problem,
    /// The messages for the visitor.
    errors: Errors,
    /// The address of the form, with what was filled in.
    back: Option<String>,
    sign_in: bool,
}

impl PageError {
    pub(super) fn internal(why: &str) -> Self {
        tracing::error!(why, "a page could not be made");
        let text = "Something went wrong inside. The log has the cause under the request id.";
        Problem::new(Code::InternalError, text).into()
    }

    pub(super) fn not_found() -> Self {
        let text = "There is no such thing in this tenant. It may have been deleted, or the address is not whole.";
        Problem::new(Code::NotFound, text).into()
    }

    /// Sets the address of the form, with what was filled in.
    pub(super) fn keeping(mut self, back: String) -> Self {
        self.back = Some(back);
        self
    }

    /// Redirects to the sign-in page; after signing in, a GET continues at its address.
    pub(super) fn signing_in(mut self, parts: &Parts) -> Self {
        self.sign_in = true;
        if parts.method.is_safe() {
            self.back = Some(FormFields::of_query(parts).address(parts.uri.path()));
        }
        self
    }

    pub(super) fn problem(&self) -> &Problem {
        &self.problem
    }

    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Returns the address of the form, with what was filled in.
    pub(super) fn back(&self) -> Option<&str> {
        self.back.as_deref()
    }

    /// Whether the visitor is redirected to the sign-in page instead of seeing the error.
    pub(super) fn needs_sign_in(&self) -> bool {
        self.sign_in
    }

    /// Returns the messages for the visitor.
    pub(super) fn errors(&self) -> &Errors {
        &self.errors
    }

    /// Returns the status and the messages with which the form is shown again, if the visitor can correct it. Any other
    /// error has its own page.
    pub(super) fn refusal(&self) -> Option<(StatusCode, Errors)> {
        let is_mendable =
            matches!(self.problem.code.status(), 400 | 409 | 429) || self.problem.code == Code::SignInFailed;
        is_mendable.then(|| (self.status(), self.errors.clone()))
    }
}

impl From<Problem> for PageError {
    fn from(problem: Problem) -> Self {
        Self {
            errors: problem.clone().into(),
            problem,
            back: None,
            sign_in: false,
        }
    }
}

impl From<Failure> for PageError {
    fn from(failure: Failure) -> Self {
        let said = of_failure(&failure);
        let page_error = Self::from(Rejected::from(failure).0);
        Self {
            errors: said.map_or_else(|| page_error.errors.clone(), Errors::from),
            ..page_error
        }
    }
}

impl From<Errors> for PageError {
    /// The errors of a form that cannot be read.
    fn from(errors: Errors) -> Self {
        Self {
            errors,
            ..Problem::new(Code::BadRequest, "The form cannot be read.").into()
        }
    }
}

impl From<tower_sessions::session::Error> for PageError {
    fn from(error: tower_sessions::session::Error) -> Self {
        tracing::warn!(%error, "sessions cannot be read or kept");
        let text = "Sessions cannot be read now. Nothing was changed; try again.";
        Problem::new(Code::ServiceUnavailable, text).into()
    }
}

impl From<askama::Error> for PageError {
    fn from(error: askama::Error) -> Self {
        Self::internal(&error.to_string())
    }
}

impl IntoResponse for PageError {
    /// Puts the error into an empty response. `error_page::render` makes the page, because it knows the request.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(Rejected(self.problem.clone()));
        response.extensions_mut().insert(self);
        response
    }
}
