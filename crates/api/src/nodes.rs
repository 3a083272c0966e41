//! Nodes and operations: who verifies, and how far changes have got.

use serde::Serialize;
use utoipa::ToSchema;

/// Every verifier on one database.
#[derive(Debug, Serialize, ToSchema)]
pub struct Nodes {
    /// The nodes; the one that answers is among them.
    pub data: Vec<Node>,
    /// The newest change.
    pub revision: u64,
    /// How long a verifier may go on without the database, in ms; not there in a single process.
    #[schema(required, nullable)]
    pub lease_ms: Option<u64>,
    /// How long a change waits at most for a verifier that cannot be reached, in ms.
    #[schema(required, nullable)]
    pub wait_ms: Option<u64>,
    /// What an acknowledged change survives: `local` is the loss of power, `replicated` also the loss of the primary,
    /// `at-risk` neither for sure.
    #[schema(pattern = "^(local|replicated|at-risk)$")]
    pub durability: &'static str,
}

/// One verifier.
#[derive(Debug, Serialize, ToSchema)]
pub struct Node {
    /// Its session, which is new at every start.
    pub id: String,
    /// What its operator calls it.
    pub name: String,
    /// Whether it is the one that answers.
    pub is_self: bool,
    /// When it began, in Unix ms.
    #[schema(required, nullable)]
    pub started_at: Option<i64>,
    /// It has applied every change up to here.
    pub applied_revision: u64,
    /// Changes that it has not acknowledged yet.
    pub lag: u64,
    /// Since when it has not renewed its lease, in ms.
    pub lease_age_ms: u64,
    /// `serving`, or `silent` if its lease is over: it answers nothing and will be forgotten.
    #[schema(pattern = "^(serving|silent)$")]
    pub state: &'static str,
}

/// A change on its way to every verifier.
#[derive(Debug, Serialize, ToSchema)]
pub struct Operation {
    /// Its id.
    pub id: String,
    /// `pending`, or `effective`: no verifier accepts any more what it has ended.
    #[schema(pattern = "^(pending|effective)$")]
    pub status: &'static str,
    /// Its revision.
    pub revision: u64,
    /// Verifiers that have said that they have it.
    pub verifiers: u32,
}
