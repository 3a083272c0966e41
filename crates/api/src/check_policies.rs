//! Check policies on the wire: what gateways require of keys.

use crate::keys::Effect;
use crate::seconds::Whole;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A new check policy. Omitted fields have the values of the built-in policy `default`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateCheckPolicy {
    /// The name that gateways use. It never changes.
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length = 63, example = "orders")]
    pub name: String,
    /// Scopes that a key must hold, all of them; without any, every key of the tenant is accepted.
    #[schema(value_type = Option<Vec<RequiredScope>>, max_items = 100)]
    pub scopes: Option<Vec<String>>,
    /// Headers that may contain the key, in order: `Authorization` with the scheme Bearer, any other header with the
    /// key alone. A request with two different keys is refused.
    #[schema(value_type = Option<Vec<KeyHeader>>, min_items = 1, max_items = 4)]
    pub key_headers: Option<Vec<String>>,
    /// Whether the key's claims are passed on in `X-Keyreeve-Meta`.
    #[schema(nullable)]
    pub meta: Option<bool>,
    /// Seconds for which a gateway may cache an answer that lets a request through; 0 is no caching. A revocation takes
    /// effect that much later behind such a gateway.
    #[schema(value_type = Option<u32>, maximum = 15)]
    pub cache_max_age_seconds: Option<Whole>,
    /// The realm of a 401 in `WWW-Authenticate`.
    #[schema(nullable, min_length = 1, max_length = 64, pattern = r"^[ !#-\[\]-~]+$")]
    pub realm: Option<String>,
    /// Whether the gateway must send a root key with `keys:verify` in `X-Keyreeve-Gateway`: `none` or `required`.
    #[schema(nullable, pattern = "^(none|required)$")]
    pub gateway_credential: Option<String>,
}

/// The changes of a check policy. Omitted fields remain unchanged.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateCheckPolicy {
    /// Scopes that a key must hold, all of them.
    #[schema(value_type = Option<Vec<RequiredScope>>, max_items = 100)]
    pub scopes: Option<Vec<String>>,
    /// Headers that may contain the key, in order.
    #[schema(value_type = Option<Vec<KeyHeader>>, min_items = 1, max_items = 4)]
    pub key_headers: Option<Vec<String>>,
    /// Whether the key's claims are passed on.
    #[schema(nullable)]
    pub meta: Option<bool>,
    /// Seconds for which a gateway may cache an answer that lets a request through.
    #[schema(value_type = Option<u32>, maximum = 15)]
    pub cache_max_age_seconds: Option<Whole>,
    /// The realm of a 401 in `WWW-Authenticate`.
    #[schema(nullable, min_length = 1, max_length = 64, pattern = r"^[ !#-\[\]-~]+$")]
    pub realm: Option<String>,
    /// Whether the gateway must send a root key: `none` or `required`.
    #[schema(nullable, pattern = "^(none|required)$")]
    pub gateway_credential: Option<String>,
}

/// A scope, as the published document describes it.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, pattern = "^[A-Za-z0-9:._*/-]{1,128}$", example = "orders:read")]
pub struct RequiredScope(pub String);

/// A header that may contain a key, as the published document describes it. Headers that HTTP or a gateway writes are
/// refused.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, pattern = "^[A-Za-z0-9-]{1,64}$", example = "X-API-Key")]
pub struct KeyHeader(pub String);

/// A check policy.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CheckPolicy {
    /// The name that gateways use.
    pub name: String,
    /// Whether it is the built-in `default`, never created or changed.
    pub is_built_in: bool,
    /// Scopes that a key must hold, all of them.
    pub scopes: Vec<String>,
    /// Headers that may contain the key.
    pub key_headers: Vec<String>,
    /// Whether the key's claims are passed on.
    pub meta: bool,
    /// Seconds for which a gateway may cache an answer that lets a request through.
    pub cache_max_age_seconds: u32,
    /// The realm of a 401.
    pub realm: String,
    /// `none` or `required`.
    #[schema(pattern = "^(none|required)$")]
    pub gateway_credential: &'static str,
    /// When it was created, in Unix ms; null for the built-in one.
    #[schema(required, nullable)]
    pub created_at: Option<i64>,
    /// When it last changed, in Unix ms; null for the built-in one.
    #[schema(required, nullable)]
    pub updated_at: Option<i64>,
    /// The propagation of the change; only in the answer to a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
}

/// Check policies by name.
#[derive(Debug, Serialize, ToSchema)]
pub struct CheckPolicyList {
    /// All of them, including `default`.
    pub data: Vec<CheckPolicy>,
}
