//! The wire types: requests, answers, error codes. Times are Unix milliseconds, as on Clerk's wire.
//!
//! Requests are strict: unknown fields, repeated fields and wrong types are refused. The error names the field but
//! never repeats its value, which may be a secret.

pub mod audit;
pub mod check_policies;
pub mod claims;
pub mod code;
pub mod doctor;
pub mod examples;
pub mod json;
pub mod keys;
pub mod leaks;
pub mod limits;
pub mod nodes;
pub mod oauth;
pub mod policy;
pub mod problem;
pub mod root_keys;
pub mod seconds;
pub mod tenants;
pub mod text;
pub mod users;
pub mod verifiers;
pub mod verify;

pub use code::Code;
pub use problem::{Family, Problem};
