//! Connections: accepting them, guarding them, and telling verification from everything else before any router.

mod connection;
mod guard;
mod listener;
mod service;

pub(crate) use connection::Peer;
pub(crate) use listener::{Listening, bind, bind_unix};
pub(crate) use service::{Face, is_safe};
