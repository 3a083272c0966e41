//! The HTTP API. Each endpoint is one file under [`v1`]; this module has what they share.

pub(crate) mod answer;
pub(crate) mod bearer;
pub(crate) mod budget;
pub(crate) mod call;
pub(crate) mod client_address;
pub(crate) mod conditions;
pub(crate) mod credentials;
mod examples;
pub(crate) mod missing;
pub(crate) mod oauth;
pub(crate) mod openapi;
mod policy_text;
mod query;
pub(crate) mod v1;
pub(crate) mod verify;

pub use client_address::TrustedProxy;
pub(crate) use v1::leaks::GitHubKeys;
