//! Tenants on the wire.

use crate::root_keys::RootKey;
use crate::text::NameText;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A wish for a tenant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTenant {
    /// Its short name; never changes.
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length = 63, example = "acme")]
    pub slug: String,
    /// Its name for people.
    #[schema(value_type = NameText)]
    pub name: String,
    /// The preset its policy starts from: `erase`, `hold`, `keep` or `standard` (the default).
    #[schema(nullable, pattern = "^(erase|hold|keep|standard)$")]
    pub preset: Option<String>,
}

/// A tenant.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tenant {
    /// Its short name.
    pub slug: String,
    /// Its name for people.
    pub name: String,
    /// The preset its policy started from.
    pub preset: &'static str,
    /// `active` or `suspended`.
    #[schema(pattern = "^(active|suspended)$")]
    pub status: &'static str,
    /// When it was made, in Unix ms.
    pub created_at: i64,
    /// Its first root key, with the secret: only in the answer that makes the tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_key: Option<RootKey>,
}

/// Tenants by slug.
#[derive(Debug, Serialize, ToSchema)]
pub struct TenantList {
    /// The tenants.
    pub data: Vec<Tenant>,
}
