//! Root keys on the wire.

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
    /// When it was created, in Unix ms.
    pub created_at: i64,
    /// When it was revoked, in Unix ms.
    #[schema(required, nullable)]
    pub revoked_at: Option<i64>,
    /// The secret: only in the answer that creates it, never again.
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
