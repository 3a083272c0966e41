//! What many nodes on one database need beside the store: sessions, polls, hints.

use crate::error::StoreError;
use crate::store::Commit;
use async_trait::async_trait;
use keyreeve_core::Timestamp;
use keyreeve_core::audit::ChainHash;
use keyreeve_core::coherence::grantor::{Era, Seen};
use keyreeve_core::coherence::holder::{Answer, Poll, SessionId};
use keyreeve_core::coherence::holding::Holding;

/// What survives what.
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
    /// Of which database, if the poll was a renewal.
    pub era: Option<Era>,
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

/// One reading of all live sessions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sessions {
    /// Of which database.
    pub era: Era,
    /// The sessions.
    pub rows: Vec<Session>,
}

/// What a node finds when it comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Registered {
    /// The end of the log.
    pub head: u64,
    /// The chain there.
    pub chain: ChainHash,
    /// Since when the database has been on its timeline, in ms: young after a failover, or after a node found that the
    /// history is another one. `None` where that is not known.
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

    /// Rule R2: renews, acknowledges and reads the log, all in one statement. The poll says up to where everything was
    /// applied, which others may take for so, but for what `holding` names: of that a child behind this session has not
    /// said that it knows. A poll that is a renewal is durable when it is answered (rule R18); one that only acknowledges
    /// need not be.
    async fn poll(&self, poll: &Poll, holding: &Holding) -> Result<Polled, StoreError>;

    /// Live sessions, as the primary has them now.
    async fn sessions(&self) -> Result<Sessions, StoreError>;

    /// Marks a session dead, durably, if it has not polled since it was seen like this.
    async fn bury(&self, dead: &Seen) -> Result<(), StoreError>;

    /// Notes that the history is another one than before: whoever comes next waits until those who know more have told it.
    async fn note_fork(&self) -> Result<(), StoreError>;

    /// Sends everybody a hint, to see whether hints arrive.
    async fn hint(&self) -> Result<(), StoreError>;

    /// Waits until there may be something to poll for. Nothing depends on it: it may never come.
    async fn hinted(&self);
}
