//! Facts about the client of a connection.

use super::guard::SmugglingGuard;
use super::seats::Seat;
use keyreeve_web::ClientConnection;
use std::net::IpAddr;

/// The client of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its network address; `None` on a Unix socket.
    pub(crate) address: Option<IpAddr>,
    /// Whether it connected by the socket in the data directory: a process that can open it has all rights.
    pub(crate) is_operator: bool,
    /// Whether the connection uses TLS.
    pub(crate) is_encrypted: bool,
    /// Raised when the framing of its bytes is ambiguous.
    pub(crate) alarm: SmugglingGuard,
    /// Its seat among the connections.
    pub(crate) seat: Seat,
}

/// The purpose of a Unix socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SocketKind {
    /// The socket in the data directory.
    Operator,
    /// A listener like any other: clients present a credential.
    Public,
}

impl ClientConnection for Seat {
    fn note_known(&self) {
        self.note_known();
    }
}

impl Peer {
    /// A client on the network.
    pub(crate) fn at(address: IpAddr, seat: Seat) -> Self {
        Self {
            address: Some(address),
            is_operator: false,
            is_encrypted: false,
            alarm: SmugglingGuard::default(),
            seat,
        }
    }

    /// A client on this machine.
    pub(crate) fn on_this_machine(kind: SocketKind, seat: Seat) -> Self {
        Self {
            address: None,
            is_operator: kind == SocketKind::Operator,
            is_encrypted: false,
            alarm: SmugglingGuard::default(),
            seat,
        }
    }
}
