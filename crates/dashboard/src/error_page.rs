//! Error pages: what happened, why, and what to do, with a documented code and the request id.

use super::Dashboard;
use super::fields::FormFields;
use super::form::not_ours;
use super::page;
use super::page_error::PageError;
use super::sentences::title;
use super::shell::SignedOutLayout;
use askama::Template;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use hyper::StatusCode;
use hyper::header::{ACCEPT, HeaderValue, RETRY_AFTER};
use keyreeve_api::{Code, Problem};
use keyreeve_web::{Rejected, RequestInfo};

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
        None if response.status() == StatusCode::FORBIDDEN && is_bare => not_ours().into(),
        None => return response,
    };
    if page_error.needs_sign_in() {
        let next = page_error.back().unwrap_or("/");
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
    let code = page_error.problem().code;
    let page = ErrorPage {
        shell,
        title: title(code).to_owned(),
        detail: page_error.errors().text(),
        code: code.as_str(),
        request_id,
        back: page_error.back().map(str::to_owned),
    };
    let status = page_error.status();
    let mut response = page::render(status, &page).unwrap_or_else(|_| status.into_response());
    if matches!(code, Code::RateLimited) {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("60"));
    }
    response
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_and_the_title_of_every_error_page_are_as_reviewed() {
        let line = |code: &Code| {
            let status = PageError::from(Problem::new(*code, "")).status().as_u16();
            format!("{status} {}: {}", code.as_str(), title(*code))
        };
        insta::assert_snapshot!(Code::ALL.iter().map(line).collect::<Vec<_>>().join("\n"));
    }
}
