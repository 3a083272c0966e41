//! Keys on the wire: Clerk's object and requests (clerk-wire, sections 2 and 3), and Keyreeve's additions.

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

/// A scope, as the published document describes it. On the wire it is a string.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, pattern = "^[A-Za-z0-9:._*/-]+$", min_length = 1, max_length = 128, example = "invoices:read")]
pub struct Scope(pub String);

/// A request for a key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// Its name, for people.
    #[schema(value_type = NameText)]
    pub name: String,
    /// Its owner. Clerk's forms are `user_…` and `org_…`.
    #[schema(value_type = LineText)]
    pub subject: String,
    /// A longer description.
    #[schema(value_type = Option<RemarkText>)]
    pub description: Option<String>,
    /// Data about the holder for the relying service, at most 16 KiB.
    #[schema(value_type = Option<Object>, nullable)]
    pub claims: Option<ClaimsText>,
    /// What the key may be used for.
    #[schema(value_type = Option<Vec<Scope>>, max_items = 100, nullable)]
    pub scopes: Option<Vec<String>>,
    /// Rates and quotas. Omitted or null: those of the policy (`new_keys.limits`). An empty list: no limits, if the
    /// caller may set them.
    #[schema(value_type = Option<Vec<KeyLimit>>, max_items = 8, nullable)]
    pub limits: Option<Vec<json::Object<KeyLimit>>>,
    /// Networks from which the key may be used, as CIDR or single addresses; an empty list allows all.
    #[schema(value_type = Option<Vec<NetworkText>>, max_items = 64, nullable)]
    pub allowed_networks: Option<Vec<String>>,
    /// Expiry in seconds from now, an integer; null is never; omitted is the policy's default.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<f64>, exclusive_minimum = 0, maximum = 3_155_760_000_u64, nullable, multiple_of = 1)]
    pub seconds_until_expiration: Option<Option<PositiveSeconds>>,
    /// The creator, in the caller's words.
    #[schema(value_type = Option<LineText>)]
    pub created_by: Option<String>,
    /// Only `api_key`.
    #[serde(rename = "type")]
    #[schema(nullable)]
    pub kind: Option<KeyType>,
}

/// The only type of key.
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

/// A request for keys, all or none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateBatch {
    /// The keys to issue.
    #[serde(deserialize_with = "json::objects")]
    #[schema(min_items = 1, max_items = 1000)]
    pub items: Vec<CreateKey>,
}

/// The changes of a key. Omitted fields remain unchanged.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateKey {
    /// A new name.
    #[schema(value_type = Option<NameText>)]
    pub name: Option<String>,
    /// A new description; null removes it.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<RemarkText>)]
    pub description: Option<Option<String>>,
    /// New claims; null removes them.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<Object>, nullable)]
    pub claims: Option<Option<ClaimsText>>,
    /// New scopes; null removes all.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<Vec<Scope>>, max_items = 100, nullable)]
    pub scopes: Option<Option<Vec<String>>>,
    /// New limits, which replace all others; null removes all.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<Vec<KeyLimit>>, max_items = 8, nullable)]
    pub limits: Option<Option<Vec<json::Object<KeyLimit>>>>,
    /// New networks, which replace all others; null allows all.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<Vec<NetworkText>>, max_items = 64, nullable)]
    pub allowed_networks: Option<Option<Vec<String>>>,
    /// The present owner, if sent at all: the owner of a key cannot be changed.
    #[schema(value_type = Option<LineText>)]
    pub subject: Option<String>,
    /// A new expiry in seconds from now, an integer; null is never.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<f64>, exclusive_minimum = 0, maximum = 3_155_760_000_u64, nullable, multiple_of = 1)]
    pub seconds_until_expiration: Option<Option<PositiveSeconds>>,
}

/// The reason of a revocation.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeKey {
    /// In words.
    #[schema(value_type = Option<ReasonText>)]
    pub revocation_reason: Option<String>,
    /// As a code: `unspecified`, `key_compromise`, `leaked`, `superseded`, `affiliation_changed`, `cessation` or
    /// `privilege_withdrawn`. `key_compromise` and `leaked` are final under every policy.
    #[schema(
        nullable,
        pattern = "^(unspecified|key_compromise|leaked|superseded|affiliation_changed|cessation|privilege_withdrawn)$"
    )]
    pub reason_code: Option<String>,
}

/// The reason for disabling or re-activating a key.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldKey {
    /// In words.
    #[schema(value_type = Option<ReasonText>)]
    pub reason: Option<String>,
}

/// The options of a rotation.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// A new name; omitted or null keeps the present one.
    #[schema(value_type = Option<NameText>)]
    pub name: Option<String>,
    /// A new expiry in seconds from now, an integer; null is never; omitted keeps the present one.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<f64>, exclusive_minimum = 0, maximum = 3_155_760_000_u64, nullable, multiple_of = 1)]
    pub seconds_until_expiration: Option<Option<PositiveSeconds>>,
    /// How long the old secret is still accepted. 0: it is refused when the answer comes.
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 3_155_760_000_u64, nullable, multiple_of = 1)]
    pub overlap_seconds: Option<Seconds>,
}

/// A key. Clerk's fields are always present, null where empty.
#[derive(Clone, Serialize, ToSchema)]
pub struct ApiKey {
    /// Always `api_key`.
    #[schema(pattern = "^api_key$")]
    pub object: &'static str,
    /// Its id, which a rotation keeps.
    #[schema(pattern = "^ak_[0-9a-f]{32}$")]
    pub id: String,
    /// Always `api_key`.
    #[serde(rename = "type")]
    #[schema(pattern = "^api_key$")]
    pub kind: &'static str,
    /// Its owner.
    pub subject: String,
    /// Its name, for people.
    pub name: String,
    /// A longer description.
    #[schema(required, nullable)]
    pub description: Option<String>,
    /// Data about the holder for the relying service.
    #[schema(value_type = Option<Object>, required, nullable)]
    pub claims: Option<Box<RawValue>>,
    /// What it may be used for.
    pub scopes: Vec<String>,
    /// Its rates and quotas.
    pub limits: Vec<KeyLimit>,
    /// Networks from which it may be used; an empty list allows all.
    pub allowed_networks: Vec<String>,
    /// The secret: only in the answer that issues or rotates it, never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Whether it is revoked.
    pub revoked: bool,
    /// Why it was revoked, in words.
    #[schema(required, nullable)]
    pub revocation_reason: Option<String>,
    /// Whether it has expired, at the time of this answer.
    pub expired: bool,
    /// When it expires, in Unix ms.
    #[schema(required, nullable)]
    pub expiration: Option<i64>,
    /// The creator, in the caller's words.
    #[schema(required, nullable)]
    pub created_by: Option<String>,
    /// When a call with one of its secrets was last accepted, in Unix ms, exact to a minute.
    #[schema(required, nullable)]
    pub last_used_at: Option<i64>,
    /// When a call with one of its secrets was last denied, for any reason, in Unix ms.
    #[schema(required, nullable)]
    pub last_refused_at: Option<i64>,
    /// When it was issued, in Unix ms.
    pub created_at: i64,
    /// When it was last changed, in Unix ms.
    pub updated_at: i64,
    /// Its state: `active`, `disabled`, `expired` or `revoked`; `revoking` while a verifier may not yet know its end.
    #[schema(pattern = "^(active|disabled|expired|revoked|revoking)$")]
    pub state: &'static str,
    /// Whether it is denied in any `state`, because its owner is a suspended or removed user, or because the tenant is
    /// suspended.
    pub owner_blocked: bool,
    /// The start of its secret.
    pub prefix: String,
    /// The end of its secret.
    pub last_four: String,
    /// When it was disabled, in Unix ms.
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
    /// When it was last rotated, in Unix ms.
    #[schema(required, nullable)]
    pub rotated_at: Option<i64>,
    /// Until when the secret from before the last rotation is accepted, in Unix ms.
    #[schema(required, nullable)]
    pub retiring_until: Option<i64>,
    /// The propagation of the change; only in the answer to a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
}

/// The propagation of a change. With the scope `everywhere`, no verifier accepts what the change ended.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Effect {
    /// The change is part of this revision and all later ones.
    pub revision: u64,
    /// The number of verifiers that have it.
    pub verifiers: u32,
    /// How long the propagation took, in ms, by a monotonic clock and rounded up.
    pub waited_ms: u64,
    /// `everywhere`; or `pending` in a 202, if the caller does not wait: then the operation reports its end.
    #[schema(pattern = "^(everywhere|pending)$")]
    pub scope: &'static str,
    /// What the change survives: `local` a power loss, `replicated` also the loss of the primary database, `at-risk`
    /// possibly neither.
    #[schema(pattern = "^(local|replicated|at-risk)$")]
    pub durability: &'static str,
}

/// Issued keys, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedBatch {
    /// The keys with their secrets.
    pub data: Vec<ApiKey>,
}

/// The keys to delete; at least one of the times is required. A key that matches either is deleted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PurgeKeys {
    /// Keys that were revoked before this time, in Unix ms.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 253_402_300_799_999_u64, nullable)]
    pub revoked_before: Option<Whole>,
    /// Keys that expired before this time, in Unix ms, and are not disabled.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 253_402_300_799_999_u64, nullable)]
    pub expired_before: Option<Whole>,
}

/// The keys to revoke. Filters combine by *and*; one is required.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeFilter {
    /// Keys of this owner.
    pub subject: Option<String>,
    /// These keys.
    #[schema(max_items = 1000)]
    pub ids: Option<Vec<String>>,
    /// Keys that were created before this time, in Unix ms.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 253_402_300_799_999_u64)]
    pub created_before: Option<Whole>,
    /// Keys that hold this scope.
    pub scope: Option<String>,
    /// Every key of the tenant.
    pub all: Option<bool>,
}

/// A request to revoke many keys.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeMany {
    /// The keys.
    pub filter: RevokeFilter,
    /// The reason, in words.
    pub revocation_reason: Option<String>,
    /// The reason, as a code.
    pub reason_code: Option<String>,
    /// Whether to only count them.
    pub dry_run: Option<bool>,
}

/// The result of revoking many keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct RevokedMany {
    /// Keys that the filter matches and that were not revoked yet.
    pub matched: u64,
    /// Keys that were revoked now; 0 in a dry run.
    pub revoked: u64,
    /// Keys that the policy does not allow to revoke, or that another call ended in the meantime.
    pub skipped: u64,
    /// With `ids`: how many of them are no key of the tenant within the caller's reach. A malformed id counts as one
    /// that does not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_found: Option<u64>,
    /// The propagation; absent in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
}

/// The result of a purge.
#[derive(Debug, Serialize, ToSchema)]
pub struct PurgedKeys {
    /// How many records were deleted.
    pub purged: u64,
    /// Whether there are more: then repeat the call.
    pub has_more: bool,
}

/// A page of keys, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyList {
    /// The keys.
    pub data: Vec<ApiKey>,
    /// How many keys match the filter among the newest 50 000 of the tenant, or of the subject if one is given; with
    /// `expiring_within` and no subject, among the 50 000 that expire soonest.
    pub total_count: u64,
    /// Present and `true` if there are more keys than those, so that `total_count` may be too low.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub total_is_partial: bool,
    /// The start of the next page: pass it as `cursor`. Absent on the last page. One page examines 50 000 keys at most,
    /// so a short or empty page may have a next one.
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
    /// The propagation of the deletion.
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
