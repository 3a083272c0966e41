//! On the wire: what users may set in keys by their role, and the defaults of new keys.

use crate::json::Object;
use crate::limits::KeyLimit;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What users may set in keys, by their role.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutGrant {
    /// The rights of members.
    #[schema(value_type = Option<PutMemberGrant>)]
    pub member: Option<Object<PutMemberGrant>>,
    /// The rights of administrators.
    #[schema(value_type = Option<PutAdminGrant>)]
    pub admin: Option<Object<PutAdminGrant>>,
}

/// What members may set in their own keys.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutMemberGrant {
    /// Scopes that members may give, as patterns: `repo:*` allows `repo:read` and `repo:*`, `*` allows all. An empty
    /// list allows none. At most what `admin.scopes` allows.
    #[schema(value_type = Option<Vec<crate::keys::Scope>>, max_items = 100, nullable)]
    pub scopes: Option<Vec<String>>,
    /// Whether members may set claims.
    #[schema(nullable)]
    pub claims: Option<bool>,
}

/// What administrators may set in keys. They may always set claims.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutAdminGrant {
    /// Scopes that administrators may give, as patterns.
    #[schema(value_type = Option<Vec<crate::keys::Scope>>, max_items = 100, nullable)]
    pub scopes: Option<Vec<String>>,
}

/// Defaults of new keys.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutNewKeys {
    /// Limits of a key for which none are given. A member cannot set others, nor remove them.
    #[schema(value_type = Option<Vec<KeyLimit>>, max_items = 8, nullable)]
    pub limits: Option<Vec<Object<KeyLimit>>>,
}

/// What users may set in keys, by their role.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PolicyGrant)]
pub struct Grant {
    /// The rights of members.
    pub member: MemberGrant,
    /// The rights of administrators.
    pub admin: AdminGrant,
}

/// What members may set in their own keys.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PolicyMemberGrant)]
pub struct MemberGrant {
    /// Scopes that they may give, as patterns.
    pub scopes: Vec<String>,
    /// Whether they may set claims.
    pub claims: bool,
}

/// What administrators may set in keys.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PolicyAdminGrant)]
pub struct AdminGrant {
    /// Scopes that they may give, as patterns.
    pub scopes: Vec<String>,
}

/// Defaults of new keys.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PolicyNewKeys)]
pub struct NewKeys {
    /// Limits of a key for which none are given.
    pub limits: Vec<KeyLimit>,
}
