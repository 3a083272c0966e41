//! Waiting for the next poll of this node.

use futures_channel::oneshot;
use futures_util::FutureExt as _;
use futures_util::future::Shared;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Wakes the tasks that wait for the next poll.
#[derive(Debug)]
pub(super) struct Polls(Mutex<NextPoll>);

/// The sender is dropped with the poll, which wakes all tasks that share the receiver.
type NextPoll = (oneshot::Sender<()>, Shared<oneshot::Receiver<()>>);

fn next() -> NextPoll {
    let (sender, receiver) = oneshot::channel();
    (sender, receiver.shared())
}

impl Default for Polls {
    fn default() -> Self {
        Self(Mutex::new(next()))
    }
}

impl Polls {
    fn lock(&self) -> MutexGuard<'_, NextPoll> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves with the first poll that is answered after this call.
    pub(super) fn next(&self) -> Shared<oneshot::Receiver<()>> {
        self.lock().1.clone()
    }

    /// Wakes the waiting tasks after a poll.
    pub(super) fn tell(&self) {
        let woken = std::mem::replace(&mut *self.lock(), next());
        // Wakes them outside of the lock.
        drop(woken);
    }
}
