//! `/errors/{code}`: the pages that `type` in an error body links to. They are compiled into the binary.
//!
//! Tests: `e2e/hostile/test_requests.py`, `e2e/hostile/test_verifier_stream.py`

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use hyper::header::CONTENT_TYPE;
use keyreeve_api::{Code, Problem};
use keyreeve_web::Rejected;

/// Get the page of an error code, in Markdown.
///
/// This is the address in the field `type` of an error body. 404 for an unknown code.
#[utoipa::path(
    get, path = "/errors/{code}", tag = "documentation", operation_id = "getErrorPage",
    params(("code" = String, Path, description = "The code", pattern = "^[A-Z_]{1,64}$")),
    responses((status = 200, description = "The page", body = String, content_type = "text/markdown; charset=utf-8")),
    security(())
)]
pub(crate) async fn page(Path(code): Path<String>) -> Result<Response, Rejected> {
    let unknown = || Problem::new(Code::NotFound, "No error code with this name exists.");
    let code = Code::parse(&code).ok_or_else(unknown)?;
    Ok(([(CONTENT_TYPE, "text/markdown; charset=utf-8")], code.page()).into_response())
}
