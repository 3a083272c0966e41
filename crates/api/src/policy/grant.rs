//! What people may write into keys by their role, and what new keys get, on the wire.

use crate::json::Object;
use crate::limits::KeyLimit;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What people may write into keys, by their role.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutGrant {
    /// What members may.
    #[schema(value_type = Option<PutMemberGrant>)]
    pub member: Option<Object<PutMemberGrant>>,
    /// What administrators may.
    #[schema(value_type = Option<PutAdminGrant>)]
    pub admin: Option<Object<PutAdminGrant>>,
}

/// What members may write into their own keys.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutMemberGrant {
    /// Scopes that members may give, as patterns: `repo:*` allows `repo:read` and `repo:*`, `*` allows all. An empty list: none.
    /// Not more than `admin.scopes` allows.
    #[schema(value_type = Option<Vec<crate::keys::Scope>>, max_items = 100, nullable)]
    pub scopes: Option<Vec<String>>,
    /// Whether members may set claims.
    #[schema(nullable)]
    pub claims: Option<bool>,
}

/// What administrators may write into keys. They may always set claims.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutAdminGrant {
    /// Scopes that administrators may give, as patterns.
    #[schema(value_type = Option<Vec<crate::keys::Scope>>, max_items = 100, nullable)]
    pub scopes: Option<Vec<String>>,
}

/// What new keys get if nothing is said.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutNewKeys {
    /// Limits of a key for which none are given. A member cannot give other ones, nor none.
    #[schema(value_type = Option<Vec<KeyLimit>>, max_items = 8, nullable)]
    pub limits: Option<Vec<Object<KeyLimit>>>,
}

/// What people may write into keys, by their role.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PolicyGrant)]
pub struct Grant {
    /// What members may.
    pub member: MemberGrant,
    /// What administrators may.
    pub admin: AdminGrant,
}

/// What members may write into their own keys.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PolicyMemberGrant)]
pub struct MemberGrant {
    /// Scopes that they may give, as patterns.
    pub scopes: Vec<String>,
    /// Whether they may set claims.
    pub claims: bool,
}

/// What administrators may write into keys.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PolicyAdminGrant)]
pub struct AdminGrant {
    /// Scopes that they may give, as patterns.
    pub scopes: Vec<String>,
}

/// What new keys get if nothing is said.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PolicyNewKeys)]
pub struct NewKeys {
    /// Limits of a key for which none are given.
    pub limits: Vec<KeyLimit>,
}
