//! What lets a person in.

use keyreeve_core::text::Slug;
use keyreeve_core::{Digest, Timestamp, UserId};

/// What a login is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoginKind {
    /// The session of a browser.
    Session,
    /// A link that works once.
    Link,
}

impl LoginKind {
    /// The word in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Link => "link",
        }
    }

    /// Reads the word back.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "session" => Some(Self::Session),
            "link" => Some(Self::Link),
            _ => None,
        }
    }
}

/// The session of a browser, or a link that works once. Whoever has what the digest is of, is let in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Login {
    /// The digest of what the browser shows.
    pub digest: Digest,
    /// Session or link.
    pub kind: LoginKind,
    /// The tenant.
    pub tenant: Slug,
    /// The user; `None` is one who is made by the link, or a session that nobody has signed in to.
    pub user: Option<UserId>,
    /// What the server keeps with it, as JSON.
    pub data: String,
    /// When it ends.
    pub expires_at: Timestamp,
}
