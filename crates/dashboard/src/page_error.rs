//! Error pages: what happened, why, and what to do, with a documented code and the request id.

use super::Dashboard;
use super::errors::Errors;
use super::form::FormFields;
use super::page;
use super::sentences::{of_failure, title};
use super::shell::SignedOutLayout;
use askama::Template;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use hyper::StatusCode;
use hyper::header::{ACCEPT, HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use keyreeve_api::{Code, Problem};
use keyreeve_authority::Failure;
use keyreeve_web::{Rejected, RequestInfo};

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

    /// Returns the messages for the visitor.
    pub(super) fn errors(&self) -> &Errors {
        &self.errors
    }

    /// Returns the status and the messages with which the form is shown again, if the visitor can correct it. Any other
    /// error has its own page.
    pub(super) fn refusal(&self) -> Option<(StatusCode, Errors)> {
        let is_mendable =
            matches!(self.problem.code.status(), 400 | 409 | 429) || self.problem.code == Code::SignInFailed;
        is_mendable.then(|| (status_of(&self.problem), self.errors.clone()))
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

#[derive(Template)]
#[template(path = "page_error.html")]
pub(super) struct ErrorPage {
    pub(super) shell: SignedOutLayout,
    pub(super) title: String,
    pub(super) detail: String,
    pub(super) code: &'static str,
    pub(super) request_id: String,
    pub(super) back: Option<String>,
}

impl IntoResponse for PageError {
    /// [`render`] makes the page, because it knows the request.
    fn into_response(self) -> Response {
        let status = status_of(&self.problem);
        let mut response = status.into_response();
        response.extensions_mut().insert(Rejected(self.problem.clone()));
        response.extensions_mut().insert(self);
        response
    }
}

/// Renders errors as pages, and requests that the cross-site check refuses as a page that explains it.
pub(super) async fn render(request: Request, next: Next) -> Response {
    let shell = SignedOutLayout::of(request.headers());
    let request_id = request.extensions().get::<RequestInfo>().map(|info| info.id.clone());
    let is_read = request.method().is_safe();
    let mut response = next.run(request).await;
    let is_bare = response.headers().get(hyper::header::CONTENT_TYPE).is_none();
    let page_error = match response.extensions_mut().remove::<PageError>() {
        Some(page_error) => page_error,
        // tower-sec-fetch refuses with an empty response.
        None if response.status() == StatusCode::FORBIDDEN && is_bare => super::form::not_ours().into(),
        None => return response,
    };
    if page_error.sign_in {
        let next = page_error.back.as_deref().unwrap_or("/");
        let query = FormFields::default().with("next", next);
        let why = if is_read { "" } else { "ended" };
        return Redirect::to(&query.with("why", why).address("/login")).into_response();
    }
    let mut page = page_of(&page_error, shell, request_id.unwrap_or_default());
    if let Some(rejected) = response.extensions_mut().remove::<Rejected>() {
        page.extensions_mut().insert(rejected);
    }
    page
}

fn page_of(page_error: &PageError, shell: SignedOutLayout, request_id: String) -> Response {
    let problem = &page_error.problem;
    let page = ErrorPage {
        shell,
        title: title(problem.code).to_owned(),
        detail: page_error.errors.text(),
        code: problem.code.as_str(),
        request_id,
        back: page_error.back.clone(),
    };
    let status = status_of(problem);
    let mut response = page::render(status, &page).unwrap_or_else(|_| status.into_response());
    if matches!(problem.code, Code::RateLimited) {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("60"));
    }
    response
}

fn status_of(problem: &Problem) -> StatusCode {
    StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Answers an address that has no route: a browser gets a page, and a call of another face gets the bare status, which
/// that face completes.
pub(super) async fn not_found(State(app): State<Dashboard>, request: Request) -> Response {
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    let is_of_browser = accept.is_some_and(|accept| accept.contains("text/html"));
    if !is_of_browser || !app.is_page(request.uri().path()) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let page_error = PageError::from(Problem::new(
        Code::NotFound,
        "There is no page at this address. Perhaps a character is missing at its end.",
    ));
    let request_id = request.extensions().get::<RequestInfo>().map(|info| info.id.clone());
    page_of(
        &page_error,
        SignedOutLayout::of(request.headers()),
        request_id.unwrap_or_default(),
    )
}
