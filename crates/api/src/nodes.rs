//! Nodes and operations: the servers of an instance, and the propagation of changes.

use serde::Serialize;
use utoipa::ToSchema;

/// The nodes of one database.
#[derive(Debug, Serialize, ToSchema)]
pub struct Nodes {
    /// The nodes, including the one that answers.
    pub data: Vec<Node>,
    /// The newest change.
    pub revision: u64,
    /// How long a node may verify without the database, in ms; null in a single process.
    #[schema(required, nullable)]
    pub lease_ms: Option<u64>,
    /// How long a change waits at most for an unreachable node, in ms.
    #[schema(required, nullable)]
    pub wait_ms: Option<u64>,
    /// What an acknowledged change survives: `local` a power loss, `replicated` also the loss of the primary, `at-risk`
    /// possibly neither.
    #[schema(pattern = "^(local|replicated|at-risk)$")]
    pub durability: &'static str,
}

/// One node.
#[derive(Debug, Serialize, ToSchema)]
pub struct Node {
    /// Its session, new at every start.
    pub id: String,
    /// The name that its operator gave it.
    pub name: String,
    /// Whether it is the one that answers.
    pub is_self: bool,
    /// When it started, in Unix ms.
    #[schema(required, nullable)]
    pub started_at: Option<i64>,
    /// It has applied every change up to this revision.
    pub applied_revision: u64,
    /// Changes that it has not acknowledged yet.
    pub lag: u64,
    /// Time since its last renewal of the lease, in ms.
    pub lease_age_ms: u64,
    /// `serving`, or `silent` after the end of its lease: it answers nothing and will be removed.
    #[schema(pattern = "^(serving|silent)$")]
    pub state: &'static str,
}

/// A change that is being propagated.
#[derive(Debug, Serialize, ToSchema)]
pub struct Operation {
    /// Its id.
    pub id: String,
    /// `pending`, or `effective`: no verifier accepts what it ended.
    #[schema(pattern = "^(pending|effective)$")]
    pub status: &'static str,
    /// Its revision.
    pub revision: u64,
    /// Verifiers that have acknowledged it.
    pub verifiers: u32,
}
