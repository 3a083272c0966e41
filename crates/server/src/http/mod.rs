//! The HTTP API: one endpoint, one file, under [`v1`]; what they share is here.

pub(crate) mod answer;
mod bearer;
mod body;
mod call;
mod failure;
pub(crate) mod openapi;
mod password;
mod policy_text;
mod query;
pub(crate) mod respond;
mod text;
mod v1;
pub(crate) mod verify;
