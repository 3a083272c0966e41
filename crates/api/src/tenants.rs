//! Tenants on the wire.

use crate::keys::Effect;
use crate::root_keys::RootKey;
use crate::text::NameText;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A request for a tenant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTenant {
    /// Its short name, which never changes.
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length = 63, example = "acme")]
    pub slug: String,
    /// Its name for people.
    #[schema(value_type = NameText)]
    pub name: String,
    /// The preset of its policy: `erase`, `hold`, `keep` or `standard` (the default).
    #[schema(nullable, pattern = "^(erase|hold|keep|standard)$")]
    pub preset: Option<String>,
}

/// The changes of a tenant. Omitted fields remain unchanged.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateTenant {
    /// A new name.
    #[schema(value_type = Option<NameText>)]
    pub name: Option<String>,
    /// `active`, or `suspended`: all keys of the tenant are refused when the answer comes.
    #[schema(nullable, pattern = "^(active|suspended)$")]
    pub status: Option<String>,
}

/// A tenant.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tenant {
    /// Its short name.
    pub slug: String,
    /// Its name for people.
    pub name: String,
    /// The preset with which its policy began.
    pub preset: &'static str,
    /// `active`, `suspended`, or `removed` in the answer to the removal.
    #[schema(pattern = "^(active|suspended|removed)$")]
    pub status: &'static str,
    /// When it was created, in Unix ms.
    pub created_at: i64,
    /// Its first root key, with the secret: only in the answer that creates the tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_key: Option<RootKey>,
    /// The propagation of the change; only in the answer to a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
}

/// Tenants by slug.
#[derive(Debug, Serialize, ToSchema)]
pub struct TenantList {
    /// The tenants.
    pub data: Vec<Tenant>,
}
