//! What is known about the other end of a connection.

use super::guard::Alarm;
use std::net::IpAddr;

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its network address; `None` on a Unix socket.
    pub(crate) address: Option<IpAddr>,
    /// Whether it came through the socket in the data directory: whoever can open that may do everything.
    pub(crate) is_operator: bool,
    /// Raised when its bytes cannot be trusted any more.
    pub(crate) alarm: Alarm,
}
