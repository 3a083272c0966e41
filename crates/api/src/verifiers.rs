//! Messages between a verifier inside an application and its node: JSON lines, both ways, over one connection that
//! began as `GET /v1/verifiers` with `Upgrade: keyreeve-verifier` (RFC 9110, section 7.8).
//!
//! Secrets are never sent, only their digests. Message types have no `Debug`, because a key's name is not for logs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The name of the protocol in `Upgrade`.
pub const PROTOCOL: &str = "keyreeve-verifier";
/// Most bytes of one line.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Messages of the verifier.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_debug_implementations, reason = "it may be about somebody's keys")]
pub enum VerifierMessage {
    /// The first message, sent with an empty memory.
    Hello {
        /// Most secrets that it remembers.
        capacity: usize,
        /// The longest lease that it requests, in ms; omitted, the server's own. A short lease makes changes wait less
        /// for a verifier that does not respond, and makes the verifier wait less for an unreachable server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lease_ms: Option<u64>,
    },
    /// Requests a lease.
    Ping {
        /// A number that the grant repeats.
        number: u64,
    },
    /// Requests a secret.
    Fetch {
        /// A number that the answer repeats.
        number: u64,
        /// SHA-256 of the secret, in hexadecimal digits.
        digest: String,
    },
    /// Requests uses of an otherwise valid key with limits.
    Charge {
        /// A number that the answer repeats.
        number: u64,
        /// SHA-256 of the secret, in hexadecimal digits.
        digest: String,
        /// The number of uses.
        cost: u32,
    },
    /// Every order up to this one was carried out. A number that was never given ends the connection.
    Ack {
        /// The order's number.
        number: u64,
    },
    /// The outcomes since the last report.
    Used {
        /// By secret and outcome.
        seen: Vec<SeenCount>,
    },
    /// The verifier leaves: it holds no lease and remembers nothing.
    Leave,
}

/// The count of an outcome of a secret.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_debug_implementations, reason = "it may be about somebody's keys")]
pub struct SeenCount {
    /// SHA-256 of the secret, in hexadecimal digits.
    pub digest: String,
    /// `valid`, or the reason of the denial.
    pub outcome: String,
    /// How often.
    pub count: u32,
    /// Cost of accepted calls beyond one unit each.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub extra_cost: u64,
    /// The last time, in Unix ms.
    pub last_at: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Messages of the node.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(missing_debug_implementations, reason = "it may be about somebody's keys")]
pub enum NodeMessage {
    /// A lease.
    Grant {
        /// The ping's number.
        number: u64,
        /// Its length, in ms from the sending of the ping; 0 is no lease.
        length_ms: u64,
        /// Every change up to here was sent before.
        revision: u64,
        /// The node's time, in Unix ms.
        now: i64,
    },
    /// The answer to a request for a secret.
    Found {
        /// The number of the request.
        number: u64,
        /// The revision of the answer; `None` if there is no answer now.
        revision: Option<u64>,
        /// `None` if no key has this secret.
        secret: Option<Box<RememberedSecret>>,
    },
    /// The answer to a request for uses.
    Charged {
        /// The number of the request.
        number: u64,
        /// `None` if there is no answer now.
        charged: Option<ChargedUse>,
    },
    /// An order to forget secrets and then acknowledge.
    Forget {
        /// The order's number.
        number: u64,
        /// The change that causes it.
        revision: u64,
        /// Digests in hexadecimal digits; `None` is all of the memory, or all of `tenant`.
        digests: Option<Vec<String>>,
        /// Without `digests`: only secrets of this tenant's keys. A verifier that does not know the field forgets
        /// everything, which is safe.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tenant: Option<String>,
        /// Keys that it remembers and whose requests are refused from now on.
        ended: Vec<String>,
        /// The connection is closed after the acknowledgement. The verifier may connect again, perhaps to another node.
        is_last: bool,
    },
}

/// The result of a request for uses, and the state of the key's limits.
#[derive(Debug, Serialize, Deserialize)]
pub struct ChargedUse {
    /// Whether the uses are allowed.
    pub is_allowed: bool,
    /// Seconds after which refused uses may be allowed; `None` is never.
    pub retry_seconds: Option<u64>,
    /// The header `RateLimit`.
    pub rate_limit: String,
    /// The header `RateLimit-Policy`.
    pub rate_limit_policy: String,
}

/// A secret in the form that a verifier remembers.
#[derive(Serialize, Deserialize)]
#[expect(missing_debug_implementations, reason = "it may be about somebody's keys")]
pub struct RememberedSecret {
    /// The key.
    pub key_id: String,
    /// Its tenant.
    pub tenant: String,
    /// Whether denials give the holder more details than "invalid".
    pub reveals: bool,
    /// Whether the tenant or the owner is suspended or removed.
    pub is_blocked: bool,
    /// `live`, `retiring`, `retired` or `tombstone`.
    pub secret: String,
    /// When a retiring secret retires, in Unix ms.
    pub retires_at: Option<i64>,
    /// `active`, `disabled` or `revoked`.
    pub key: String,
    /// When a disabled key is revoked automatically, in Unix ms.
    pub finalize_at: Option<i64>,
    /// When the key expires, in Unix ms.
    pub expires_at: Option<i64>,
    /// The owner.
    pub subject: String,
    /// The key's name.
    pub name: String,
    /// Its scopes, joined by spaces.
    pub scopes: String,
    /// Its claims, as JSON text.
    pub claims: Option<String>,
    /// Its limits, joined by spaces. Uses are counted by the node.
    #[serde(default)]
    pub limits: String,
}

/// The verifiers that are connected to one process, or that changes there wait for.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConnectedVerifiers {
    /// The verifiers, those with the oldest unacknowledged order first.
    pub data: Vec<ConnectedVerifier>,
    /// The process that answers. Other nodes list their own verifiers.
    pub node: AnsweringNode,
}

/// The process that answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct AnsweringNode {
    /// Its session, as in `GET /v1/nodes`.
    #[schema(pattern = "^(embedded|node_[0-9a-f]+)$")]
    pub id: String,
    /// The name that its operator gave it.
    pub name: String,
}

/// A verifier that is connected, or that may still have a lease.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConnectedVerifier {
    /// The id of its connection: new for each connection, and different on each node.
    #[schema(pattern = "^vf_[0-9a-f]{16}_[0-9]{1,20}$")]
    pub id: String,
    /// The tenant whose keys it may request; null for the instance.
    #[schema(required, nullable)]
    pub tenant: Option<String>,
    /// The root key with which it connected; null for a connection by the socket in the data directory.
    #[schema(required, nullable)]
    pub root_key_id: Option<String>,
    /// Its network address, or `this machine`.
    pub peer: String,
    /// When it connected, in Unix ms.
    pub connected_at: i64,
    /// `connected`; `dismissed`: it was asked to leave, and its connection is closed within half a second;
    /// `disconnected`: its connection has ended, and changes wait until its lease is over.
    #[schema(pattern = "^(connected|dismissed|disconnected)$")]
    pub state: &'static str,
    /// When its last lease has ended by both clocks, in Unix ms: changes wait for it until then at the latest. Null if
    /// it holds none.
    #[schema(required, nullable)]
    pub lease_ends_at: Option<i64>,
    /// The number of keys that it may remember.
    pub keys_held: u64,
    /// The age of its oldest unacknowledged order, in ms; null if there is none. After two seconds it is disconnected.
    #[schema(required, nullable)]
    pub oldest_unacknowledged_ms: Option<u64>,
}
