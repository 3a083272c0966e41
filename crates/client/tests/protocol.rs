//! The verifier against a node that this test simulates: its messages, and what it does before it sends them.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use keyreeve_api::verifiers::{NodeMessage, PROTOCOL, RememberedSecret, VerifierMessage};
use keyreeve_client::{ClientError, Verifier};
use keyreeve_core::key::Prefix;
use keyreeve_core::{Digest, Secret};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

const GRANT_MS: u64 = 60_000;
/// As many digests as one message can contain.
const DIGESTS_MAX: u32 = 15_000;

/// The listener of a simulated node.
struct Node(TcpListener);

/// One connection of a verifier to it.
struct Line(BufReader<TcpStream>);

impl Node {
    async fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }

    /// Accepts the next connection and reads the request up to its empty line.
    async fn asked(&self) -> Line {
        let (stream, _) = self.0.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut line = Line(BufReader::new(stream));
        while !matches!(line.text().await.as_deref(), Some("" | "\r\n")) {}
        line
    }

    /// Accepts the next connection and reads the verifier's first message.
    async fn accept(&self) -> (Line, VerifierMessage) {
        let mut line = self.asked().await;
        let head = format!("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {PROTOCOL}\r\n\r\n");
        line.write(head.as_bytes()).await;
        let hello = line.hear().await.unwrap();
        (line, hello)
    }

    /// Refuses the next connection.
    async fn refuse(&self, status: u16, code: &str, headers: &str) {
        let mut line = self.asked().await;
        let body = serde_json::json!({"type": "/errors/x", "title": "t", "status": status, "detail": "not you",
            "code": code, "request_id": "req_1", "errors": []});
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} No\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        );
        line.write(format!("{head}{body}").as_bytes()).await;
    }

    /// Returns a verifier that has its first lease here.
    async fn verifier(&self) -> (Verifier, Line) {
        let url = self.url();
        let connecting = tokio::spawn(async move { Verifier::connect(&url, "root key").await });
        let (mut line, _) = self.accept().await;
        line.grant().await;
        (connecting.await.unwrap().unwrap(), line)
    }
}

impl Line {
    async fn text(&mut self) -> Option<String> {
        let mut text = String::new();
        let count = self.0.read_line(&mut text).await.ok()?;
        (count > 0).then_some(text)
    }

    async fn hear(&mut self) -> Option<VerifierMessage> {
        serde_json::from_str(&self.text().await?).ok()
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).await.unwrap();
    }

    async fn say(&mut self, said: &NodeMessage) {
        let text = serde_json::to_string(said).unwrap();
        self.write(format!("{text}\n").as_bytes()).await;
    }

    /// Answers the next ping.
    async fn grant(&mut self) {
        let number = loop {
            if let VerifierMessage::Ping { number } = self.hear().await.unwrap() {
                break number;
            }
        };
        self.say(&granted(number)).await;
    }

    /// Answers pings and look-ups of one key until another message arrives, which is returned.
    async fn serve(&mut self, key: &Key) -> Option<VerifierMessage> {
        loop {
            match self.hear().await? {
                VerifierMessage::Ping { number } => self.say(&granted(number)).await,
                VerifierMessage::Fetch { number, digest } => {
                    assert_eq!(digest, key.digest.to_hex());
                    self.say(&key.found(number)).await;
                }
                other => return Some(other),
            }
        }
    }

    /// Reads until an acknowledgement arrives.
    async fn acknowledged(&mut self, wanted: u64) {
        loop {
            match self.hear().await.unwrap() {
                VerifierMessage::Ack { number } if number == wanted => return,
                VerifierMessage::Ping { number } => self.say(&granted(number)).await,
                _ => {}
            }
        }
    }
}

/// The node's newest change: its answers are as of that, and orders are older. An answer older than an order would be
/// dropped.
const NEWEST: u64 = 1_000;

fn granted(number: u64) -> NodeMessage {
    NodeMessage::Grant {
        number,
        length_ms: GRANT_MS,
        revision: 1,
        now: 1_000_000,
    }
}

fn forget(number: u64, digests: Option<Vec<String>>, tenant: Option<&str>) -> NodeMessage {
    NodeMessage::Forget {
        number,
        revision: number + 1,
        digests,
        tenant: tenant.map(str::to_owned),
        ended: Vec::new(),
        is_last: false,
    }
}

/// A key of the simulated node.
struct Key {
    secret: String,
    digest: Digest,
    tenant: &'static str,
}

impl Key {
    fn new(number: u8, tenant: &'static str) -> Self {
        let secret = Secret::mint(&Prefix::parse("ak").unwrap(), &[number; 32]);
        Self {
            secret: secret.expose().to_owned(),
            digest: secret.digest(),
            tenant,
        }
    }

    fn found(&self, number: u64) -> NodeMessage {
        let told = RememberedSecret {
            key_id: format!("ak_{}", "1".repeat(32)),
            tenant: self.tenant.to_owned(),
            reveals: false,
            is_blocked: false,
            secret: "live".to_owned(),
            retires_at: None,
            key: "active".to_owned(),
            finalize_at: None,
            expires_at: None,
            subject: "user_1".to_owned(),
            name: "one".to_owned(),
            scopes: String::new(),
            claims: None,
            limits: String::new(),
        };
        NodeMessage::Found {
            number,
            revision: Some(NEWEST),
            secret: Some(Box::new(told)),
        }
    }
}

fn is_remembered(verifier: &Verifier, key: &Key) -> bool {
    verifier.remembered(&key.secret, &[]).is_some()
}

/// Lets the verifier look a key up; returns the connection.
async fn learn(verifier: &Verifier, mut line: Line, key: &Key) -> Line {
    let mut served = Box::pin(line.serve(key));
    tokio::select! {
        verdict = verifier.verify(&key.secret) => assert!(verdict.is_valid()),
        said = &mut served => panic!("it left: {}", said.is_some()),
    }
    drop(served);
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_forgotten_already() {
    let node = Node::new().await;
    let (verifier, mut line) = node.verifier().await;
    let key = Key::new(1, "acme");
    // The key is the last of very many, so that forgetting takes far longer than sending an acknowledgement.
    let others = (0..DIGESTS_MAX).map(|number| Digest::of(&number.to_be_bytes()).to_hex());
    let mut digests: Vec<_> = others.collect();
    digests.push(key.digest.to_hex());
    let forms = [(Some(digests), None), (None, None), (None, Some("acme"))];
    for (number, (digests, tenant)) in (1..).zip(forms.iter().cycle().take(9)) {
        line = learn(&verifier, line, &key).await;
        assert!(is_remembered(&verifier, &key));
        line.say(&forget(number, digests.clone(), *tenant)).await;
        line.acknowledged(number).await;
        assert!(
            !is_remembered(&verifier, &key),
            "order {number} was acknowledged before it was carried out"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_change_makes_it_forget_that_tenants_keys_alone() {
    let node = Node::new().await;
    let (verifier, line) = node.verifier().await;
    let (acme, other) = (Key::new(1, "acme"), Key::new(2, "other"));
    let line = learn(&verifier, line, &acme).await;
    let mut line = learn(&verifier, line, &other).await;
    for (number, tenant) in [(1, "nobody"), (2, "acme")] {
        line.say(&forget(number, None, Some(tenant))).await;
        line.acknowledged(number).await;
        assert_eq!(is_remembered(&verifier, &acme), tenant == "nobody");
        assert!(is_remembered(&verifier, &other));
    }
    let mut line = learn(&verifier, line, &acme).await;
    line.say(&forget(3, None, None)).await;
    line.acknowledged(3).await;
    assert!(verifier.is_empty());
}

#[test]
fn a_verifier_that_knows_no_tenants_takes_such_an_order_for_everything() {
    /// The message as an older version of the client parses it.
    #[derive(serde::Deserialize)]
    struct Older {
        digests: Option<Vec<String>>,
    }
    let text = serde_json::to_string(&forget(1, None, Some("acme"))).unwrap();
    let read: Older = serde_json::from_str(&text).unwrap();
    assert!(read.digests.is_none(), "no digests is everything");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_asks_for_the_lease_that_it_wants() {
    for wish in [None, Some(Duration::from_millis(2_500))] {
        let node = Node::new().await;
        let mut builder = Verifier::builder(&node.url(), "root key");
        if let Some(lease) = wish {
            builder = builder.lease(lease);
        }
        let connecting = tokio::spawn(builder.connect());
        let (mut line, hello) = node.accept().await;
        let VerifierMessage::Hello { lease_ms, .. } = hello else {
            panic!("no hello");
        };
        assert_eq!(lease_ms, wish.map(|_| 2_500));
        line.grant().await;
        drop(connecting.await.unwrap().unwrap());
    }
}

/// Runs until the verifier has connected this many times, each time with the same answer.
async fn connections(node: Node, count: usize, dismisses: bool) -> Vec<Instant> {
    let mut at = Vec::new();
    for _ in 0..count {
        let (mut line, _) = node.accept().await;
        at.push(Instant::now());
        line.grant().await;
        if dismisses {
            let NodeMessage::Forget { number, revision, .. } = forget(1, None, None) else {
                return at;
            };
            line.say(&NodeMessage::Forget {
                number,
                revision,
                digests: None,
                tenant: None,
                ended: Vec::new(),
                is_last: true,
            })
            .await;
            while line.hear().await.is_some() {}
        }
    }
    at
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_sent_away_again_and_again_comes_back_ever_more_slowly() {
    for dismisses in [true, false] {
        let node = Node::new().await;
        let url = node.url();
        let played: JoinHandle<_> = tokio::spawn(connections(node, 6, dismisses));
        let verifier = Verifier::connect(&url, "root key").await.unwrap();
        let at = played.await.unwrap();
        let pauses: Vec<_> = at
            .iter()
            .zip(at.iter().skip(1))
            .map(|(one, next)| *next - *one)
            .collect();
        // The fifth pause is at least eight times the shortest first one.
        assert!(*pauses.last().unwrap() >= Duration::from_millis(8 * 50), "{pauses:?}");
        drop(verifier);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_reported_as_what_it_is_and_nothing_is_valid() {
    for (status, code) in [
        (401, "ROOT_KEY_INVALID"),
        (403, "PERMISSION_DENIED"),
        (429, "VERIFIER_STREAM_SUSPENDED"),
    ] {
        let node = Node::new().await;
        let (url, headers) = (node.url(), "Retry-After: 60\r\n");
        let connecting = tokio::spawn(async move { Verifier::connect(&url, "root key").await });
        node.refuse(status, code, headers).await;
        let refused = connecting.await.unwrap();
        assert!(matches!(refused, Err(ClientError::Refused(why)) if why.code == code && why.status == status));

        // The same later, when the connection is opened again.
        let (verifier, line) = node.verifier().await;
        let key = Key::new(1, "acme");
        let mut line = learn(&verifier, line, &key).await;
        assert!(verifier.disconnected().is_none());
        line.say(&NodeMessage::Forget {
            number: 1,
            revision: 2,
            digests: None,
            tenant: None,
            ended: Vec::new(),
            is_last: true,
        })
        .await;
        line.acknowledged(1).await;
        drop(line);
        node.refuse(status, code, headers).await;
        let disconnected = loop {
            match verifier
                .disconnected()
                .filter(|disconnected| disconnected.code.is_some())
            {
                Some(disconnected) => break disconnected,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        assert_eq!(
            (disconnected.code.as_deref(), disconnected.detail.as_str()),
            (Some(code), "not you")
        );
        let verdict = verifier.verify(&key.secret).await;
        assert_eq!((verdict.is_valid(), verdict.code()), (false, "SERVICE_UNAVAILABLE"));
        let again = tokio::time::timeout(Duration::from_millis(500), node.asked()).await;
        assert!(again.is_err(), "it was told when to come back");
    }
}
