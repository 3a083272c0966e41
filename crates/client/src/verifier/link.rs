//! The connection to the node, on a thread of its own: no load on the application keeps it from renewing the lease or
//! from forgetting (coherence.md, rule R11).

use super::Inner;
use super::clock::moment;
use crate::{Authorities, ClientError, authorities, failed, root_cause};
use keyreeve_api::verifiers::{ChargedUse, ChildSays, LINE_BYTES_MAX, NodeSays, PROTOCOL, Told};
use keyreeve_core::coherence::Moment;
use keyreeve_core::coherence::child::Grant;
use keyreeve_core::coherence::nursery::Forget;
use keyreeve_core::{Digest, Timestamp};
use reqwest::header::{CONNECTION, UPGRADE};
use reqwest::{StatusCode, Upgraded, Url};
use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot, watch};

/// The longest time between two pings.
const PING: Duration = Duration::from_secs(1);
/// How often what was seen is reported.
const REPORT: Duration = Duration::from_secs(1);
/// A node that says nothing for so long is gone: it answers every ping at once.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Between two attempts to connect: first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Messages of the node that wait to be carried out.
const INBOX: usize = 1_024;

/// Somebody asks the node.
pub(super) enum Question {
    /// What a secret is.
    Fetch {
        digest: Digest,
        answer: oneshot::Sender<Found>,
    },
    /// For uses of a key whose uses are counted.
    Charge {
        digest: Digest,
        cost: u32,
        answer: oneshot::Sender<ChargedUse>,
    },
}

/// What the node says of a secret.
pub(super) struct Found {
    pub(super) revision: u64,
    pub(super) told: Option<Box<Told>>,
}

/// Where the node is, and with what to come.
pub(super) struct Address {
    http: reqwest::Client,
    url: Url,
    root_key: String,
}

impl Address {
    pub(super) fn parse(text: &str, root_key: String, trusted: Option<&Authorities>) -> Result<Self, ClientError> {
        let wrong = || ClientError::Address(text.to_owned());
        let mut http = authorities::trust(reqwest::Client::builder().http1_only(), trusted);
        let base = match text.strip_prefix("unix:") {
            Some(path) => {
                http = http.unix_socket(path);
                "http://socket/"
            }
            None => text,
        };
        let base = Url::parse(base)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = base.and_then(|base| base.join("v1/verifiers").ok()).ok_or_else(wrong)?;
        let built = http.redirect(reqwest::redirect::Policy::none()).build();
        let http = built.map_err(|error| ClientError::Unreachable(error.to_string()))?;
        Ok(Self { http, url, root_key })
    }

    async fn connect(&self) -> Result<Upgraded, ClientError> {
        let unreachable = |error: reqwest::Error| ClientError::Unreachable(root_cause(&error.without_url()));
        let asked = self.http.get(self.url.clone()).bearer_auth(&self.root_key);
        let asked = asked.header(CONNECTION, "Upgrade").header(UPGRADE, PROTOCOL);
        let answered = async {
            let answer = asked.send().await.map_err(unreachable)?;
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                return answer.upgrade().await.map_err(unreachable);
            }
            let status = answer.status();
            let body = answer.bytes().await.map_err(unreachable)?;
            Err(failed(status, &body))
        };
        let silent = |_| ClientError::Unreachable(format!("it says nothing for {} s", SILENCE_MAX.as_secs()));
        tokio::time::timeout(SILENCE_MAX, answered).await.map_err(silent)?
    }
}

/// Starts the thread, and comes back when the first lease is granted or cannot be.
pub(super) async fn start(
    address: Address,
    inner: Arc<Inner>,
    capacity: usize,
    questions: mpsc::Receiver<Question>,
    closing: watch::Receiver<bool>,
) -> Result<(), ClientError> {
    let (begun, first) = oneshot::channel();
    let link = Link {
        address,
        inner,
        capacity,
        questions,
        closing,
        begun: Some(begun),
    };
    let spawned = std::thread::Builder::new().name("keyreeve".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(link.run()),
            Err(error) => link.fail(ClientError::Unreachable(error.to_string())),
        }
    });
    spawned.map_err(|error| ClientError::Unreachable(error.to_string()))?;
    let lost = |_| ClientError::Unreachable("the connection's thread ended".to_owned());
    first.await.map_err(lost)?
}

struct Link {
    address: Address,
    inner: Arc<Inner>,
    capacity: usize,
    questions: mpsc::Receiver<Question>,
    closing: watch::Receiver<bool>,
    /// Whoever waits for the first lease.
    begun: Option<oneshot::Sender<Result<(), ClientError>>>,
}

/// How a connection ended.
#[derive(PartialEq, Eq)]
enum End {
    /// The application wants no more.
    Closed,
    /// Another one is needed.
    Lost,
}

impl Link {
    fn fail(mut self, error: ClientError) {
        if let Some(begun) = self.begun.take() {
            // Whoever waited may have gone.
            drop(begun.send(Err(error)));
        }
    }

    async fn run(mut self) {
        let mut pause = RETRY.0;
        let mut closing = self.closing.clone();
        loop {
            let connected = tokio::select! {
                connected = self.address.connect() => connected,
                _ = closing.wait_for(|&closing| closing) => break,
            };
            match connected {
                Ok(stream) => {
                    if self.serve(stream).await == End::Closed {
                        break;
                    }
                    pause = RETRY.0;
                }
                Err(error) if self.begun.is_some() => return self.fail(error),
                // What was remembered stands until its lease is over.
                Err(_) => pause = (pause * 2).min(RETRY.1),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = closing.wait_for(|&closing| closing) => break,
            }
        }
        self.inner.child.begin_anew();
    }

    async fn serve(&mut self, stream: Upgraded) -> End {
        // Nobody would say of what an earlier connection brought when it ends.
        self.inner.child.begin_anew();
        let (reading, writing) = tokio::io::split(stream);
        let (inbox, messages) = mpsc::channel(INBOX);
        let reader = tokio::spawn(read(reading, inbox));
        let mut line = Connection {
            inner: Arc::clone(&self.inner),
            writing,
            asked: HashMap::new(),
            charges: HashMap::new(),
            last_number: 0,
            ping: None,
        };
        let end = line.hold(self, messages).await.unwrap_or(End::Lost);
        reader.abort();
        end
    }
}

/// One connection at work.
struct Connection {
    inner: Arc<Inner>,
    writing: WriteHalf<Upgraded>,
    asked: HashMap<u64, oneshot::Sender<Found>>,
    charges: HashMap<u64, oneshot::Sender<ChargedUse>>,
    last_number: u64,
    /// The last ping and when it was sent.
    ping: Option<(u64, Moment)>,
}

impl Connection {
    /// `None` if the connection broke.
    async fn hold(&mut self, link: &mut Link, mut messages: mpsc::Receiver<NodeSays>) -> Option<End> {
        let capacity = link.capacity;
        self.say(&ChildSays::Hello { capacity }).await?;
        let mut pings = tokio::time::interval(PING);
        let mut reports = tokio::time::interval(REPORT);
        let mut closing = link.closing.clone();
        // From the node's last word, whatever else goes on here meanwhile.
        let mut silence = pin!(tokio::time::sleep(SILENCE_MAX));
        loop {
            // What is rare comes first: it must not starve beside what never ends under load.
            tokio::select! {
                biased;
                _ = closing.wait_for(|&closing| closing) => return self.leave().await,
                _ = pings.tick() => self.ask_for_lease().await?,
                () = &mut silence => return None,
                _ = reports.tick() => self.report().await?,
                said = messages.recv() => {
                    silence.as_mut().reset(tokio::time::Instant::now() + SILENCE_MAX);
                    let Some(length_ms) = self.carry_out(said?).await? else { continue };
                    if let Some(begun) = link.begun.take() {
                        // Whoever waited may have gone; then everything is dropped soon.
                        drop(begun.send(Ok(())));
                    }
                    let pause = PING.min(Duration::from_millis(length_ms / 5));
                    pings.reset_after(pause.max(RETRY.0));
                }
                question = link.questions.recv() => match question {
                    Some(question) => self.ask(question).await?,
                    None => return self.leave().await,
                },
            }
        }
    }

    async fn say(&mut self, message: &ChildSays) -> Option<()> {
        let mut bytes = serde_json::to_vec(message).ok()?;
        bytes.push(b'\n');
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
        self.say(&ChildSays::Ping { number }).await
    }

    async fn ask(&mut self, question: Question) -> Option<()> {
        let number = self.number();
        match question {
            Question::Fetch { digest, answer } => {
                self.asked.retain(|_, asked| !asked.is_closed());
                self.asked.insert(number, answer);
                let digest = digest.to_hex();
                self.say(&ChildSays::Fetch { number, digest }).await
            }
            Question::Charge { digest, cost, answer } => {
                self.charges.retain(|_, asked| !asked.is_closed());
                self.charges.insert(number, answer);
                let digest = digest.to_hex();
                self.say(&ChildSays::Charge { number, digest, cost }).await
            }
        }
    }

    async fn report(&mut self) -> Option<()> {
        let seen = self.inner.uses.take();
        if seen.is_empty() {
            return Some(());
        }
        self.say(&ChildSays::Used { seen }).await
    }

    /// Carries out what the node says. The length of a lease that was granted.
    async fn carry_out(&mut self, said: NodeSays) -> Option<Option<u64>> {
        match said {
            NodeSays::Grant {
                number,
                length_ms,
                revision,
                now,
            } => {
                let Some((_, asked)) = self.ping.take_if(|(asked, _)| *asked == number) else {
                    return Some(None);
                };
                self.inner.child.granted(&Grant {
                    asked,
                    length_ms,
                    now: Timestamp::from_millis(now),
                    revision,
                });
                self.inner.granted.notify_waiters();
                Some(Some(length_ms))
            }
            NodeSays::Found {
                number,
                revision,
                secret,
            } => {
                // Without a revision nothing can be said now: whoever asked sees that nobody answers.
                if let (Some(asked), Some(revision)) = (self.asked.remove(&number), revision) {
                    let told = secret;
                    drop(asked.send(Found { revision, told }));
                }
                Some(None)
            }
            NodeSays::Charged { number, charged } => {
                // The same: without a word nothing is let through.
                if let (Some(asked), Some(charged)) = (self.charges.remove(&number), charged) {
                    drop(asked.send(charged));
                }
                Some(None)
            }
            NodeSays::Forget {
                number,
                revision,
                digests,
                ended,
                is_last,
            } => {
                let what = match &digests {
                    None => Forget::Everything,
                    Some(digests) => {
                        Forget::Secrets(digests.iter().filter_map(|text| Digest::from_hex(text)).collect())
                    }
                };
                if is_last {
                    self.inner.child.begin_anew();
                }
                let gone = self.inner.child.forget(revision, &what);
                self.say(&ChildSays::Ack { number }).await?;
                self.inner.tell_revoked(&gone, &ended);
                if is_last { None } else { Some(None) }
            }
        }
    }

    /// Hands the lease back.
    async fn leave(&mut self) -> Option<End> {
        self.report().await;
        self.inner.child.begin_anew();
        self.say(&ChildSays::Leave).await;
        drop(self.writing.shutdown().await);
        Some(End::Closed)
    }
}

/// Reads the node's words, in their order.
async fn read(stream: ReadHalf<Upgraded>, inbox: mpsc::Sender<NodeSays>) {
    let mut stream = BufReader::new(stream);
    let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut stream).take(limit).read_until(b'\n', &mut line).await;
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
