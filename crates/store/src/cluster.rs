//! What several nodes on one database need beside the store: sessions, polls, hints.

use crate::error::StoreError;
use crate::store::Commit;
use async_trait::async_trait;
use keyreeve_core::Timestamp;
use keyreeve_core::audit::ChainHash;
use keyreeve_core::coherence::grantor::{Era, SeenNode};
use keyreeve_core::coherence::holder::{Poll, PollAnswer, SessionId};
use keyreeve_core::coherence::holding::Holding;

/// Which failures a commit survives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// One machine, and commits wait for its disk: survives kill -9 and power loss.
    #[default]
    Local,
    /// A synchronous standby has it too: survives the loss of the primary.
    Replicated,
    /// The commit does not wait for the standby, or not for the disk: an acknowledged change may be lost.
    AtRisk,
}

impl Durability {
    /// Returns its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Replicated => "replicated",
            Self::AtRisk => "at-risk",
        }
    }
}

/// The answer to a poll.
#[derive(Clone, Debug)]
pub struct Polled {
    /// What decides whether the lease grows.
    pub answer: PollAnswer,
    /// The changes after the requested revision, oldest first.
    pub changes: Vec<Change>,
    /// The database's time at the poll.
    pub now: Timestamp,
    /// How durable a commit is now.
    pub durability: Durability,
    /// The era of the database, if the poll was a renewal.
    pub era: Option<Era>,
}

/// One entry of the log as verifiers see it.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its number.
    pub revision: u64,
    /// The chain after it.
    pub chain: ChainHash,
    /// What it touched. Tenants and owners are as of the poll, which may be later.
    pub touched: Touched,
}

/// What a change touched.
#[derive(Clone, Debug)]
pub enum Touched {
    /// These records.
    Known(Box<Commit>),
    /// Possibly anything.
    Everything,
}

/// A session of a node that the database has as living.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeSession {
    /// The counters by which the session is judged.
    pub seen: SeenNode,
    /// The name that its operator gave the node.
    pub node: String,
    /// When it began.
    pub started_at: Timestamp,
    /// Milliseconds since its last poll, by the database's clock.
    pub silent_ms: u64,
}

/// One reading of all living sessions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeSessions {
    /// The era of the database.
    pub era: Era,
    /// The sessions.
    pub rows: Vec<NodeSession>,
}

/// The state of the database when a node registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Registered {
    /// The end of the log.
    pub head: u64,
    /// The chain at that end.
    pub chain: ChainHash,
    /// How long the database has been on its timeline, in ms: short after a failover, or after a node found another
    /// history. `None` if that is not known.
    pub timeline_age_ms: Option<u64>,
}

/// The database as shared by several nodes.
#[async_trait]
pub trait Cluster: Send + Sync + 'static {
    /// Returns the lease that all nodes hold, in milliseconds. `wished` is this node's own setting. It becomes the
    /// lease of all nodes if no node is alive; else [`StoreError::Disagreement`] if it differs.
    async fn agree_on_lease(&self, wished: Option<u64>, default_ms: u64) -> Result<u64, StoreError>;

    /// Rule R1: creates a session, durably.
    async fn register(&self, session: SessionId, node: &str) -> Result<Registered, StoreError>;

    /// Rule R2: renews, acknowledges and reads the log, all in one statement. The poll acknowledges everything up to a
    /// revision, except what `holding` names: changes that a downstream verifier of this session has not acknowledged.
    /// A poll that is a renewal is durable when it is answered (rule R18); one that only acknowledges need not be.
    async fn poll(&self, poll: &Poll, holding: &Holding) -> Result<Polled, StoreError>;

    /// Returns the living sessions, as the primary has them now.
    async fn sessions(&self) -> Result<NodeSessions, StoreError>;

    /// Marks a session dead, durably, if it has not polled since this reading.
    async fn remove_dead_session(&self, dead: &SeenNode) -> Result<(), StoreError>;

    /// Stores that the history is another one: nodes that register later wait until those that know more have written
    /// it again.
    async fn note_fork(&self) -> Result<(), StoreError>;

    /// Sends every node a hint, to see whether hints arrive.
    async fn hint(&self) -> Result<(), StoreError>;

    /// Waits until there may be something to poll for. Nothing depends on it: it may never return.
    async fn hinted(&self);
}
