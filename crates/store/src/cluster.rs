//! What many nodes on one database need beside the store: sessions, polls, hints (coherence.md, section 2).

use crate::error::StoreError;
use crate::store::Commit;
use async_trait::async_trait;
use keyreeve_core::Timestamp;
use keyreeve_core::audit::ChainHash;
use keyreeve_core::coherence::grantor::Seen;
use keyreeve_core::coherence::holder::{Answer, SessionId};

/// What survives what (coherence.md, section 2.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// One machine, and the disk is waited for: survives kill -9 and power loss.
    #[default]
    Local,
    /// A synchronous standby has it too: survives the loss of the primary.
    Replicated,
    /// A standby follows without being waited for, or the disk is not waited for: an acknowledged change may be lost.
    AtRisk,
}

impl Durability {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Replicated => "replicated",
            Self::AtRisk => "at-risk",
        }
    }
}

/// What a poll brought.
#[derive(Clone, Debug)]
pub struct Polled {
    /// What decides whether the lease grows.
    pub answer: Answer,
    /// The changes after the revision that was asked for, oldest first.
    pub changes: Vec<Change>,
    /// The database's time at the poll.
    pub now: Timestamp,
    /// How durable a commit is now.
    pub durability: Durability,
}

/// One entry of the log as verifiers see it.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its number.
    pub revision: u64,
    /// The chain after it.
    pub chain: ChainHash,
    /// What it touched. Of tenants and owners it says how they are at the poll, which may be later.
    pub touched: Touched,
}

/// What a change touched.
#[derive(Clone, Debug)]
pub enum Touched {
    /// These things.
    Known(Box<Commit>),
    /// Perhaps anything.
    Everything,
}

/// A verifier that the database knows as living.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// What decides.
    pub seen: Seen,
    /// What its operator calls the node.
    pub node: String,
    /// When it began.
    pub started_at: Timestamp,
    /// Milliseconds since its last poll, by the database's clock.
    pub silent_ms: u64,
}

/// What a node finds when it comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Registered {
    /// The end of the log.
    pub head: u64,
    /// The chain there.
    pub chain: ChainHash,
    /// Since when the database has been on its timeline, in ms: young after a failover. `None` where that is not known.
    pub timeline_age_ms: Option<u64>,
}

/// The database as the place where nodes meet.
#[async_trait]
pub trait Cluster: Send + Sync + 'static {
    /// The lease that all nodes hold, in milliseconds. `wished` is this node's own setting, which becomes everybody's
    /// if no node is alive; else [`StoreError::Disagreement`] if it differs.
    async fn agree_on_lease(&self, wished: Option<u64>, default_ms: u64) -> Result<u64, StoreError>;

    /// Rule R1: makes a session, durably.
    async fn register(&self, session: SessionId, node: &str) -> Result<Registered, StoreError>;

    /// Rule R2: renews, acknowledges and reads the log, all in one statement. `applied` is where to read on from;
    /// `acked`, which is the same or less, is up to where everybody behind this session has it too.
    async fn poll(&self, session: SessionId, applied: u64, acked: u64) -> Result<Polled, StoreError>;

    /// Live sessions, as the primary has them now.
    async fn sessions(&self) -> Result<Vec<Session>, StoreError>;

    /// Marks a session dead if it has not polled since it was seen at `renewals`.
    async fn bury(&self, session: SessionId, renewals: u64) -> Result<(), StoreError>;

    /// Sends everybody a hint, to see whether hints arrive.
    async fn hint(&self) -> Result<(), StoreError>;

    /// Waits until there may be something to poll for. Nothing depends on it: it may never come.
    async fn hinted(&self);
}
