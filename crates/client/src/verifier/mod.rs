//! Verification inside an application: answered from its own memory, in nanoseconds, and as immediate as on a node.
//!
//! A [`Verifier`] has one connection to a node. It looks each key up there once, and the node sends it orders to
//! forget. A revocation on the server returns only when every verifier that may know the key has forgotten it, or has
//! no lease any more. Without a lease the only answer is `SERVICE_UNAVAILABLE` (`docs/concepts/immediate.md`).

mod address;
mod clock;
mod connection;
mod disconnected;
#[cfg(feature = "tower")]
pub mod http;
mod link;
mod pause;
mod remembered;
mod uses;
mod verdict;

pub use disconnected::Disconnected;
pub use verdict::Verdict;

use crate::{Authorities, ClientError};
use address::NodeAddress;
use clock::moment;
use keyreeve_core::coherence::Filled;
use keyreeve_core::coherence::child::Child;
use keyreeve_core::coherence::{Entry, Moment};
use keyreeve_core::key::Presented;
use keyreeve_core::verdict::{Denial, judge};
use keyreeve_core::{Digest, KeyId, Timestamp};
use link::{FoundSecret, NodeQuestion};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use uses::VerifierUses;

/// The default for the most secrets that are remembered.
pub const CAPACITY_DEFAULT: usize = 100_000;
/// The longest time that a verification waits for the node.
const PATIENCE: Duration = Duration::from_secs(2);
/// Tries of a fill that orders overtake.
const FILL_TRIES: usize = 8;
/// Most requests that wait for the connection.
const QUESTIONS_MAX: usize = 4_096;

/// A callback for keys that are refused from now on; see [`Builder::on_revoked`].
pub type OnRevoked = Box<dyn Fn(&str) + Send + Sync>;

/// Verifies keys from memory. Cloning is cheap; dropping the last clone ends the lease.
#[derive(Clone)]
pub struct Verifier(Arc<Handle>);

struct Handle {
    inner: Arc<Inner>,
    questions: mpsc::Sender<NodeQuestion>,
    close: watch::Sender<bool>,
}

/// The state that the connection's thread and the verifications share.
pub(crate) struct Inner {
    child: Child,
    uses: VerifierUses,
    /// Notified when a lease is granted.
    granted: Notify,
    /// Why there is no connection now.
    disconnected: Mutex<Option<Disconnected>>,
    on_revoked: Option<OnRevoked>,
}

/// What a request requires of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Needs<'n> {
    /// Scopes that the key must all have.
    pub scopes: &'n [&'n str],
    /// The end user's address. A key with a list of networks is denied from other addresses, and from an unknown one.
    pub address: Option<IpAddr>,
    /// How many uses of its limits the request takes; 0 only reads their state.
    pub cost: u32,
}

impl Default for Needs<'_> {
    fn default() -> Self {
        Self {
            scopes: &[],
            address: None,
            cost: 1,
        }
    }
}

/// The options of a verifier.
pub struct Builder {
    url: String,
    root_key: String,
    capacity: usize,
    lease: Option<Duration>,
    authorities: Option<Authorities>,
    on_revoked: Option<OnRevoked>,
}

impl Verifier {
    /// Connects to a node: its address (`http://…`, `https://…` or `unix:/path`) and a root key with `keys:verify`.
    ///
    /// Returns when the first lease is granted. [`ClientError::Refused`] if the root key may not verify,
    /// [`ClientError::Unreachable`] if the node does not answer. A connection that is lost later is opened again
    /// automatically.
    pub async fn connect(url: &str, root_key: &str) -> Result<Self, ClientError> {
        Self::builder(url, root_key).connect().await
    }

    /// As [`Verifier::connect`], with options.
    pub fn builder(url: &str, root_key: &str) -> Builder {
        Builder {
            url: url.to_owned(),
            root_key: root_key.to_owned(),
            capacity: CAPACITY_DEFAULT,
            lease: None,
            authorities: None,
            on_revoked: None,
        }
    }

    /// Verifies a key. From memory where possible; the first time a key is seen, from the node.
    pub async fn verify(&self, key: &str) -> Verdict {
        self.verify_for(key, &[]).await
    }

    /// Verifies that a key is good and has all these scopes.
    pub async fn verify_for(&self, key: &str, scopes: &[&str]) -> Verdict {
        let needs = Needs {
            scopes,
            ..Needs::default()
        };
        self.verify_with(key, &needs).await
    }

    /// Verifies a key for these requirements. Uses of a key with counted limits are charged at the node, with a round
    /// trip for each.
    pub async fn verify_with(&self, key: &str, needs: &Needs<'_>) -> Verdict {
        let verdict = match self.hit(key, needs) {
            Ok(verdict) => verdict,
            Err(digest) => self.miss(digest, needs).await,
        };
        self.charged(verdict, needs.cost).await
    }

    /// Verifies from memory alone, without waiting; `None` if a request to the node is needed, also to charge limits.
    pub fn remembered(&self, key: &str, scopes: &[&str]) -> Option<Verdict> {
        let needs = Needs {
            scopes,
            ..Needs::default()
        };
        self.hit(key, &needs).ok().filter(|verdict| !verdict.is_counted())
    }

    /// Returns why there is no connection to the node now; `None` if there is one. Without a connection, remembered
    /// keys are answered until the lease ends, and then nothing is valid.
    pub fn disconnected(&self) -> Option<Disconnected> {
        self.0.inner.disconnected().clone()
    }

    /// Returns the number of secrets remembered now.
    pub fn len(&self) -> usize {
        self.0.inner.child.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.inner.child.is_empty()
    }

    /// Ends the lease and waits until the node knows, so that no change waits for this verifier. From here on nothing
    /// is valid.
    pub async fn close(self) {
        // If the thread has ended, its lease has too.
        let _gone = self.0.close.send(true);
        self.0.close.closed().await;
    }

    fn hit(&self, key: &str, needs: &Needs<'_>) -> Result<Verdict, Digest> {
        if !Presented::may_be(key) {
            let denial = if key.is_empty() {
                Denial::Missing
            } else {
                Denial::Malformed
            };
            return Ok(Verdict::unknown(denial));
        }
        // A remembered secret has the form of a key. Any other text is parsed before the node is asked.
        let digest = Digest::of(key.as_bytes());
        let child = &self.0.inner.child;
        let looked = child.look_up(&digest);
        let now = moment();
        match child.settle(looked, now) {
            Some((entry, revision)) => Ok(self.judged(entry, revision, needs, now)),
            None if Presented::parse(key).is_ok() => Err(digest),
            None => Ok(Verdict::unknown(Denial::Malformed)),
        }
    }

    fn judged(&self, entry: Entry, revision: u64, needs: &Needs<'_>, now: Moment) -> Verdict {
        let now = self.0.inner.child.time(now);
        let outcome = judge(&entry.facts(), needs.scopes.iter().copied(), needs.address, now);
        let verdict = Verdict::of(outcome, entry, revision);
        if !verdict.is_counted() {
            self.note(&verdict, needs.cost, now);
        }
        verdict
    }

    /// A request with a cost of 0 is no use of a good key.
    fn note(&self, verdict: &Verdict, cost: u32, now: Timestamp) {
        if let (Some(entry), outcome) = verdict.noted()
            && (cost > 0 || outcome.is_err())
        {
            self.0.inner.uses.note(entry, outcome, cost, now);
        }
    }

    /// Charges a use at the node, if the key is good and has counted limits. Without an answer the use is denied.
    async fn charged(&self, verdict: Verdict, cost: u32) -> Verdict {
        let Some(digest) = verdict.counted() else {
            return verdict;
        };
        let (answer, answered) = oneshot::channel();
        let question = NodeQuestion::Charge { digest, cost, answer };
        let asked = async {
            self.0.questions.send(question).await.ok()?;
            answered.await.ok()
        };
        let charged = tokio::time::timeout(PATIENCE, asked).await.ok().flatten();
        let verdict = verdict.charged(charged);
        self.note(&verdict, cost, self.0.inner.child.time(moment()));
        verdict
    }

    async fn miss(&self, digest: Digest, needs: &Needs<'_>) -> Verdict {
        // For all tries together, and for the wait for a lease.
        let answered = tokio::time::timeout(PATIENCE, self.fill(digest)).await;
        match answered.ok().flatten() {
            Some((Some(entry), revision)) => self.judged(entry, revision, needs, moment()),
            Some((None, _)) => Verdict::unknown(Denial::Unknown),
            None => Verdict::unknown(Denial::Unavailable),
        }
    }

    /// Looks a secret up at the node under a ticket, until no order has overtaken the answer (R5) and one lease covers
    /// it (R4).
    async fn fill(&self, digest: Digest) -> Option<(Option<Entry>, u64)> {
        let child = &self.0.inner.child;
        for _ in 0..FILL_TRIES {
            if *self.0.close.borrow() {
                return None;
            }
            // Created before the deadline is loaded, so that a grant between the two wakes it.
            let granted = self.0.inner.granted.notified();
            let deadline = child.deadline();
            if !child.covers(deadline, moment()) {
                granted.await;
                continue;
            }
            let ticket = child.begin_fill(digest)?;
            let (answer, answered) = oneshot::channel();
            self.0
                .questions
                .send(NodeQuestion::Fetch { digest, answer })
                .await
                .ok()?;
            // No answer: the connection broke, or the node cannot know now.
            let Ok(FoundSecret { revision, secret }) = answered.await else {
                continue;
            };
            let entry = secret.and_then(|secret| remembered::entry(child, digest, &secret));
            if ticket.finish(revision, entry.clone()) == Filled::Kept && child.covers(deadline, moment()) {
                return Some((entry, revision));
            }
        }
        None
    }
}

impl Builder {
    /// Sets how many secrets are remembered at most. One takes about 200 bytes.
    #[must_use]
    pub fn capacity(mut self, secrets: usize) -> Self {
        self.capacity = secrets;
        self
    }

    /// Sets the longest lease to request; the node's own maximum (15 s by default) applies too. With a short lease,
    /// changes wait less for an application that stops running, but the application also answers `SERVICE_UNAVAILABLE`
    /// sooner when the node cannot be reached.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Sets the authorities that are trusted for `https://` in place of the system's.
    #[must_use]
    pub fn authorities(mut self, authorities: Authorities) -> Self {
        self.authorities = Some(authorities);
        self
    }

    /// Sets a callback for the id of a key that was remembered here and is refused from now on, so that the application
    /// can end what a request has begun, such as a stream. It must not block. When an owner or a tenant is suspended,
    /// their keys are not named; verify again where it matters.
    #[must_use]
    pub fn on_revoked(mut self, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.on_revoked = Some(Box::new(tell));
        self
    }

    /// Connects.
    pub async fn connect(self) -> Result<Verifier, ClientError> {
        let address = NodeAddress::parse(&self.url, self.root_key, self.authorities.as_ref())?;
        let inner = Arc::new(Inner {
            child: Child::new(self.capacity),
            uses: VerifierUses::default(),
            granted: Notify::new(),
            disconnected: Mutex::default(),
            on_revoked: self.on_revoked,
        });
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        let (close, closing) = watch::channel(false);
        let lease_ms = self
            .lease
            .map(|lease| u64::try_from(lease.as_millis()).unwrap_or(u64::MAX));
        let setup = link::Setup {
            address,
            inner: Arc::clone(&inner),
            capacity: self.capacity,
            lease_ms,
            questions: asked,
            closing,
        };
        link::start(setup).await?;
        Ok(Verifier(Arc::new(Handle {
            inner,
            questions,
            close,
        })))
    }
}

impl Inner {
    fn disconnected(&self) -> MutexGuard<'_, Option<Disconnected>> {
        self.disconnected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_disconnected(&self, disconnected: Option<Disconnected>) {
        *self.disconnected() = disconnected;
    }

    /// Calls the application's callback for keys that were remembered and have ended.
    fn tell_revoked(&self, gone: &[Entry], ended: &[String]) {
        let Some(tell) = &self.on_revoked else { return };
        for id in gone.iter().map(Entry::key_id).map(|id: KeyId| id.to_string()) {
            if ended.contains(&id) {
                tell(&id);
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The thread sees this and ends the lease.
        let _gone = self.close.send(true);
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("remembered", &self.len()).finish()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
