//! Operations: `/livez`, `/readyz`, `/metrics`. On a listener of their own, so that they are never public by accident.

use crate::App;
use axum::body::Body;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use keyreeve_authority::Node;
use keyreeve_store::cluster::Durability;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

/// How long the store may take to answer before the process counts as not ready.
const READY_TIMEOUT: Duration = Duration::from_secs(2);
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers an operations request.
pub(crate) async fn serve<B>(app: &App, request: &Request<B>) -> Response<Body> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        "/livez" | "/readyz" | "/metrics" if !is_read => plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n"),
        "/livez" => plain(StatusCode::OK, "ok\n"),
        "/readyz" => ready(app).await,
        "/metrics" => metrics(app),
        _ => plain(StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics\n"),
    }
}

async fn ready(app: &App) -> Response<Body> {
    if app.is_stopping() {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    }
    match tokio::time::timeout(READY_TIMEOUT, app.authority().is_ready()).await {
        Ok(true) if app.authority().node().is_some_and(|node| node.lease_left_ms() == 0) => {
            plain(StatusCode::SERVICE_UNAVAILABLE, "this node holds no lease\n")
        }
        Ok(true) => plain(StatusCode::OK, "ok\n"),
        Ok(false) | Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n"),
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

fn metrics(app: &App) -> Response<Body> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot(app.clone())));
    let mut out = String::new();
    match text::encode(&mut out, &registry) {
        Ok(()) => typed(StatusCode::OK, METRICS_TYPE, out),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n"),
    }
}

/// Reads the counters where they are counted; nothing is counted twice.
#[derive(Debug)]
struct Snapshot(App);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let verifier = self.0.authority().verifier();
        let counter = ConstCounter::new(0_u64);
        let mut family =
            encoder.encode_descriptor("keyreeve_verifications", "Verdicts given", None, counter.metric_type())?;
        for (outcome, count) in verifier.tallies().outcomes() {
            ConstCounter::new(count).encode(family.encode_family(&[("outcome", outcome)])?)?;
        }
        let (memory, store) = verifier.tallies().look_ups();
        let mut family = encoder.encode_descriptor(
            "keyreeve_cache_requests",
            "Look-ups of secrets: hit is answered from memory, miss asked the store",
            None,
            counter.metric_type(),
        )?;
        for (result, count) in [("hit", memory), ("miss", store)] {
            ConstCounter::new(count).encode(family.encode_family(&[("result", result)])?)?;
        }
        gauge(
            &mut encoder,
            "keyreeve_cache_entries",
            "Secrets remembered",
            verifier.entries(),
        )?;
        gauge(
            &mut encoder,
            "keyreeve_applied_revision",
            "Newest change that verdicts take into account",
            verifier.applied(),
        )?;
        gauge(
            &mut encoder,
            "keyreeve_verifiers_connected",
            "Verifiers inside applications that hang on this process",
            verifier.children().len(),
        )?;
        let effects = self.0.effects();
        let histogram = encoder.encode_descriptor(
            "keyreeve_revocation",
            "How long changes took until they were effective on every verifier",
            Some(&Unit::Seconds),
            effects.metric_type(),
        )?;
        effects.encode(histogram)?;
        if let Some(node) = self.0.authority().node() {
            encode_node(&mut encoder, node)?;
        }
        let version = ConstGauge::new(1_i64);
        let mut family = encoder.encode_descriptor(
            "keyreeve_build_info",
            "Version of this build",
            None,
            version.metric_type(),
        )?;
        version.encode(family.encode_family(&[("version", env!("CARGO_PKG_VERSION"))])?)
    }
}

fn encode_node(encoder: &mut DescriptorEncoder<'_>, node: &Node) -> Result<(), std::fmt::Error> {
    let health = node.health();
    gauge(
        encoder,
        "keyreeve_lease_left_milliseconds",
        "How long this node may still verify",
        node.lease_left_ms(),
    )?;
    gauge(
        encoder,
        "keyreeve_lease_length_milliseconds",
        "How long a lease lasts",
        node.lease_ms(),
    )?;
    gauge(
        encoder,
        "keyreeve_lag_revisions",
        "Changes not yet applied here at the last poll",
        health.lag,
    )?;
    gauge(
        encoder,
        "keyreeve_history_forked",
        "How often the database was found to have lost acknowledged changes",
        health.forks,
    )?;
    gauge(
        encoder,
        "keyreeve_denials_reasserted",
        "Denials that the database had lost and was told again",
        health.reasserted,
    )?;
    let is_at_risk = health.durability == Durability::AtRisk;
    let help = "1 if the database may lose an acknowledged change";
    gauge(encoder, "keyreeve_durability_at_risk", help, u64::from(is_at_risk))
}

fn gauge<N>(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: N) -> Result<(), std::fmt::Error>
where
    i64: TryFrom<N>,
{
    let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    let encoder = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
    gauge.encode(encoder)
}
