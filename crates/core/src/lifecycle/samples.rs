//! Orders that tests issue keys from.

use super::{IssueOrder, NewSecret};
use crate::id::KeyId;
use crate::key::{Prefix, Secret};
use crate::limits::Limits;
use crate::policy::ExpiryWish;
use crate::scope::Scopes;
use crate::text::{Name, Slug, Subject};

/// An order for a key with required fields only.
pub(crate) fn order() -> IssueOrder {
    IssueOrder {
        id: KeyId::from_bytes([1; 16]),
        tenant: Slug::parse("default").unwrap(),
        subject: Subject::parse("user_1").unwrap(),
        name: Name::parse("ci").unwrap(),
        description: None,
        claims: None,
        scopes: Scopes::default(),
        limits: Limits::default(),
        created_by: None,
        expiry: ExpiryWish::Unsaid,
        secret: NewSecret::of(&Secret::mint(&Prefix::standard(), &[1; 32]), &Prefix::standard()),
    }
}
