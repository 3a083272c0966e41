//! Scopes: what a key may be used for, as the relying service names it.

use thiserror::Error;

/// Most scopes on one key, and in one verify request.
pub const SCOPES_MAX: usize = 100;
/// Most characters of one scope.
pub const SCOPE_CHARS_MAX: usize = 128;

/// Why a list of scopes cannot be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ScopeError {
    /// One scope is not of the form.
    #[error("scope {index} must be 1 to {SCOPE_CHARS_MAX} characters of A-Z a-z 0-9 : . _ * / -")]
    Form {
        /// Its place in the list, from 0.
        index: usize,
    },
    /// Too many.
    #[error("must have at most {SCOPES_MAX} scopes")]
    TooMany,
}

/// The scopes of a key, in the order given, without repetitions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scopes(Vec<Box<str>>);

impl Scopes {
    /// Takes scopes that all have the form `[A-Za-z0-9:._*/-]{1,128}`. A repeated scope is kept once.
    pub fn parse<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Result<Self, ScopeError> {
        let mut taken: Vec<Box<str>> = Vec::new();
        for (index, scope) in scopes.into_iter().enumerate() {
            if !is_scope(scope) {
                return Err(ScopeError::Form { index });
            }
            if index >= SCOPES_MAX {
                return Err(ScopeError::TooMany);
            }
            if !taken.iter().any(|known| **known == *scope) {
                taken.push(scope.into());
            }
        }
        Ok(Self(taken))
    }

    /// The scopes.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One text with a space between scopes (no scope contains one), for storing and for a verifier's memory.
    pub fn joined(&self) -> String {
        self.0.join(" ")
    }

    /// Reads back what [`Scopes::joined`] wrote.
    pub fn from_joined(text: &str) -> Result<Self, ScopeError> {
        Self::parse(text.split_ascii_whitespace())
    }
}

/// Whether a text has the form of a scope.
pub fn is_scope(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'.' | b'_' | b'*' | b'/' | b'-');
    (1..=SCOPE_CHARS_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

/// Whether a key whose scopes are `joined` holds `needed`. Exact: a star has no meaning of its own yet.
pub fn holds(joined: &str, needed: &str) -> bool {
    joined.split_ascii_whitespace().any(|held| held == needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_keep_their_order_and_lose_repetitions() {
        let scopes = Scopes::parse(["read", "write:all", "read"]).unwrap();
        assert_eq!(scopes.joined(), "read write:all");
        assert_eq!(Scopes::from_joined("read write:all"), Ok(scopes));
        assert_eq!(Scopes::from_joined(""), Ok(Scopes::default()));
    }

    #[test]
    fn what_is_no_scope_is_named_by_its_place() {
        assert_eq!(Scopes::parse(["ok", "not ok"]), Err(ScopeError::Form { index: 1 }));
        assert_eq!(Scopes::parse([""]), Err(ScopeError::Form { index: 0 }));
        assert_eq!(
            Scopes::parse(["x".repeat(129).as_str()]),
            Err(ScopeError::Form { index: 0 })
        );
        assert_eq!(Scopes::parse(vec!["x"; 101]), Err(ScopeError::TooMany));
    }

    #[test]
    fn a_scope_is_held_only_as_a_whole_word() {
        assert!(holds("read write", "write"));
        assert!(!holds("read write", "writ"));
        assert!(!holds("", "read"));
    }
}
