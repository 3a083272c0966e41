//! Stock axum without tuning: JSON in, JSON of a verdict's size out, and nothing in between.
//! usage: hello ADDRESS WORKERS

use axum::serve::ListenerExt as _;
use axum::{Json, Router, routing::post};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[allow(dead_code, reason = "it is read, and that is all")]
struct Question {
    key: String,
}

#[derive(Serialize)]
struct Answer {
    valid: bool,
    code: &'static str,
    key_id: &'static str,
    subject: &'static str,
    name: &'static str,
    scopes: [&'static str; 2],
    expiration: u64,
    revision: u64,
    source: &'static str,
}

async fn hello(Json(_question): Json<Question>) -> Json<Answer> {
    Json(Answer {
        valid: true,
        code: "VALID",
        key_id: "ak_0193b2c4d5e67f8091a2b3c4d5e6f708",
        subject: "user_2f4KmXyZ",
        name: "production",
        scopes: ["invoices:read", "invoices:write"],
        expiration: 1_799_999_999_000,
        revision: 1_000_000,
        source: "memory",
    })
}

async fn serve(address: String) {
    let listener = tokio::net::TcpListener::bind(address).await.expect("a free address");
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let router = Router::new().route("/v1/verify", post(hello));
    axum::serve(listener, router).await.expect("serving");
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(workers)) = (arguments.next(), arguments.next()) else {
        panic!("usage: hello ADDRESS WORKERS");
    };
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers.parse().expect("a number of workers"))
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(serve(address));
}
