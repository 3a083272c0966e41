//! One direction of a connection: messages arrive late but in order, or the connection is broken.

use crate::executor::{MS, Nanos, Sim};
use futures_util::future::{Either, select};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Cuts of a connection, shared by both directions.
#[derive(Clone, Default)]
pub(crate) struct Cable {
    cut_until: Arc<AtomicU64>,
    is_broken: Arc<AtomicBool>,
}

impl Cable {
    pub(crate) fn cut(&self, until: Nanos) {
        self.cut_until.store(until, Ordering::Relaxed);
    }
}

pub(crate) struct Sender<T> {
    pub(crate) sim: Sim,
    cable: Cable,
    queue: UnboundedSender<(Nanos, T)>,
}

pub(crate) struct Receiver<T> {
    sim: Sim,
    queue: UnboundedReceiver<(Nanos, T)>,
}

pub(crate) fn pipe<T>(sim: &Sim, cable: &Cable) -> (Sender<T>, Receiver<T>) {
    let (send, receive) = unbounded_channel();
    let sender = Sender {
        sim: sim.clone(),
        cable: cable.clone(),
        queue: send,
    };
    let receiver = Receiver {
        sim: sim.clone(),
        queue: receive,
    };
    (sender, receiver)
}

impl<T> Sender<T> {
    /// Sends a message. Returns false if the receiver is certainly gone. A message sent during a cut arrives after it,
    /// or breaks the connection.
    pub(crate) fn send(&self, message: T) -> bool {
        let (now, cut) = (self.sim.now(), self.cable.cut_until.load(Ordering::Relaxed));
        if now < cut && self.sim.percent(50) {
            self.cable.is_broken.store(true, Ordering::Relaxed);
        }
        if self.cable.is_broken.load(Ordering::Relaxed) {
            return true;
        }
        let arrives = now.max(cut) + self.sim.range(MS / 20, 4 * MS);
        self.queue.send((arrives, message)).is_ok()
    }
}

impl<T> Receiver<T> {
    /// Receives the next message; `None` if the sender is gone, or after `patience` without a message.
    pub(crate) async fn recv(&mut self, patience: Nanos) -> Option<T> {
        let next = pin!(self.queue.recv());
        let silence = pin!(self.sim.sleep(patience));
        let (arrives, message) = match select(next, silence).await {
            Either::Left((message, _)) => message?,
            Either::Right(_) => return None,
        };
        self.sim.sleep(arrives.saturating_sub(self.sim.now())).await;
        Some(message)
    }
}
