//! What a verifier inside an application and its node say to each other: JSON lines, both ways, over one connection that
//! began as `GET /v1/verifiers` with `Upgrade: keyreeve-verifier` (RFC 9110, section 7.8).
//!
//! Secrets never travel, only their digests. Nothing here prints itself: the name of a key may be told to few.

use serde::{Deserialize, Serialize};

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
    /// Every order up to this one is carried out.
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
    /// When last, in Unix ms.
    pub last_at: i64,
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
        /// Digests in hexadecimal digits; `None` is everything.
        digests: Option<Vec<String>>,
        /// Keys whose requests are refused from now on.
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
