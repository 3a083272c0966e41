//! The key string: creating, parsing, checking and digesting it.

mod base62;
mod digest;
mod format;
mod prefix;
mod secret;

pub use digest::Digest;
pub use format::{MARKER, Malformed, Presented, pattern, redacted};
pub use prefix::{InvalidPrefix, Prefix};
pub use secret::{LastFour, SECRET_ENTROPY_BYTES, Secret};
