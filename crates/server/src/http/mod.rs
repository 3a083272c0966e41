//! The HTTP API. Each endpoint is one file under [`v1`]; this module has what they share.

pub(crate) mod address_rate_limits;
pub(crate) mod anonymous;
pub(crate) mod answer;
pub(crate) mod bearer;
pub(crate) mod body;
pub(crate) mod budget;
pub(crate) mod call;
pub(crate) mod check_policy_text;
pub(crate) mod client_address;
pub(crate) mod conditions;
mod examples;
mod failure;
pub(crate) mod junk;
pub(crate) mod missing;
pub(crate) mod oauth;
pub(crate) mod openapi;
pub(crate) mod password;
mod policy_text;
mod query;
pub(crate) mod respond;
pub(crate) mod text;
pub(crate) mod v1;
pub(crate) mod verify;

pub use client_address::TrustedProxy;
pub(crate) use v1::audit::event;
pub(crate) use v1::leaks::GitHubKeys;
