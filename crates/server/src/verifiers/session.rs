//! Serves one connection of one verifier, from the greeting to the end.

use super::Stream;
use super::VerifierHost;
use super::lines::{LongLine, MessageLines};
use super::outbox::Outbox;
use super::share::{Place, Share};
use super::told::told;
use crate::http::budget;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use keyreeve_api::verifiers::{ChargedUse, NodeMessage, SeenCount, VerifierMessage};
use keyreeve_authority::children::{Newcomer, Reported, VerifierLine};
use keyreeve_authority::verifier::RootPass;
use keyreeve_core::access::Reach;
use keyreeve_core::coherence::downstream::ChildId;
use keyreeve_core::limits::COST_MAX;
use keyreeve_core::verdict::Denial;
use keyreeve_core::{Digest, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::WriteHalf;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

/// Most look-ups of one verifier that are running or waiting.
const QUESTIONS_MAX: usize = 256;
/// Most reports of one verifier that are running or waiting.
const REPORTS_MAX: usize = 2;
/// Most pings of one verifier that wait. A conforming one waits for each grant.
const PINGS_MAX: usize = 16;
/// Time limit for the greeting.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a look-up waits for a permit. After that its caller has timed out.
const QUESTION_PATIENCE: Duration = Duration::from_secs(2);
/// How long queued messages may still be written when a connection ends.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// Upper bound of the capacity that a verifier announces, in secrets.
const CAPACITY_MAX: usize = 10_000_000;

/// The session of one verifier.
pub(super) struct VerifierSession {
    host: Arc<VerifierHost>,
    id: ChildId,
    outbox: Arc<Outbox>,
    share: Arc<Share>,
    pings: mpsc::Sender<u64>,
    questions: Arc<Semaphore>,
    reports: Arc<Semaphore>,
}

/// The verifier as admitted, from its request.
pub(super) struct AdmittedVerifier {
    pub(super) reach: Reach,
    pub(super) pass: Option<RootPass>,
    pub(super) peer: Box<str>,
    pub(super) share: Arc<Share>,
    /// Held until the greeting has arrived.
    pub(super) silent: Place,
}

/// How a session ended.
enum SessionEnd {
    /// The verifier holds no lease any more.
    Left,
    /// The verifier may still hold a lease.
    Lost,
}

impl VerifierSession {
    /// Serves a verifier until either side ends the session.
    pub(super) async fn run(host: Arc<VerifierHost>, visitor: AdmittedVerifier, upgrade: OnUpgrade) {
        let greeted = timeout(HELLO_TIMEOUT, greeting(&visitor.share, upgrade)).await;
        let Ok(Some((newcomer, mut lines, writing))) = greeted else {
            return;
        };
        let outbox = Arc::new(Outbox::new(Arc::clone(&visitor.share)));
        let newcomer = Newcomer {
            reach: visitor.reach,
            pass: visitor.pass,
            peer: visitor.peer,
            ..newcomer
        };
        let Some(id) = register(&host, newcomer, Arc::clone(&outbox) as Arc<dyn VerifierLine>).await else {
            return;
        };
        drop(visitor.silent);
        tracing::info!(verifier = id, "verifier connected");
        let (pings, asked) = mpsc::channel(PINGS_MAX);
        let granting = tokio::spawn(grant(Arc::clone(&host), id, Arc::clone(&outbox), asked));
        let writing = {
            let outbox = Arc::clone(&outbox);
            tokio::spawn(async move { outbox.write(writing).await })
        };
        let session = Self {
            host,
            id,
            outbox,
            share: visitor.share,
            pings,
            questions: Arc::new(Semaphore::new(QUESTIONS_MAX)),
            reports: Arc::new(Semaphore::new(REPORTS_MAX)),
        };
        let end = tokio::select! {
            biased;
            end = session.listen(&mut lines) => end,
            () = session.outbox.ended() => SessionEnd::Lost,
        };
        granting.abort();
        session.end(&end, writing).await;
    }

    /// Ends the session. Both halves of the connection are dropped within [`LAST_WORDS`], whatever the verifier does.
    async fn end(self, end: &SessionEnd, mut writing: tokio::task::JoinHandle<()>) {
        let children = self.host.authority().children();
        match end {
            SessionEnd::Left => children.left(self.id),
            SessionEnd::Lost => children.lost(self.id),
        }
        self.outbox.close();
        if timeout(LAST_WORDS, &mut writing).await.is_err() {
            writing.abort();
        }
        tracing::info!(verifier = self.id, "verifier disconnected");
    }

    async fn listen(&self, lines: &mut MessageLines) -> SessionEnd {
        while let Some(said) = lines.next().await {
            match said.what {
                VerifierMessage::Hello { .. } => return SessionEnd::Lost,
                // A full queue drops the ping: a verifier that does not wait for its grants gets fewer.
                VerifierMessage::Ping { number } => drop(self.pings.try_send(number)),
                VerifierMessage::Fetch { number, digest } => match Digest::from_hex(&digest) {
                    Some(digest) => self.answer(number, digest),
                    None => return SessionEnd::Lost,
                },
                VerifierMessage::Charge { number, digest, cost } => match Digest::from_hex(&digest) {
                    Some(digest) if cost <= COST_MAX => self.charge(number, digest, cost),
                    Some(_) | None => return SessionEnd::Lost,
                },
                VerifierMessage::Ack { number } => {
                    if !self.outbox.has_ordered(number) {
                        return SessionEnd::Lost;
                    }
                    self.host.authority().children().acknowledged(self.id, number);
                    if self.outbox.last_order() == Some(number) {
                        return SessionEnd::Left;
                    }
                }
                VerifierMessage::Used { seen } => self.take_report(&seen, said.place),
                VerifierMessage::Leave => return SessionEnd::Left,
            }
        }
        SessionEnd::Lost
    }

    /// Answers a look-up in a task of its own. The reader never waits for the store: that would delay lease renewals,
    /// and acknowledgements that changes wait for. Above the bounds the answer is "not known now".
    fn answer(&self, number: u64, digest: Digest) {
        let nothing = NodeMessage::Found {
            number,
            revision: None,
            secret: None,
        };
        let (own, waiting) = (Arc::clone(&self.questions).try_acquire_owned(), self.share.wait());
        let (Ok(own), Some(waiting)) = (own, waiting) else {
            self.outbox.push(nothing);
            return;
        };
        let (host, id, outbox, share) = (Arc::clone(&self.host), self.id, self.outbox.clone(), self.share.clone());
        tokio::spawn(async move {
            let Ok(Some(_turn)) = timeout(QUESTION_PATIENCE, share.look_up(waiting)).await else {
                outbox.push(nothing);
                return;
            };
            if outbox.is_closed() {
                return;
            }
            let found = match host.authority().verifiers().answer_fetch(id, digest).await {
                Ok((entry, revision)) => NodeMessage::Found {
                    number,
                    revision: Some(revision),
                    secret: entry.as_ref().map(|entry| Box::new(told(entry))),
                },
                Err(_) => nothing,
            };
            outbox.push(found);
            drop(own);
        });
    }

    /// Charges uses, in a task of its own as well.
    fn charge(&self, number: u64, digest: Digest, cost: u32) {
        let nothing = NodeMessage::Charged { number, charged: None };
        let (own, waiting) = (Arc::clone(&self.questions).try_acquire_owned(), self.share.wait());
        let (Ok(own), Some(waiting)) = (own, waiting) else {
            self.outbox.push(nothing);
            return;
        };
        let (host, id, outbox, share) = (Arc::clone(&self.host), self.id, self.outbox.clone(), self.share.clone());
        tokio::spawn(async move {
            let Ok(Some(_turn)) = timeout(QUESTION_PATIENCE, share.look_up(waiting)).await else {
                outbox.push(nothing);
                return;
            };
            if outbox.is_closed() {
                return;
            }
            let charged = host.authority().verifiers().charge(id, digest, cost).await;
            let now = host.authority().now();
            let charged = charged.map(|(is_allowed, budget)| {
                let fields = budget::fields(&budget, now);
                ChargedUse {
                    is_allowed,
                    retry_seconds: fields.retry_after,
                    rate_limit: fields.standing,
                    rate_limit_policy: fields.policy,
                }
            });
            outbox.push(NodeMessage::Charged { number, charged });
            drop(own);
        });
    }

    /// Records reported uses in a task of its own. Above the bounds a report is dropped and not counted.
    fn take_report(&self, seen: &[SeenCount], place: Option<LongLine>) {
        let own = Arc::clone(&self.reports).try_acquire_owned();
        let (Ok(own), Some(waiting)) = (own, self.share.wait()) else {
            return;
        };
        let reported: Vec<_> = seen.iter().filter_map(reported).collect();
        let (host, id, share) = (Arc::clone(&self.host), self.id, self.share.clone());
        tokio::spawn(async move {
            if let Some(_turn) = share.look_up(waiting).await {
                host.authority().verifiers().report(id, &reported).await;
            }
            drop((own, place));
        });
    }
}

/// Reads the greeting, and returns the two halves of the connection.
async fn greeting(share: &Arc<Share>, upgrade: OnUpgrade) -> Option<(Newcomer, MessageLines, WriteHalf<Stream>)> {
    let upgraded = upgrade.await.ok()?;
    let (reading, writing) = tokio::io::split(TokioIo::new(upgraded));
    let mut lines = MessageLines::new(reading, Arc::clone(share));
    let VerifierMessage::Hello { capacity, lease_ms } = lines.next().await?.what else {
        return None;
    };
    let newcomer = Newcomer {
        capacity: capacity.min(CAPACITY_MAX),
        lease_ms,
        reach: Reach::Instance,
        pass: None,
        peer: "".into(),
    };
    Some((newcomer, lines, writing))
}

/// Registers a verifier. `None` if it is refused.
async fn register(host: &VerifierHost, newcomer: Newcomer, line: Arc<dyn VerifierLine>) -> Option<ChildId> {
    // A single process has no other record of this verifier after a crash: the marker is durable before the first
    // lease.
    if host.authority().node().is_none()
        && let Err(error) = host.marker().set(host.authority().children().lease_ms())
    {
        tracing::error!(%error, "cannot write the marker file; verifier connection refused");
        return None;
    }
    let registered = host.authority().verifiers().register(newcomer, line).await;
    registered
        .inspect_err(|error| tracing::warn!(%error, "verifier connection refused"))
        .ok()
}

/// Answers pings in order, in a task apart from the reader: a grant may read the store, and no acknowledgement waits
/// for that.
async fn grant(host: Arc<VerifierHost>, id: ChildId, outbox: Arc<Outbox>, mut pings: mpsc::Receiver<u64>) {
    while let Some(number) = pings.recv().await {
        let Some(granted) = host.authority().verifiers().grant(id).await else {
            // A verifier that must leave may still acknowledge; its pings are ignored until it is gone.
            if host.authority().children().is_leaving(id) {
                continue;
            }
            // Counts an overdue verifier as overdue, before its connection is closed.
            host.authority().verifiers().sweep();
            break;
        };
        outbox.push(NodeMessage::Grant {
            number,
            length_ms: granted.length_ms,
            revision: granted.revision,
            now: granted.now.millis(),
        });
    }
    outbox.close();
}

fn reported(seen: &SeenCount) -> Option<Reported> {
    let denial = match seen.outcome.as_str() {
        "valid" => None,
        word => Some(*Denial::ALL.iter().find(|denial| denial.as_str() == word)?),
    };
    Some(Reported {
        digest: Digest::from_hex(&seen.digest)?,
        denial,
        count: seen.count,
        extra_cost: seen.extra_cost,
        last_at: Timestamp::from_millis(seen.last_at),
    })
}
