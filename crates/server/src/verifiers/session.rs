//! One connection of one verifier, from its first word to its last.

use super::told::told;
use crate::App;
use crate::http::budget;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use keyreeve_api::verifiers::{ChargedUse, ChildSays, LINE_BYTES_MAX, NodeSays, Seen};
use keyreeve_authority::children::{Line, Reported};
use keyreeve_authority::verifier::RootPass;
use keyreeve_core::access::Reach;
use keyreeve_core::coherence::nursery::{ChildId, Forget, Order};
use keyreeve_core::limits::COST_MAX;
use keyreeve_core::verdict::Denial;
use keyreeve_core::{Digest, KeyId, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, ReadHalf, WriteHalf};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Most messages that wait to be written; a verifier that reads so slowly is let go.
const WAITING_MAX: usize = 10_000;
/// Most questions and reports of one verifier that are looked into at once.
const QUESTIONS_MAX: usize = 256;
/// A verifier that says nothing for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long writing one message may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Most secrets that a verifier may say that it remembers.
const CAPACITY_MAX: usize = 10_000_000;

type Stream = TokioIo<Upgraded>;

/// What speaks with one verifier.
pub(super) struct Session {
    app: App,
    reach: Reach,
    id: ChildId,
    outbox: Arc<Outbox>,
    questions: Arc<Semaphore>,
}

/// Messages on their way to the verifier, in their order.
struct Outbox {
    queue: UnboundedSender<NodeSays>,
    waiting: AtomicUsize,
    /// The order after which the verifier goes; 0 is none.
    last_order: AtomicU64,
}

impl Outbox {
    fn push(&self, message: NodeSays) -> bool {
        self.waiting.fetch_add(1, Ordering::AcqRel) < WAITING_MAX && self.queue.send(message).is_ok()
    }
}

impl Line for Outbox {
    fn order(&self, order: Order, ended: &[KeyId], is_last: bool) -> bool {
        if is_last {
            self.last_order.store(order.number, Ordering::Release);
        }
        let digests = match order.what {
            Forget::Secrets(digests) => Some(digests.iter().map(Digest::to_hex).collect()),
            Forget::Everything => None,
        };
        self.push(NodeSays::Forget {
            number: order.number,
            revision: order.revision,
            digests,
            ended: ended.iter().map(KeyId::to_string).collect(),
            is_last,
        })
    }
}

/// How a session ended.
enum End {
    /// The verifier holds no lease any more.
    Left,
    /// It may.
    Lost,
}

impl Session {
    /// Serves a verifier until it goes.
    pub(super) async fn run(app: App, reach: Reach, pass: Option<RootPass>, upgrade: OnUpgrade) {
        let Ok(upgraded) = upgrade.await else { return };
        let (reading, writing) = tokio::io::split(TokioIo::new(upgraded));
        let mut lines = Lines::new(reading);
        let Some(ChildSays::Hello { capacity }) = lines.next().await else {
            return;
        };
        let (queue, messages) = unbounded_channel();
        let outbox = Arc::new(Outbox {
            queue,
            waiting: AtomicUsize::new(0),
            last_order: AtomicU64::new(0),
        });
        // In a single process nobody else would know of this verifier after a crash.
        if app.authority().node().is_none()
            && let Err(error) = app.marker().set(app.authority().children().lease_ms())
        {
            tracing::error!(%error, "a verifier was turned away: that there are any could not be written down");
            return;
        }
        let line = Arc::clone(&outbox) as Arc<dyn Line>;
        let adopted = app.authority().adopt(capacity.min(CAPACITY_MAX), pass.as_ref(), line);
        let id = match adopted.await {
            Ok(id) => id,
            Err(error) => {
                tracing::warn!(%error, "a verifier was turned away");
                return;
            }
        };
        tracing::info!(verifier = id, "a verifier has come");
        let writer = tokio::spawn(write(writing, messages, Arc::clone(&outbox)));
        let mut session = Self {
            app: app.clone(),
            reach,
            id,
            outbox,
            questions: Arc::new(Semaphore::new(QUESTIONS_MAX)),
        };
        match session.listen(&mut lines).await {
            End::Left => app.authority().children().left(id),
            End::Lost => app.authority().children().lost(id),
        }
        writer.abort();
        tracing::info!(verifier = id, "a verifier is gone");
    }

    async fn listen(&mut self, lines: &mut Lines) -> End {
        while let Some(said) = lines.next().await {
            match said {
                ChildSays::Hello { .. } => return End::Lost,
                ChildSays::Ping { number } => {
                    let Some(granted) = self.app.authority().grant(self.id) else {
                        return End::Lost;
                    };
                    let grant = NodeSays::Grant {
                        number,
                        length_ms: granted.length_ms,
                        revision: granted.revision,
                        now: granted.now.millis(),
                    };
                    if !self.outbox.push(grant) {
                        return End::Lost;
                    }
                }
                ChildSays::Fetch { number, digest } => match Digest::from_hex(&digest) {
                    Some(digest) => self.answer(number, digest),
                    None => return End::Lost,
                },
                ChildSays::Charge { number, digest, cost } => match Digest::from_hex(&digest) {
                    Some(digest) if cost <= COST_MAX => self.charge(number, digest, cost),
                    Some(_) | None => return End::Lost,
                },
                ChildSays::Ack { number } => {
                    self.app.authority().children().acknowledged(self.id, number);
                    if number != 0 && number == self.outbox.last_order.load(Ordering::Acquire) {
                        return End::Left;
                    }
                }
                ChildSays::Used { seen } => self.take_report(&seen),
                ChildSays::Leave => return End::Left,
            }
        }
        End::Lost
    }

    /// Answers a question beside the others. Nothing that may ask the store is waited for here: it would hold up leases,
    /// and acknowledgements that others wait for. With too many under way it cannot be answered now.
    fn answer(&self, number: u64, digest: Digest) {
        let nothing = NodeSays::Found {
            number,
            revision: None,
            secret: None,
        };
        let Ok(place) = Arc::clone(&self.questions).try_acquire_owned() else {
            self.outbox.push(nothing);
            return;
        };
        let (app, reach, id, outbox) = (self.app.clone(), self.reach.clone(), self.id, Arc::clone(&self.outbox));
        tokio::spawn(async move {
            let found = match app.authority().tell(id, &reach, digest).await {
                Ok((entry, revision)) => NodeSays::Found {
                    number,
                    revision: Some(revision),
                    secret: entry.as_ref().map(|entry| Box::new(told(entry))),
                },
                Err(_) => nothing,
            };
            outbox.push(found);
            drop(place);
        });
    }

    /// Counts uses, beside everything else too.
    fn charge(&self, number: u64, digest: Digest, cost: u32) {
        let Ok(place) = Arc::clone(&self.questions).try_acquire_owned() else {
            let charged = None;
            self.outbox.push(NodeSays::Charged { number, charged });
            return;
        };
        let (app, reach, outbox) = (self.app.clone(), self.reach.clone(), Arc::clone(&self.outbox));
        tokio::spawn(async move {
            let charged = app.authority().charge_for_child(&reach, digest, cost).await;
            let now = app.authority().now();
            let charged = charged.map(|(is_allowed, budget)| {
                let fields = budget::fields(&budget, now);
                ChargedUse {
                    is_allowed,
                    retry_seconds: fields.retry_after,
                    rate_limit: fields.standing,
                    rate_limit_policy: fields.policy,
                }
            });
            outbox.push(NodeSays::Charged { number, charged });
            drop(place);
        });
    }

    /// Takes over what was seen, beside everything else. With too much under way it goes uncounted.
    fn take_report(&self, seen: &[Seen]) {
        let Ok(place) = Arc::clone(&self.questions).try_acquire_owned() else {
            return;
        };
        let reported: Vec<_> = seen.iter().filter_map(reported).collect();
        let (app, reach) = (self.app.clone(), self.reach.clone());
        tokio::spawn(async move {
            app.authority().report(&reach, &reported).await;
            drop(place);
        });
    }
}

fn reported(seen: &Seen) -> Option<Reported> {
    let denial = match seen.outcome.as_str() {
        "valid" => None,
        word => Some(*Denial::ALL.iter().find(|denial| denial.as_str() == word)?),
    };
    Some(Reported {
        digest: Digest::from_hex(&seen.digest)?,
        denial,
        count: seen.count,
        last_at: Timestamp::from_millis(seen.last_at),
    })
}

/// Writes what waits, and flushes when nothing does.
async fn write(mut stream: WriteHalf<Stream>, mut messages: UnboundedReceiver<NodeSays>, outbox: Arc<Outbox>) {
    let mut bytes = Vec::new();
    while let Some(message) = messages.recv().await {
        outbox.waiting.fetch_sub(1, Ordering::AcqRel);
        bytes.clear();
        if serde_json::to_writer(&mut bytes, &message).is_err() {
            return;
        }
        bytes.push(b'\n');
        let written = tokio::time::timeout(WRITE_TIMEOUT, stream.write_all(&bytes)).await;
        if !matches!(written, Ok(Ok(()))) {
            // The reader notices: nothing comes from a verifier that reads nothing.
            drop(stream.shutdown().await);
            return;
        }
    }
}

/// The verifier's words, line by line.
struct Lines {
    stream: BufReader<ReadHalf<Stream>>,
    line: Vec<u8>,
}

impl Lines {
    fn new(stream: ReadHalf<Stream>) -> Self {
        Self {
            stream: BufReader::new(stream),
            line: Vec::new(),
        }
    }

    /// `None` if there are no more, or what came is none.
    async fn next(&mut self) -> Option<ChildSays> {
        self.line.clear();
        let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
        let mut bounded = (&mut self.stream).take(limit);
        let read = tokio::time::timeout(SILENCE_MAX, bounded.read_until(b'\n', &mut self.line)).await;
        if !matches!(read, Ok(Ok(1..))) || !self.line.ends_with(b"\n") {
            return None;
        }
        serde_json::from_slice(&self.line).ok()
    }
}
