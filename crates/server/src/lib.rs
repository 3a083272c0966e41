//! The network interfaces of Keyreeve: the HTTP API, verification ahead of the router, and operations.
//!
//! Handlers parse, call and render; they decide nothing (ARCHITECTURE.md, A4). This crate has no SQL and no key
//! lifecycle.

pub mod app;
pub mod backup;
pub mod checkpoints;
mod denials;
pub mod doctor;
mod edge;
pub mod founding;
mod gateway;
pub mod history;
mod http;
pub mod instance;
mod invariants;
pub mod listen;
pub mod log;
mod log_signer;
mod management;
pub mod migration;
mod monitor;
pub mod moving;
mod node;
mod notebook;
mod numbers;
pub mod offline;
mod open;
mod ops;
mod pages;
mod readiness;
mod ready;
pub mod restored;
pub mod scanner;
pub mod settings;
mod store_deadline;
pub mod tls;
mod verdict_service;
mod verifiers;
mod world;

pub use app::App;
pub use http::openapi::document as openapi_document;
