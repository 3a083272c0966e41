//! Connections: accepting them, guarding them, and separating verification from all other requests ahead of any router.

mod activity;
mod connection;
mod descriptors;
mod direct;
mod guard;
mod handshake;
mod listener;
mod preface;
pub(crate) mod seats;
mod service;

pub(crate) use connection::Peer;
pub(crate) use descriptors::AllSeats;
pub(crate) use listener::{Endpoint, Listening, bind, bind_operator};
pub(crate) use seats::SeatCounts;
pub(crate) use service::{Face, FaceService, is_safe};
