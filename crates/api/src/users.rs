//! Users on the wire.

use crate::keys::Effect;
use crate::text::NameText;
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// Fewest characters of a password (OWASP ASVS 5.0, 6.2.1).
pub const PASSWORD_CHARS_MIN: usize = 8;
/// Most characters of a password; longer ones would only cost processor time.
pub const PASSWORD_CHARS_MAX: usize = 256;

/// A password in a request. Never printed.
#[derive(Deserialize, ToSchema)]
#[schema(value_type = String, min_length = 8, max_length = 256)]
#[serde(transparent)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// A request for a user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// The e-mail address for signing in.
    #[schema(
        pattern = r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$",
        max_length = 254,
        example = "ada@example.com"
    )]
    pub email: String,
    /// The user's name.
    #[schema(value_type = Option<NameText>)]
    pub name: Option<String>,
    /// `member` (the default), `admin` or `auditor`.
    #[schema(nullable, pattern = "^(member|admin|auditor)$")]
    pub role: Option<String>,
    /// The password. Only the operator on this machine may set it; other callers are refused with `PERMISSION_DENIED`.
    /// The user sets a password by a one-time link.
    pub password: Option<Password>,
}

/// The changes of a user. Omitted fields remain unchanged.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateUser {
    /// A new name; null removes it.
    #[serde(default, deserialize_with = "crate::json::given")]
    #[schema(value_type = Option<NameText>)]
    pub name: Option<Option<String>>,
    /// A new role.
    #[schema(nullable, pattern = "^(member|admin|auditor)$")]
    pub role: Option<String>,
    /// `active`, or `suspended`: all keys of the user are refused when the answer comes.
    #[schema(nullable, pattern = "^(active|suspended)$")]
    pub status: Option<String>,
    /// A new password. Only the operator on this machine may set it; other callers are refused with
    /// `PERMISSION_DENIED`.
    pub password: Option<Password>,
}

/// A user. The id is the subject of the user's keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct User {
    /// The id.
    #[schema(pattern = "^user_[0-9a-f]{32}$")]
    pub id: String,
    /// The tenant.
    pub tenant: String,
    /// The e-mail address for signing in.
    pub email: String,
    /// The user's name.
    #[schema(required, nullable)]
    pub name: Option<String>,
    /// `member`, `admin` or `auditor`.
    #[schema(pattern = "^(member|admin|auditor)$")]
    pub role: &'static str,
    /// `active`, `suspended`, or `removed` in the answer to the removal.
    #[schema(pattern = "^(active|suspended|removed)$")]
    pub status: &'static str,
    /// Whether the user can sign in by password.
    pub has_password: bool,
    /// When the user was created, in Unix ms.
    pub created_at: i64,
    /// When the user was last changed, in Unix ms.
    pub updated_at: i64,
    /// How many of the user's keys worked until now; only in the answer that suspends or removes the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_stopped: Option<u32>,
    /// How many of the user's keys work again; only in the answer that re-activates the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_restored: Option<u32>,
    /// The propagation of the change; only in the answer to a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
}

/// A one-time link by which a user sets a password. Opening it signs in as the user.
#[derive(Serialize, ToSchema)]
pub struct Invitation {
    /// The user it is for.
    #[schema(pattern = "^user_[0-9a-f]{32}$")]
    pub user_id: String,
    /// The URL to open. It begins with the server's public URL (the setting `public_url`), else with the one at which
    /// its own machine reaches it.
    pub link: String,
    /// When the link expires, in Unix ms.
    pub expires_at: i64,
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation")
            .field("user_id", &self.user_id)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Users, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserList {
    /// The users.
    pub data: Vec<User>,
}
