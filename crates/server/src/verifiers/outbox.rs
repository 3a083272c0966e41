//! Queue of messages to one verifier, bounded in number and bytes. Each write has a time limit.

use super::Stream;
use super::share::Share;
use keyreeve_api::verifiers::NodeMessage;
use keyreeve_authority::children::VerifierLine;
use keyreeve_core::coherence::downstream::{Forget, Order};
use keyreeve_core::{Digest, KeyId};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncWriteExt as _, WriteHalf};
use tokio::sync::Notify;

/// Most messages in the queue.
const WAITING_MAX: usize = 10_000;
/// Most bytes in the queue, as estimated. The longest order has 5 000 digests and names as many keys.
const WAITING_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of one write, or one message if that is longer.
const BATCH_BYTES: usize = 64 * 1024;
/// Time limit of one write. A verifier that exceeds it does not read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// The queue of one connection. The connection of a verifier that reads too slowly is closed.
pub(super) struct Outbox {
    queue: Mutex<OutboxQueue>,
    /// Wakes the writer.
    ready: Notify,
    /// Signals the end of the connection.
    ended: Notify,
    /// The number of the newest order; 0 is none.
    newest_order: AtomicU64,
    /// The number of the order after which the verifier must leave; 0 is none.
    last_order: AtomicU64,
    share: Arc<Share>,
}

#[derive(Default)]
struct OutboxQueue {
    messages: VecDeque<NodeMessage>,
    bytes: usize,
    /// No more messages are accepted, and the connection ends.
    is_closed: bool,
}

impl Outbox {
    pub(super) fn new(share: Arc<Share>) -> Self {
        Self {
            queue: Mutex::default(),
            ready: Notify::new(),
            ended: Notify::new(),
            newest_order: AtomicU64::new(0),
            last_order: AtomicU64::new(0),
            share,
        }
    }

    fn queue(&self) -> MutexGuard<'_, OutboxQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a message. Returns false and ends the connection if there is no room.
    pub(super) fn push(&self, message: NodeMessage) -> bool {
        let bytes = weight(&message);
        let mut queue = self.queue();
        let has_room = queue.messages.len() < WAITING_MAX
            && queue.bytes.saturating_add(bytes) <= WAITING_BYTES_MAX
            && !queue.is_closed
            && self.share.take_bytes(bytes);
        if has_room {
            queue.bytes += bytes;
            queue.messages.push_back(message);
        }
        drop(queue);
        match has_room {
            true => self.ready.notify_one(),
            false => self.close(),
        }
        has_room
    }

    /// Returns the number of the order after which the verifier must leave, if one was given.
    pub(super) fn last_order(&self) -> Option<u64> {
        Some(self.last_order.load(Ordering::Acquire)).filter(|&number| number != 0)
    }

    /// Returns whether an order of this number was given.
    pub(super) fn has_ordered(&self, number: u64) -> bool {
        number != 0 && number <= self.newest_order.load(Ordering::Acquire)
    }

    /// Returns whether the connection is to end.
    pub(super) fn is_closed(&self) -> bool {
        self.queue().is_closed
    }

    /// Waits until the connection is to end.
    pub(super) async fn ended(&self) {
        loop {
            let ended = self.ended.notified();
            if self.is_closed() {
                return;
            }
            ended.await;
        }
    }

    /// Appends the next batch to `bytes`; nothing if the queue is empty.
    fn take(&self, bytes: &mut Vec<u8>) -> serde_json::Result<()> {
        let mut queue = self.queue();
        while bytes.len() < BATCH_BYTES {
            let Some(message) = queue.messages.pop_front() else {
                break;
            };
            let weight = weight(&message);
            queue.bytes = queue.bytes.saturating_sub(weight);
            self.share.give_bytes(weight);
            serde_json::to_writer(&mut *bytes, &message)?;
            bytes.push(b'\n');
        }
        Ok(())
    }

    /// Writes queued messages until the outbox is closed and empty, or a write fails or exceeds its time limit.
    pub(super) async fn write(&self, mut stream: WriteHalf<Stream>) {
        let mut bytes = Vec::new();
        loop {
            // Registered before the queue is read: a message queued in between still wakes this task.
            let ready = self.ready.notified();
            bytes.clear();
            if self.take(&mut bytes).is_err() {
                break;
            }
            if bytes.is_empty() {
                if self.is_closed() {
                    break;
                }
                ready.await;
                continue;
            }
            let written = tokio::time::timeout(WRITE_TIMEOUT, stream.write_all(&bytes)).await;
            if !matches!(written, Ok(Ok(()))) {
                break;
            }
            bytes.shrink_to(BATCH_BYTES);
        }
        self.close();
    }
}

impl VerifierLine for Outbox {
    fn order(&self, order: Order, ended: &[KeyId], is_last: bool) -> bool {
        // Before it is queued: an acknowledgement of a number that was never given ends the session.
        self.newest_order.fetch_max(order.number, Ordering::AcqRel);
        if is_last {
            self.last_order.store(order.number, Ordering::Release);
        }
        let (digests, tenant) = match order.what {
            Forget::Secrets(digests) => (Some(digests.iter().map(Digest::to_hex).collect()), None),
            Forget::Tenant(slug) => (None, Some(slug.to_string())),
            Forget::Everything => (None, None),
        };
        self.push(NodeMessage::Forget {
            number: order.number,
            revision: order.revision,
            digests,
            tenant,
            ended: ended.iter().map(KeyId::to_string).collect(),
            is_last,
        })
    }

    fn close(&self) {
        self.queue().is_closed = true;
        self.ready.notify_one();
        self.ended.notify_one();
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let bytes = self.queue().bytes;
        self.share.give_bytes(bytes);
    }
}

/// Estimates the bytes of a message, in memory and on the wire.
fn weight(message: &NodeMessage) -> usize {
    const FIXED: usize = 200;
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    FIXED
        + match message {
            NodeMessage::Grant { .. } => 0,
            NodeMessage::Charged { charged, .. } => charged
                .as_ref()
                .map_or(0, |charged| charged.rate_limit.len() + charged.rate_limit_policy.len()),
            NodeMessage::Found { secret, .. } => secret.as_ref().map_or(0, |told| {
                FIXED
                    + told.subject.len()
                    + told.name.len()
                    + told.scopes.len()
                    + told.limits.len()
                    + text(&told.claims)
            }),
            NodeMessage::Forget { digests, ended, .. } => {
                digests.as_ref().map_or(0, |digests| digests.len() * 67) + ended.len() * 38
            }
        }
}
