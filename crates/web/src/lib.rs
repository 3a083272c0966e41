//! What every HTTP face of Keyreeve shares: the facts about a request, bodies with bounds, texts of the wire, the one
//! table from failures to problems, and the limits and measures of this process.
//!
//! This crate knows no face: no route, no page, no listener. It decides nothing (ARCHITECTURE.md, A4).

pub mod address_rate_limits;
pub mod anonymous;
pub mod audit_event;
pub mod body;
mod capacity;
pub mod check_policy_text;
pub mod effects;
pub mod failure;
pub mod junk;
pub mod key_limit;
pub mod password;
mod request;
pub mod respond;
pub mod text;
pub mod walks;

pub use request::{ClientConnection, KnownCaller, Rejected, RequestInfo};
