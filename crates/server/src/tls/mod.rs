//! TLS of the listeners: loads and validates its files, and replaces them while the server runs. `edge/handshake.rs`
//! has the handshake of a connection.
//!
//! Unusable files are an error at the start. Later they are reported, and the files in use stay: a mistake in a renewal
//! must not stop the server.

mod certificate;
mod files;
mod state;

pub use certificate::Certificate;
pub use files::{Loaded, TlsError, TlsFiles, load};
pub(crate) use state::{Handshake, Tls};
pub use state::{TlsReport, renewal_is_due};
