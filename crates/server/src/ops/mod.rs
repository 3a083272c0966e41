//! Operations: `/livez`, `/readyz`, `/metrics`, and `/healthz`, which is `/livez` for older tools. They have a separate
//! listener, so that they are never public by accident.

mod classic;
mod metrics;
mod process;
mod ready;

use crate::monitor::Monitor;
use axum::body::Body;
use hyper::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::sync::Arc;

/// The two text formats of metrics. The newer one is for clients that accept it, as Prometheus does.
const OPENMETRICS: &str = "application/openmetrics-text";
const OPENMETRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers an operations request.
pub(crate) async fn serve<B>(monitor: &Arc<Monitor>, request: &Request<B>) -> Response<Body> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        "/livez" | "/healthz" | "/readyz" | "/metrics" if !is_read => {
            plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n")
        }
        "/livez" | "/healthz" => plain(StatusCode::OK, "ok\n"),
        "/readyz" => ready::serve(monitor, request.uri().query()).await,
        "/metrics" => metrics(monitor, request),
        _ => plain(StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics\n"),
    }
}

fn metrics<B>(monitor: &Arc<Monitor>, request: &Request<B>) -> Response<Body> {
    let Ok(text) = metrics::text(monitor) else {
        return plain(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n");
    };
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
    match accept.is_some_and(|accept| accept.contains(OPENMETRICS)) {
        true => typed(StatusCode::OK, OPENMETRICS_TYPE, text),
        false => typed(StatusCode::OK, CLASSIC_TYPE, classic::from_openmetrics(&text)),
    }
}

fn plain(status: StatusCode, text: impl Into<Body>) -> Response<Body> {
    typed(status, "text/plain; charset=utf-8", text)
}

fn typed(status: StatusCode, kind: &'static str, text: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
