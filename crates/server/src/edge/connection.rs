//! What is known about the other end of a connection.

use super::guard::Alarm;
use super::seats::Seat;
use std::net::IpAddr;

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its network address; `None` on a Unix socket.
    pub(crate) address: Option<IpAddr>,
    /// Whether it came through the socket in the data directory: whoever can open that may do everything.
    pub(crate) is_operator: bool,
    /// Whether it came by TLS.
    pub(crate) is_encrypted: bool,
    /// Raised when its bytes cannot be trusted any more.
    pub(crate) alarm: Alarm,
    /// Its place among the connections.
    pub(crate) seat: Seat,
}

/// What a Unix socket is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SocketKind {
    /// The one in the data directory.
    Operator,
    /// An address like any other: whoever comes shows a credential.
    Public,
}

impl Peer {
    /// A client in the network.
    pub(crate) fn at(address: IpAddr, seat: Seat) -> Self {
        Self {
            address: Some(address),
            is_operator: false,
            is_encrypted: false,
            alarm: Alarm::default(),
            seat,
        }
    }

    /// A client on this machine.
    pub(crate) fn on_this_machine(kind: SocketKind, seat: Seat) -> Self {
        Self {
            address: None,
            is_operator: kind == SocketKind::Operator,
            is_encrypted: false,
            alarm: Alarm::default(),
            seat,
        }
    }
}
