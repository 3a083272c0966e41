//! Keys on the wire: Clerk's object and requests (clerk-wire, sections 2 and 3), and what is ours beyond them.

use crate::claims::ClaimsText;
use crate::json;
use crate::limits::{KeyLimit, NetworkText};
use crate::seconds::{PositiveSeconds, Seconds, Whole};
use crate::text::{LineText, NameText, ReasonText, RemarkText};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fmt;
use utoipa::ToSchema;

/// Most keys in one batch.
pub const BATCH_MAX: usize = 1_000;

/// A scope, as the published document describes it; on the wire it is a string.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, pattern = "^[A-Za-z0-9:._*/-]+$", min_length = 1, max_length = 128, example = "invoices:read")]
pub struct Scope(pub String);

/// A wish for a key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// What people call it.
    #[schema(value_type = NameText)]
    pub name: String,
    /// Who owns it; Clerk's forms are `user_…` and `org_…`.
    #[schema(value_type = LineText)]
    pub subject: String,
    /// A longer remark.
    #[schema(value_type = Option<RemarkText>)]
    pub description: Option<String>,
    /// What the relying service wants to know about the holder; at most 16 KiB.
    #[schema(value_type = Option<Object>, nullable)]
    pub claims: Option<ClaimsText>,
    /// What the key may be used for.
    #[schema(value_type = Option<Vec<Scope>>, max_items = 100, nullable)]
    pub scopes: Option<Vec<String>>,
    /// How often it may be used: rates and quotas. Left out or null: what the policy says (`new_keys.limits`); an empty list:
    /// no limits, if the caller may set them.
    #[schema(value_type = Option<Vec<KeyLimit>>, max_items = 8, nullable)]
    pub limits: Option<Vec<json::Object<KeyLimit>>>,
    /// Networks of which one must hold the end user's address, as CIDR or as an address; none is from everywhere.
    #[schema(value_type = Option<Vec<NetworkText>>, max_items = 64, nullable)]
    pub allowed_networks: Option<Vec<String>>,
    /// When it shall expire: whole seconds from now; null is never; left out is what the policy says.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<f64>, exclusive_minimum = 0, maximum = 3_155_760_000_u64, nullable, multiple_of = 1)]
    pub seconds_until_expiration: Option<Option<PositiveSeconds>>,
    /// Who makes it, in the caller's words.
    #[schema(value_type = Option<LineText>)]
    pub created_by: Option<String>,
    /// Only `api_key`.
    #[serde(rename = "type")]
    #[schema(nullable)]
    pub kind: Option<KeyType>,
}

/// The one type of key there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize, ToSchema)]
#[serde(try_from = "String")]
pub enum KeyType {
    /// An API key.
    #[serde(rename = "api_key")]
    ApiKey,
}

impl TryFrom<String> for KeyType {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "api_key" => Ok(Self::ApiKey),
            _ => Err("must be api_key"),
        }
    }
}

/// A wish for keys, all or none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateBatch {
    /// The wishes.
    #[serde(deserialize_with = "json::objects")]
    #[schema(min_items = 1, max_items = 1000)]
    pub items: Vec<CreateKey>,
}

/// What to change about a key. What is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateKey {
    /// A new name.
    #[schema(value_type = Option<NameText>)]
    pub name: Option<String>,
    /// A new description; null takes it away.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<RemarkText>)]
    pub description: Option<Option<String>>,
    /// New claims; null takes them away.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<Object>, nullable)]
    pub claims: Option<Option<ClaimsText>>,
    /// New scopes; null is none.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<Vec<Scope>>, max_items = 100, nullable)]
    pub scopes: Option<Option<Vec<String>>>,
    /// New limits in the place of all others; null is none.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<Vec<KeyLimit>>, max_items = 8, nullable)]
    pub limits: Option<Option<Vec<json::Object<KeyLimit>>>>,
    /// New networks in the place of all others; null is from everywhere.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<Vec<NetworkText>>, max_items = 64, nullable)]
    pub allowed_networks: Option<Option<Vec<String>>>,
    /// The present owner, if it is sent at all: a key does not move to another one.
    #[schema(value_type = Option<LineText>)]
    pub subject: Option<String>,
    /// A new expiry: whole seconds from now; null is never.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<f64>, exclusive_minimum = 0, maximum = 3_155_760_000_u64, nullable, multiple_of = 1)]
    pub seconds_until_expiration: Option<Option<PositiveSeconds>>,
}

/// Why a key is revoked.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeKey {
    /// In words.
    #[schema(value_type = Option<ReasonText>)]
    pub revocation_reason: Option<String>,
    /// As a code: `unspecified`, `key_compromise`, `leaked`, `superseded`, `affiliation_changed`, `cessation` or
    /// `privilege_withdrawn`. A compromise or leak is final under every policy.
    #[schema(
        nullable,
        pattern = "^(unspecified|key_compromise|leaked|superseded|affiliation_changed|cessation|privilege_withdrawn)$"
    )]
    pub reason_code: Option<String>,
}

/// Why a hold is put on a key, or lifted.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldKey {
    /// In words.
    #[schema(value_type = Option<ReasonText>)]
    pub reason: Option<String>,
}

/// How to rotate a key.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// A new name; left out or null keeps the old one.
    #[schema(value_type = Option<NameText>)]
    pub name: Option<String>,
    /// A new expiry: whole seconds from now; null is never; left out keeps the old one.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<f64>, exclusive_minimum = 0, maximum = 3_155_760_000_u64, nullable, multiple_of = 1)]
    pub seconds_until_expiration: Option<Option<PositiveSeconds>>,
    /// How long the old secret stays good. 0: it is dead when the answer comes.
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 3_155_760_000_u64, nullable, multiple_of = 1)]
    pub overlap_seconds: Option<Seconds>,
}

/// A key. Clerk's fields are always there, null where empty.
#[derive(Clone, Serialize, ToSchema)]
pub struct ApiKey {
    /// Always `api_key`.
    #[schema(pattern = "^api_key$")]
    pub object: &'static str,
    /// Its id; rotation keeps it.
    #[schema(pattern = "^ak_[0-9a-f]{32}$")]
    pub id: String,
    /// Always `api_key`.
    #[serde(rename = "type")]
    #[schema(pattern = "^api_key$")]
    pub kind: &'static str,
    /// Who owns it.
    pub subject: String,
    /// What people call it.
    pub name: String,
    /// A longer remark.
    #[schema(required, nullable)]
    pub description: Option<String>,
    /// What the relying service wants to know about the holder.
    #[schema(value_type = Option<Object>, required, nullable)]
    pub claims: Option<Box<RawValue>>,
    /// What it may be used for.
    pub scopes: Vec<String>,
    /// How often it may be used.
    pub limits: Vec<KeyLimit>,
    /// Networks of which one must hold the end user's address; none is from everywhere.
    pub allowed_networks: Vec<String>,
    /// The secret: only in the answer that issues or rotates it, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Whether it is revoked.
    pub revoked: bool,
    /// Why it was revoked, in words.
    #[schema(required, nullable)]
    pub revocation_reason: Option<String>,
    /// Whether its time is over, as of this answer.
    pub expired: bool,
    /// When it expires, in Unix ms.
    #[schema(required, nullable)]
    pub expiration: Option<i64>,
    /// Who made it, in the caller's words.
    #[schema(required, nullable)]
    pub created_by: Option<String>,
    /// When a call with a secret of it was last accepted, in Unix ms, exact to a minute.
    #[schema(required, nullable)]
    pub last_used_at: Option<i64>,
    /// When a call with a secret of it was last refused, for whatever reason, in Unix ms.
    #[schema(required, nullable)]
    pub last_refused_at: Option<i64>,
    /// When it was issued, in Unix ms.
    pub created_at: i64,
    /// When it was last changed, in Unix ms.
    pub updated_at: i64,
    /// Where it stands: `active`, `disabled`, `expired` or `revoked`.
    #[schema(pattern = "^(active|disabled|expired|revoked|revoking)$")]
    pub state: &'static str,
    /// Whether it is refused, whatever `state` says, because its owner is a user who is suspended or removed, or because
    /// the tenant is suspended.
    pub owner_blocked: bool,
    /// The start of its secret.
    pub prefix: String,
    /// The end of its secret.
    pub last_four: String,
    /// When it was put on hold, in Unix ms.
    #[schema(required, nullable)]
    pub disabled_at: Option<i64>,
    /// When it was revoked, in Unix ms.
    #[schema(required, nullable)]
    pub revoked_at: Option<i64>,
    /// Who revoked it.
    #[schema(required, nullable)]
    pub revoked_by: Option<String>,
    /// Why it was revoked, as a code.
    #[schema(required, nullable)]
    pub reason_code: Option<&'static str>,
    /// When it last got a new secret, in Unix ms.
    #[schema(required, nullable)]
    pub rotated_at: Option<i64>,
    /// Until when the secret before the last rotation is good, in Unix ms.
    #[schema(required, nullable)]
    pub retiring_until: Option<i64>,
    /// How far a change has got; only in the answer to a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
}

/// How far a change has got: no verifier accepts any more what it has ended.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Effect {
    /// The change is contained in this revision and all later ones.
    pub revision: u64,
    /// How many verifiers it holds for.
    pub verifiers: u32,
    /// How long it took, in ms, by a monotonic clock and rounded up.
    pub waited_ms: u64,
    /// `everywhere`; or `pending` in a 202, if the caller would not wait: then the operation says when it is.
    #[schema(pattern = "^(everywhere|pending)$")]
    pub scope: &'static str,
    /// What the change survives: `local` is the loss of power, `replicated` also the loss of the primary database,
    /// `at-risk` neither for sure.
    #[schema(pattern = "^(local|replicated|at-risk)$")]
    pub durability: &'static str,
}

/// Issued keys, in the order asked for.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedBatch {
    /// The keys with their secrets.
    pub data: Vec<ApiKey>,
}

/// Which keys to destroy; one of the times must be given. A key that either of them takes is destroyed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PurgeKeys {
    /// Keys that were revoked before this time, in Unix ms.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 253_402_300_799_999_u64, nullable)]
    pub revoked_before: Option<Whole>,
    /// Keys that expired before this time, in Unix ms, and are not on hold.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 253_402_300_799_999_u64, nullable)]
    pub expired_before: Option<Whole>,
}

/// Which keys to revoke, all in one call. Filters are combined; one must be given.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeFilter {
    /// Keys of this owner.
    pub subject: Option<String>,
    /// These keys.
    #[schema(max_items = 1000)]
    pub ids: Option<Vec<String>>,
    /// Keys that were made before this time, in Unix ms.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 253_402_300_799_999_u64)]
    pub created_before: Option<Whole>,
    /// Keys that hold this scope.
    pub scope: Option<String>,
    /// Every key of the tenant.
    pub all: Option<bool>,
}

/// A wish to revoke many keys.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeMany {
    /// Which.
    pub filter: RevokeFilter,
    /// Why, in words.
    pub revocation_reason: Option<String>,
    /// Why, as a code.
    pub reason_code: Option<String>,
    /// Only say how many there are.
    pub dry_run: Option<bool>,
}

/// What revoking many keys came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct RevokedMany {
    /// Keys that the filter lets through and that were not revoked yet.
    pub matched: u64,
    /// Keys that were revoked now; 0 in a dry run.
    pub revoked: u64,
    /// Keys that the policy did not allow to revoke, or that somebody else ended meanwhile.
    pub skipped: u64,
    /// With `ids`: how many of them are no key of the tenant within the caller's reach. An id that is malformed counts like
    /// one that does not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_found: Option<u64>,
    /// How far it has got; not there in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
}

/// What a purge came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct PurgedKeys {
    /// How many records were destroyed.
    pub purged: u64,
    /// Whether there are more: then ask again.
    pub has_more: bool,
}

/// A page of keys, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyList {
    /// The keys.
    pub data: Vec<ApiKey>,
    /// How many the filter lets through among the newest 50 000 keys of the tenant, or of the subject if one is given;
    /// with `expiring_within` and no subject, among the 50 000 that expire soonest.
    pub total_count: u64,
    /// There, and `true`, if there are more keys than those, so that `total_count` may be too low.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub total_is_partial: bool,
    /// Where the next page begins: pass it as `cursor`. Not there on the last page. One page looks at 50 000 keys at most,
    /// so a page that a filter leaves short, or empty, may have a next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A key that was deleted.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeletedKey {
    /// Always `api_key`.
    #[schema(pattern = "^api_key$")]
    pub object: &'static str,
    /// Its id.
    pub id: String,
    /// Always true.
    pub deleted: bool,
    /// How far the deletion has got.
    pub effect: Effect,
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("id", &self.id)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
