//! `/readyz`: whether this process can do its work, in one line, or with `?verbose` in one line for each part of it.

use super::plain;
use crate::App;
use axum::body::Body;
use hyper::{Response, StatusCode};
use std::fmt::Write as _;
use std::time::Duration;

/// How long the store may take to answer before the process counts as not ready.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// Answers the question.
pub(super) async fn serve(app: &App, query: Option<&str>) -> Response<Body> {
    let trouble = trouble(app).await;
    let status = match trouble {
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
        None => StatusCode::OK,
    };
    let mut text = format!("{}\n", trouble.unwrap_or("ok"));
    if query.is_some_and(|query| query == "verbose" || query.starts_with("verbose=")) {
        details(app, &mut text);
    }
    plain(status, text)
}

/// Why the process is not ready.
async fn trouble(app: &App) -> Option<&'static str> {
    if app.is_stopping() {
        return Some("stopping");
    }
    match tokio::time::timeout(READY_TIMEOUT, app.authority().is_ready()).await {
        Ok(true) => app
            .authority()
            .node()
            .filter(|node| node.lease_left_ms() == 0)
            .map(|_| "this node holds no lease"),
        Ok(false) | Err(_) => Some("the store does not answer"),
    }
}

/// What is worth a look, although it keeps nobody from being served.
fn details(app: &App, text: &mut String) {
    let mut line = |name: &str, what: &dyn std::fmt::Display| {
        // Writing into memory does not fail.
        let _done = writeln!(text, "{name}: {what}");
    };
    line("revision", &app.authority().verifier().applied());
    line("remembered", &app.authority().verifier().entries());
    if let Some(node) = app.authority().node() {
        line("lease_left_ms", &node.lease_left_ms());
        line("durability", &node.health().durability.as_str());
    }
    for report in app.tls().iter().map(crate::tls::Tls::report) {
        line(&format!("tls {}", report.name), &report.certificate);
        if let Some(complaint) = report.complaint {
            line(&format!("tls {} complaint", report.name), &complaint);
        }
    }
}
