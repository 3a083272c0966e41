//! TLS on the listeners: which files it comes from, what must be true of them, and how they are replaced while the
//! server runs. The handshake of a connection is `edge/handshake.rs`.
//!
//! A pair that cannot be used is an error at the start. Later it is a complaint, and the pair that was in use stays:
//! a spelling mistake in a renewal must not take the server down.

mod certificate;
mod files;
mod state;

pub use certificate::Certificate;
pub use files::{Loaded, TlsError, TlsFiles, load};
pub(crate) use state::{Handshake, Tls};
pub use state::{TlsReport, renewal_is_due};
