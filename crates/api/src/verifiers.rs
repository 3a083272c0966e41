//! What a verifier inside an application and its node say to each other: JSON lines, both ways, over one connection that
//! began as `GET /v1/verifiers` with `Upgrade: keyreeve-verifier` (RFC 9110, section 7.8).
//!
//! Secrets never travel, only their digests. Nothing here prints itself: the name of a key may be told to few.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The protocol's name in `Upgrade`.
pub const PROTOCOL: &str = "keyreeve-verifier";
/// Most bytes of one line.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;

/// What the verifier says.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_debug_implementations, reason = "it may be about somebody's keys")]
pub enum ChildSays {
    /// First of all, with an empty memory.
    Hello {
        /// How many secrets it remembers at most.
        capacity: usize,
        /// The longest lease that it wants, in ms; the server's own without one. A short lease makes changes wait less
        /// for this verifier when it stands still, and lets it wait less for a server that is away.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lease_ms: Option<u64>,
    },
    /// Asks for a lease.
    Ping {
        /// Which the grant repeats.
        number: u64,
    },
    /// Asks for a secret.
    Fetch {
        /// Which the answer repeats.
        number: u64,
        /// SHA-256 of the secret, in hexadecimal digits.
        digest: String,
    },
    /// Asks for uses of a key whose uses are counted, and that is good otherwise.
    Charge {
        /// Which the answer repeats.
        number: u64,
        /// SHA-256 of the secret, in hexadecimal digits.
        digest: String,
        /// How many.
        cost: u32,
    },
    /// Every order up to this one is carried out. One that was never given ends the connection.
    Ack {
        /// The order's number.
        number: u64,
    },
    /// What it has seen since it last said so.
    Used {
        /// By secret and outcome.
        seen: Vec<Seen>,
    },
    /// It holds no lease and remembers nothing any more.
    Leave,
}

/// How often a secret met an outcome.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_debug_implementations, reason = "it may be about somebody's keys")]
pub struct Seen {
    /// SHA-256 of the secret, in hexadecimal digits.
    pub digest: String,
    /// `valid`, or the denial's word.
    pub outcome: String,
    /// How often.
    pub count: u32,
    /// What accepted calls cost beyond one unit each.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub extra_cost: u64,
    /// When last, in Unix ms.
    pub last_at: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What the node says.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(missing_debug_implementations, reason = "it may be about somebody's keys")]
pub enum NodeSays {
    /// A lease.
    Grant {
        /// The ping's number.
        number: u64,
        /// How long it lasts, in ms from when the ping was sent; 0 is none.
        length_ms: u64,
        /// Every change up to here was told before.
        revision: u64,
        /// The node's time, in Unix ms.
        now: i64,
    },
    /// What is known of a secret.
    Found {
        /// The question's number.
        number: u64,
        /// As of which revision; `None` if nothing can be said now.
        revision: Option<u64>,
        /// `None` if nobody knows it.
        secret: Option<Box<Told>>,
    },
    /// Whether uses may be made.
    Charged {
        /// The question's number.
        number: u64,
        /// `None` if nothing can be said now.
        charged: Option<ChargedUse>,
    },
    /// Something to forget, and then to acknowledge.
    Forget {
        /// The order's number.
        number: u64,
        /// The change that makes it necessary.
        revision: u64,
        /// Digests in hexadecimal digits; `None` is everything, or everything of `tenant`.
        digests: Option<Vec<String>>,
        /// Without `digests`: only the secrets of this tenant's keys. A verifier that does not know the field forgets
        /// everything, which is safe.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tenant: Option<String>,
        /// Keys that it knows and whose requests are refused from now on.
        ended: Vec<String>,
        /// The connection is closed after the acknowledgement: begin anew, and perhaps not here.
        is_last: bool,
    },
}

/// Whether uses of a key were counted, and how its limits stand.
#[derive(Debug, Serialize, Deserialize)]
pub struct ChargedUse {
    /// Whether they may be made.
    pub is_allowed: bool,
    /// Seconds after which they might be, if they may not; `None` is never.
    pub retry_seconds: Option<u64>,
    /// The field `RateLimit`.
    pub rate_limit: String,
    /// The field `RateLimit-Policy`.
    pub rate_limit_policy: String,
}

/// A secret as a verifier may remember it.
#[derive(Serialize, Deserialize)]
#[expect(missing_debug_implementations, reason = "it may be about somebody's keys")]
pub struct Told {
    /// The key.
    pub key_id: String,
    /// Its tenant.
    pub tenant: String,
    /// Whether denials tell the holder more than that the key is invalid.
    pub reveals: bool,
    /// Whether the tenant or the owner is suspended or removed.
    pub is_blocked: bool,
    /// `live`, `retiring`, `retired` or `tombstone`.
    pub secret: String,
    /// When it retires, in Unix ms.
    pub retires_at: Option<i64>,
    /// `active`, `disabled` or `revoked`.
    pub key: String,
    /// When a disabled key is revoked by itself, in Unix ms.
    pub finalize_at: Option<i64>,
    /// When the key expires, in Unix ms.
    pub expires_at: Option<i64>,
    /// The owner.
    pub subject: String,
    /// The key's name.
    pub name: String,
    /// Its scopes, joined by spaces.
    pub scopes: String,
    /// Its claims: a text that is JSON.
    pub claims: Option<String>,
    /// What limits it, joined by spaces; what is counted of it is counted by the node.
    #[serde(default)]
    pub limits: String,
}

/// Verifiers that are connected to one process.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConnectedVerifiers {
    /// The verifiers. Those that have not acknowledged something for the longest time come first.
    pub data: Vec<ConnectedVerifier>,
    /// The process that answers. Verifiers of other nodes are listed by those.
    pub node: AnsweringNode,
}

/// The process that answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct AnsweringNode {
    /// Its session, as in `GET /v1/nodes`.
    #[schema(pattern = "^(embedded|node_[0-9a-f]+)$")]
    pub id: String,
    /// What its operator calls it.
    pub name: String,
}

/// A verifier that is connected.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConnectedVerifier {
    /// Its connection: new each time that it connects, and another one on each node.
    #[schema(pattern = "^vf_[0-9a-f]{16}_[0-9]{1,20}$")]
    pub id: String,
    /// The tenant whose keys it may ask for; null for the whole instance.
    #[schema(required, nullable)]
    pub tenant: Option<String>,
    /// The root key that it came with; null for one that came through the socket in the data directory.
    #[schema(required, nullable)]
    pub root_key_id: Option<String>,
    /// The network address that it came from, or `this machine`.
    pub peer: String,
    /// Since when it is connected, in Unix ms.
    pub connected_at: i64,
    /// When the lease that it was granted last is surely over, whatever its clock does, in Unix ms: changes wait for it
    /// until then at the latest. Null if it holds none.
    #[schema(required, nullable)]
    pub lease_ends_at: Option<i64>,
    /// Keys that it may remember.
    pub keys_held: u64,
    /// For how long it has not acknowledged the oldest order that it was given, in ms; null if it owes nothing. After
    /// two seconds it is disconnected.
    #[schema(required, nullable)]
    pub oldest_unacknowledged_ms: Option<u64>,
}
