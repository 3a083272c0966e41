//! Sessions and sign-in links of the dashboard.

use keyreeve_core::text::Slug;
use keyreeve_core::{Digest, Timestamp, UserId};

/// The kind of a login.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoginKind {
    /// The session of a browser.
    Session,
    /// A link that works once.
    Link,
}

impl LoginKind {
    /// Returns its name in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Link => "link",
        }
    }

    /// Parses the name.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "session" => Some(Self::Session),
            "link" => Some(Self::Link),
            _ => None,
        }
    }
}

/// The session of a browser, or a link that works once. The value whose digest is stored is a credential.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Login {
    /// The digest of what the browser presents.
    pub digest: Digest,
    /// Session or link.
    pub kind: LoginKind,
    /// The tenant.
    pub tenant: Slug,
    /// The user; `None` for a user whom the link will create, and for a session that is not signed in.
    pub user: Option<UserId>,
    /// The server's data of the login, as JSON.
    pub data: String,
    /// When it ends.
    pub expires_at: Timestamp,
}
