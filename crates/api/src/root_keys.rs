//! Root keys on the wire.

use crate::json;
use crate::limits::NetworkText;
use crate::seconds::{PositiveSeconds, Seconds};
use crate::text::NameText;
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// A request for a root key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRootKey {
    /// Its name, for people.
    #[schema(value_type = NameText)]
    pub name: String,
    /// Its permissions, for example `keys:read`. A caller cannot give a permission that it does not have.
    #[schema(value_type = Vec<Permission>, max_items = 32)]
    pub permissions: Vec<String>,
    /// The tenant to which it is bound; omitted or null is the caller's own reach.
    #[schema(nullable, pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length = 63)]
    pub tenant: Option<String>,
    /// Expiry in seconds from now, an integer; null is never; omitted is that of the caller. It cannot be later than that
    /// of the caller.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<f64>, exclusive_minimum = 0, maximum = 3_155_760_000_u64, nullable, multiple_of = 1)]
    pub seconds_until_expiration: Option<Option<PositiveSeconds>>,
    /// Networks from which it may be used, as CIDR or single addresses; an empty list allows all; omitted or null are
    /// those of the caller. They cannot be outside those of the caller.
    #[schema(value_type = Option<Vec<NetworkText>>, max_items = 64, nullable)]
    pub allowed_networks: Option<Vec<String>>,
}

/// A request to give a root key a new secret.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateRootKey {
    /// How long the present secret is still accepted: 30 days at most. 0, the default: it is refused when the answer
    /// comes.
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 2_592_000_u64, nullable, multiple_of = 1)]
    pub overlap_seconds: Option<Seconds>,
    /// A new expiry in seconds from now, an integer; null is never; omitted keeps the present one. It cannot be later than
    /// that of the caller.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<f64>, exclusive_minimum = 0, maximum = 3_155_760_000_u64, nullable, multiple_of = 1)]
    pub seconds_until_expiration: Option<Option<PositiveSeconds>>,
}

/// A permission, as the published document describes it. On the wire it is a string.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, pattern = "^(keys:read|keys:write|keys:verify|policy:read|policy:write|users:write|users:act|audit:read|tenants:write|root_keys:write)$", example = "keys:read")]
pub struct Permission(pub String);

/// A root key.
#[derive(Clone, Serialize, ToSchema)]
pub struct RootKey {
    /// Its id.
    #[schema(pattern = "^rk_[0-9a-f]{32}$")]
    pub id: String,
    /// Its name, for people.
    pub name: String,
    /// The tenant to which it is bound; null is the instance.
    #[schema(required, nullable)]
    pub tenant: Option<String>,
    /// Its permissions.
    pub permissions: Vec<String>,
    /// The end of its secret.
    pub last_four: String,
    /// Networks from which it may be used; an empty list allows all.
    pub allowed_networks: Vec<String>,
    /// When it was created, in Unix ms.
    pub created_at: i64,
    /// When it expires, in Unix ms. From then on it is refused like a revoked one.
    #[schema(required, nullable)]
    pub expires_at: Option<i64>,
    /// When a call with it was last accepted, in Unix ms, exact to a minute.
    #[schema(required, nullable)]
    pub last_used_at: Option<i64>,
    /// When it was last rotated, in Unix ms.
    #[schema(required, nullable)]
    pub rotated_at: Option<i64>,
    /// Until when the secret from before the last rotation is accepted, in Unix ms.
    #[schema(required, nullable)]
    pub retiring_until: Option<i64>,
    /// When it was revoked, in Unix ms.
    #[schema(required, nullable)]
    pub revoked_at: Option<i64>,
    /// The secret: only in the answer that creates or rotates it, never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// Root keys, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct RootKeyList {
    /// The root keys.
    pub data: Vec<RootKey>,
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootKey").field("id", &self.id).finish_non_exhaustive()
    }
}
