//! Connections: accepting them, guarding them, and telling verification from everything else before any router.

mod connection;
mod direct;
mod guard;
mod handshake;
mod listener;
mod service;

pub(crate) use connection::Peer;
pub(crate) use listener::{Endpoint, Listening, bind, bind_operator};
pub(crate) use service::{Face, is_safe};
