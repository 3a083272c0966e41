//! Scopes: what a key may be used for, as the relying service names it.
//!
//! A scope has parts, separated by `:`, `.` and `/`. In a scope that a key has, a part that is only a star matches any
//! one part, and as the last part one or more: `invoices:*` covers `invoices:read` and `invoices:read:own`, `*:read`
//! covers `users:read`, `*` covers everything. A star beside other characters is an ordinary character.

use thiserror::Error;

/// Most scopes of one key, and of one verification request.
pub const SCOPES_MAX: usize = 100;
/// Most characters of one scope.
pub const SCOPE_CHARS_MAX: usize = 128;

/// Why a list of scopes is not valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ScopeError {
    /// One scope does not have the form.
    #[error("scope {index} must be 1 to {SCOPE_CHARS_MAX} characters of A-Z a-z 0-9 : . _ * / -")]
    Form {
        /// Its index in the list, from 0.
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
    /// Returns the one scope that covers all scopes.
    pub fn every() -> Self {
        Self(vec!["*".into()])
    }

    /// Parses scopes of the form `[A-Za-z0-9:._*/-]{1,128}`. A repeated scope is kept once.
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

    /// Iterates over the scopes.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns one text with a space between scopes (no scope contains one), for storing and for a verifier's memory.
    pub fn joined(&self) -> String {
        self.0.join(" ")
    }

    /// Parses what [`Scopes::joined`] wrote.
    pub fn from_joined(text: &str) -> Result<Self, ScopeError> {
        Self::parse(text.split_ascii_whitespace())
    }
}

/// Whether a text has the form of a scope.
pub fn is_scope(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'.' | b'_' | b'*' | b'/' | b'-');
    (1..=SCOPE_CHARS_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

/// Whether a key whose scopes are `joined` has `needed`. A star has its meaning only in the key's scopes, not in
/// `needed`: a request for `invoices:*` requires a key that covers all of it.
pub fn holds(joined: &str, needed: &str) -> bool {
    let mut held = joined.split_ascii_whitespace();
    held.any(|held| held == needed || (held.contains(ANY) && covers(held, needed)))
}

const ANY: char = '*';
const BETWEEN: [char; 3] = [':', '.', '/'];

/// Whether a scope with stars covers another one.
fn covers(held: &str, needed: &str) -> bool {
    let (mut held, mut needed) = (held, needed);
    loop {
        let (part, rest) = first_part(held);
        let (other, other_rest) = first_part(needed);
        let is_any = part == "*" && !other.is_empty();
        match (rest, other_rest) {
            // A star as the last part covers the rest.
            (None, _) if is_any => return true,
            (None, None) => return part == other,
            (Some((between, rest)), Some((other_between, other_rest)))
                if (is_any || part == other) && between == other_between =>
            {
                (held, needed) = (rest, other_rest);
            }
            _ => return false,
        }
    }
}

/// Returns the first part of a scope, and the separator and the rest after it.
fn first_part(scope: &str) -> (&str, Option<(char, &str)>) {
    let Some(place) = scope.find(BETWEEN) else {
        return (scope, None);
    };
    let (part, rest) = scope.split_at(place);
    let mut rest = rest.chars();
    let between = rest.next();
    (part, between.map(|between| (between, rest.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    #[test]
    fn a_star_stands_for_a_part_and_at_the_end_for_all_that_follows() {
        for (held, needed) in [
            ("*", "read"),
            ("*", "invoices:read:own"),
            ("invoices:*", "invoices:read"),
            ("invoices:*", "invoices:read:own"),
            ("invoices:*", "invoices:*"),
            ("*:read", "users:read"),
            ("a/*/c", "a/b/c"),
            ("org.*.read", "org.x.read"),
            ("write *:read", "users:read"),
        ] {
            assert!(holds(held, needed), "{held} holds {needed}");
        }
        for (held, needed) in [
            ("invoices:*", "invoices"),
            ("invoices:*", "invoices:"),
            ("invoices:*", "invoicesx:read"),
            ("invoices:*", "invoices.read"),
            ("*:read", "a:b:read"),
            ("*:read", "a:readx"),
            ("inv*", "invoices"),
            ("inv*", "inv"),
            ("invoices:re*", "invoices:read"),
            ("invoices:read", "invoices:*"),
            ("a:*:c", "a:c"),
            ("a:*:c", "a::c"),
        ] {
            assert!(!holds(held, needed), "{held} does not hold {needed}");
        }
    }

    proptest! {
        /// Without a star a scope covers only itself, and a star at the end never covers anything outside its prefix.
        #[test]
        fn stars_reach_no_further_than_they_stand(
            held in "[a-c*]{1,2}(:[a-c*]{1,2}){0,3}", needed in "[a-c]{1,2}(:[a-c]{1,2}){0,3}",
        ) {
            if !held.contains('*') {
                prop_assert_eq!(holds(&held, &needed), held == needed);
            }
            if let Some(start) = held.strip_suffix('*').filter(|start| !start.contains('*') && start.ends_with(':')) {
                prop_assert_eq!(holds(&held, &needed), needed.starts_with(start));
            }
        }
    }
}
