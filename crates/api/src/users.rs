//! Users on the wire.

use crate::keys::Effect;
use crate::text::NameText;
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// Fewest characters of a password (OWASP ASVS 5.0, 6.2.1).
pub const PASSWORD_CHARS_MIN: usize = 8;
/// Most characters of a password; more would only keep the processor busy.
pub const PASSWORD_CHARS_MAX: usize = 256;

/// A password on its way in. Never printed.
#[derive(Deserialize, ToSchema)]
#[schema(value_type = String, min_length = 8, max_length = 256)]
#[serde(transparent)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// A wish for a user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// What the user logs in with.
    #[schema(
        pattern = r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$",
        max_length = 254,
        example = "ada@example.com"
    )]
    pub email: String,
    /// What people call the user.
    #[schema(value_type = Option<NameText>)]
    pub name: Option<String>,
    /// `member` (the default), `admin` or `auditor`.
    #[schema(nullable, pattern = "^(member|admin|auditor)$")]
    pub role: Option<String>,
    /// The password: only on the machine itself, by the operator. Everyone else is refused with `PERMISSION_DENIED`; the
    /// user sets a password by a link that works once.
    pub password: Option<Password>,
}

/// What to change about a user. What is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateUser {
    /// A new name; null takes it away.
    #[serde(default, deserialize_with = "crate::json::given")]
    #[schema(value_type = Option<NameText>)]
    pub name: Option<Option<String>>,
    /// A new role.
    #[schema(nullable, pattern = "^(member|admin|auditor)$")]
    pub role: Option<String>,
    /// `active`, or `suspended`: all the user's keys are blocked when the answer comes.
    #[schema(nullable, pattern = "^(active|suspended)$")]
    pub status: Option<String>,
    /// A new password: only on the machine itself, by the operator. Everyone else is refused with `PERMISSION_DENIED`.
    pub password: Option<Password>,
}

/// A user. The subject of the user's keys is the id.
#[derive(Debug, Serialize, ToSchema)]
pub struct User {
    /// The id.
    #[schema(pattern = "^user_[0-9a-f]{32}$")]
    pub id: String,
    /// The tenant.
    pub tenant: String,
    /// What the user logs in with.
    pub email: String,
    /// What people call the user.
    #[schema(required, nullable)]
    pub name: Option<String>,
    /// `member`, `admin` or `auditor`.
    #[schema(pattern = "^(member|admin|auditor)$")]
    pub role: &'static str,
    /// `active`, `suspended`, or `removed` in the answer that removes.
    #[schema(pattern = "^(active|suspended|removed)$")]
    pub status: &'static str,
    /// Whether the user can log in by password.
    pub has_password: bool,
    /// When the user was made, in Unix ms.
    pub created_at: i64,
    /// When anything about the user last changed, in Unix ms.
    pub updated_at: i64,
    /// How many of the user's keys worked until now; only in the answer that suspends or removes the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_stopped: Option<u32>,
    /// How many of the user's keys work again; only in the answer that opens a suspended user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_restored: Option<u32>,
    /// How far a change has got; only in the answer to a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
}

/// A link by which a user sets a password: whoever opens it is signed in as the user. It works once.
#[derive(Serialize, ToSchema)]
pub struct Invitation {
    /// The user it is for.
    #[schema(pattern = "^user_[0-9a-f]{32}$")]
    pub user_id: String,
    /// The address to open. It begins with the server's public address (the setting `public_url`), else with the one at
    /// which the server's own machine reaches it.
    pub link: String,
    /// When the link stops to work, in Unix ms.
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
