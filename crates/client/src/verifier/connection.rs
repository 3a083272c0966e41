//! One connection to the node: pings, requests, reports, and the node's messages.

use super::Inner;
use super::clock::moment;
use super::link::{ConnectionEnd, FoundSecret, NodeLink, NodeQuestion};
use keyreeve_api::verifiers::{ChargedUse, LINE_BYTES_MAX, NodeMessage, VerifierMessage};
use keyreeve_core::coherence::Moment;
use keyreeve_core::coherence::child::LeaseGrant;
use keyreeve_core::coherence::downstream::Forget;
use keyreeve_core::text::Slug;
use keyreeve_core::{Digest, Timestamp};
use reqwest::Upgraded;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};

/// The longest time between two pings.
const PING: Duration = Duration::from_secs(1);
/// The shortest time between two pings.
const PING_MIN: Duration = Duration::from_millis(50);
/// How often uses are reported.
const REPORT: Duration = Duration::from_secs(1);
/// After this time without a message the node is gone: it answers every ping at once.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// One connection.
pub(super) struct NodeConnection {
    inner: Arc<Inner>,
    writing: WriteHalf<Upgraded>,
    asked: HashMap<u64, oneshot::Sender<FoundSecret>>,
    charges: HashMap<u64, oneshot::Sender<ChargedUse>>,
    last_number: u64,
    /// The last ping and when it was sent.
    ping: Option<(u64, Moment)>,
}

impl NodeConnection {
    pub(super) fn new(inner: &Arc<Inner>, writing: WriteHalf<Upgraded>) -> Self {
        Self {
            inner: Arc::clone(inner),
            writing,
            asked: HashMap::new(),
            charges: HashMap::new(),
            last_number: 0,
            ping: None,
        }
    }

    /// Runs the connection. `None` if it broke.
    pub(super) async fn hold(
        &mut self,
        link: &mut NodeLink,
        mut messages: mpsc::Receiver<NodeMessage>,
    ) -> Option<ConnectionEnd> {
        let (capacity, lease_ms) = (link.setup.capacity, link.setup.lease_ms);
        self.say(&VerifierMessage::Hello { capacity, lease_ms }).await?;
        let mut pings = tokio::time::interval(PING);
        let mut reports = tokio::time::interval(REPORT);
        let mut closing = link.setup.closing.clone();
        // Measured from the node's last message, whatever else is sent here.
        let mut silence = pin!(tokio::time::sleep(SILENCE_MAX));
        loop {
            // Rare events first, so that frequent ones cannot starve them under load.
            tokio::select! {
                biased;
                _ = closing.wait_for(|&closing| closing) => return self.leave().await,
                _ = pings.tick() => self.ask_for_lease().await?,
                () = &mut silence => return None,
                _ = reports.tick() => self.report().await?,
                said = messages.recv() => {
                    silence.as_mut().reset(tokio::time::Instant::now() + SILENCE_MAX);
                    let Some(length_ms) = self.carry_out(said?).await? else { continue };
                    link.leased();
                    let pause = PING.min(Duration::from_millis(length_ms / 5));
                    pings.reset_after(pause.max(PING_MIN));
                }
                question = link.setup.questions.recv() => match question {
                    Some(question) => self.ask(question).await?,
                    None => return self.leave().await,
                },
            }
        }
    }

    async fn say(&mut self, message: &VerifierMessage) -> Option<()> {
        let mut bytes = serde_json::to_vec(message).ok()?;
        bytes.push(b'\n');
        // A node that does not read would block this loop, and with it the orders to forget.
        let written = tokio::time::timeout(SILENCE_MAX, self.writing.write_all(&bytes)).await;
        written.ok()?.ok()
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    async fn ask_for_lease(&mut self) -> Option<()> {
        let number = self.number();
        // The lease counts from here: before the ping is sent.
        self.ping = Some((number, moment()));
        self.say(&VerifierMessage::Ping { number }).await
    }

    async fn ask(&mut self, question: NodeQuestion) -> Option<()> {
        let number = self.number();
        match question {
            NodeQuestion::Fetch { digest, answer } => {
                // Callers wait for a bounded time. Those that have given up are removed here, so that the map stays
                // bounded.
                self.asked.retain(|_, asked| !asked.is_closed());
                self.asked.insert(number, answer);
                let digest = digest.to_hex();
                self.say(&VerifierMessage::Fetch { number, digest }).await
            }
            NodeQuestion::Charge { digest, cost, answer } => {
                self.charges.retain(|_, asked| !asked.is_closed());
                self.charges.insert(number, answer);
                let digest = digest.to_hex();
                self.say(&VerifierMessage::Charge { number, digest, cost }).await
            }
        }
    }

    async fn report(&mut self) -> Option<()> {
        let seen = self.inner.uses.take();
        if seen.is_empty() {
            return Some(());
        }
        self.say(&VerifierMessage::Used { seen }).await
    }

    /// Carries out a message of the node. Returns the length of a lease that was granted.
    async fn carry_out(&mut self, said: NodeMessage) -> Option<Option<u64>> {
        match said {
            NodeMessage::Grant {
                number,
                length_ms,
                revision,
                now,
            } => {
                // Only the newest ping has a time that a lease can count from.
                let Some((_, asked)) = self.ping.take_if(|(asked, _)| *asked == number) else {
                    return Some(None);
                };
                self.inner.child.granted(&LeaseGrant {
                    asked,
                    length_ms,
                    now: Timestamp::from_millis(now),
                    revision,
                });
                // After the lease has grown, so that a task that wakes finds it.
                self.inner.granted.notify_waiters();
                Some(Some(length_ms))
            }
            NodeMessage::Found {
                number,
                revision,
                secret,
            } => {
                // Without a revision the node cannot answer now: the sender is dropped, which the caller sees.
                if let (Some(asked), Some(revision)) = (self.asked.remove(&number), revision) {
                    drop(asked.send(FoundSecret { revision, secret }));
                }
                Some(None)
            }
            NodeMessage::Charged { number, charged } => {
                // As above: without an answer the use is denied.
                if let (Some(asked), Some(charged)) = (self.charges.remove(&number), charged) {
                    drop(asked.send(charged));
                }
                Some(None)
            }
            NodeMessage::Forget {
                number,
                revision,
                digests,
                tenant,
                ended,
                is_last,
            } => {
                if is_last {
                    // No order follows on this connection, so the lease ends with it.
                    self.inner.child.begin_anew();
                }
                // Forget first, then acknowledge: the node answers a revocation when it has the acknowledgement.
                let gone = self
                    .inner
                    .child
                    .forget(revision, &meant(digests.as_deref(), tenant.as_deref()));
                self.say(&VerifierMessage::Ack { number }).await?;
                self.inner.tell_revoked(&gone, &ended);
                if is_last { None } else { Some(None) }
            }
        }
    }

    /// Ends the lease and sends the node its leave.
    async fn leave(&mut self) -> Option<ConnectionEnd> {
        self.report().await;
        // The lease ends before the node is notified: from then on no change waits for this verifier.
        self.inner.child.begin_anew();
        self.say(&VerifierMessage::Leave).await;
        drop(self.writing.shutdown().await);
        Some(ConnectionEnd::Closed)
    }
}

/// Returns what an order covers. One that cannot be parsed covers everything.
fn meant(digests: Option<&[String]>, tenant: Option<&str>) -> Forget {
    let secrets = |digests: &[String]| digests.iter().map(|text| Digest::from_hex(text)).collect();
    let meant = match (digests, tenant) {
        (Some(digests), _) => Option::<Vec<_>>::map(secrets(digests), Forget::Secrets),
        (None, Some(tenant)) => Slug::parse(tenant).ok().map(Forget::Tenant),
        (None, None) => None,
    };
    meant.unwrap_or(Forget::Everything)
}

/// Reads the node's messages, in order.
pub(super) async fn read(stream: ReadHalf<Upgraded>, inbox: mpsc::Sender<NodeMessage>) {
    let mut stream = BufReader::new(stream);
    let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut stream).take(limit).read_until(b'\n', &mut line).await;
        // A line that is too long is cut off, and has no end either.
        if !matches!(read, Ok(1..)) || !line.ends_with(b"\n") {
            return;
        }
        let Ok(said) = serde_json::from_slice(&line) else {
            return;
        };
        if inbox.send(said).await.is_err() {
            return;
        }
    }
}
