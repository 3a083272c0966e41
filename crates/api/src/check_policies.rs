//! Check policies on the wire: what gateways ask of keys.

use crate::keys::Effect;
use crate::seconds::Whole;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A wish for a check policy. What is left out is as in the built-in policy `default`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateCheckPolicy {
    /// What gateways call it; never changes.
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length = 63, example = "orders")]
    pub name: String,
    /// Scopes that a key must all hold; none is any key of the tenant.
    #[schema(value_type = Option<Vec<Scope>>, max_items = 100)]
    pub scopes: Option<Vec<String>>,
    /// Headers that a key is looked for in, in this order: `Authorization` after the word Bearer, any other one alone.
    /// Two different keys in one request are refused.
    #[schema(value_type = Option<Vec<KeyHeader>>, min_items = 1, max_items = 4)]
    pub key_headers: Option<Vec<String>>,
    /// Whether the key's claims are handed on in `X-Keyreeve-Meta`.
    #[schema(nullable)]
    pub meta: Option<bool>,
    /// How long a gateway may keep an answer that lets through, in seconds; 0 is not at all. So long can a revocation
    /// be late behind such a gateway.
    #[schema(value_type = Option<u32>, maximum = 15)]
    pub cache_max_age_seconds: Option<Whole>,
    /// What a 401 says in `WWW-Authenticate`.
    #[schema(nullable, min_length = 1, max_length = 64, pattern = r"^[ !#-\[\]-~]+$")]
    pub realm: Option<String>,
    /// Whether the gateway must show a root key with `keys:verify` in `X-Keyreeve-Gateway`: `none` or `required`.
    #[schema(nullable, pattern = "^(none|required)$")]
    pub gateway_credential: Option<String>,
}

/// What to change about a check policy. What is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateCheckPolicy {
    /// Scopes that a key must all hold.
    #[schema(value_type = Option<Vec<Scope>>, max_items = 100)]
    pub scopes: Option<Vec<String>>,
    /// Headers that a key is looked for in, in this order.
    #[schema(value_type = Option<Vec<KeyHeader>>, min_items = 1, max_items = 4)]
    pub key_headers: Option<Vec<String>>,
    /// Whether the key's claims are handed on.
    #[schema(nullable)]
    pub meta: Option<bool>,
    /// How long a gateway may keep an answer that lets through, in seconds.
    #[schema(value_type = Option<u32>, maximum = 15)]
    pub cache_max_age_seconds: Option<Whole>,
    /// What a 401 says in `WWW-Authenticate`.
    #[schema(nullable, min_length = 1, max_length = 64, pattern = r"^[ !#-\[\]-~]+$")]
    pub realm: Option<String>,
    /// Whether the gateway must show a root key: `none` or `required`.
    #[schema(nullable, pattern = "^(none|required)$")]
    pub gateway_credential: Option<String>,
}

/// A scope, as the published document describes it.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, pattern = "^[A-Za-z0-9:._*/-]{1,128}$", example = "orders:read")]
pub struct Scope(pub String);

/// A header that may hold a key, as the published document describes it; none that HTTP or a gateway writes.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, pattern = "^[A-Za-z0-9-]{1,64}$", example = "X-API-Key")]
pub struct KeyHeader(pub String);

/// A check policy.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CheckPolicy {
    /// What gateways call it.
    pub name: String,
    /// Whether it is `default` as it comes: it was never made or changed.
    pub is_built_in: bool,
    /// Scopes that a key must all hold.
    pub scopes: Vec<String>,
    /// Headers that a key is looked for in.
    pub key_headers: Vec<String>,
    /// Whether the key's claims are handed on.
    pub meta: bool,
    /// How long a gateway may keep an answer that lets through, in seconds.
    pub cache_max_age_seconds: u32,
    /// What a 401 says.
    pub realm: String,
    /// `none` or `required`.
    #[schema(pattern = "^(none|required)$")]
    pub gateway_credential: &'static str,
    /// When it was made, in Unix ms; null for the built-in one.
    #[schema(required, nullable)]
    pub created_at: Option<i64>,
    /// When it last changed, in Unix ms; null for the built-in one.
    #[schema(required, nullable)]
    pub updated_at: Option<i64>,
    /// How far a change has got; only in the answer to a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
}

/// Check policies by name.
#[derive(Debug, Serialize, ToSchema)]
pub struct CheckPolicyList {
    /// All of them; `default` is always there.
    pub data: Vec<CheckPolicy>,
}
