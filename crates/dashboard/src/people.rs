//! Names for ids: a user's address instead of `user_…`, where a page shows an owner or an actor.

use super::page_error::PageError;
use super::visitor::Visitor;
use crate::Dashboard;
use keyreeve_core::User;
use std::collections::HashMap;

/// The tenant's users by id, as far as the visitor may see them.
#[derive(Clone, Default, Debug)]
pub(super) struct People(HashMap<String, String>);

impl People {
    /// Returns the first page of the tenant's users for administrators and auditors; for a member, only the member.
    pub(super) async fn known_to(visitor: &Visitor, app: &Dashboard) -> Result<Self, PageError> {
        let users = match visitor.sees_tenant() {
            true => app.authority().users().list(&visitor.call, None).await?,
            false => vec![visitor.user.clone()],
        };
        Ok(Self::of(&users))
    }

    pub(super) fn of(users: &[User]) -> Self {
        Self(
            users
                .iter()
                .map(|user| (user.id.to_string(), user.email.to_string()))
                .collect(),
        )
    }

    /// Returns the name of an id: a user's address, the last characters of a root key, or else the id.
    pub(super) fn name_of(&self, id: &str) -> String {
        match (self.0.get(id), id.strip_prefix("rk_"), id) {
            (Some(name), ..) => name.clone(),
            (None, Some(hex), _) => format!("root key …{}", hex.get(hex.len().saturating_sub(6)..).unwrap_or(hex)),
            (None, None, "system") => "Keyreeve".to_owned(),
            (None, None, "operator") => "the operator".to_owned(),
            (None, None, id) => id.to_owned(),
        }
    }

    /// Returns the id of the user with this address, or the text unchanged.
    pub(super) fn id_of(&self, text: &str) -> String {
        let known = self.0.iter().find(|(_, email)| email.eq_ignore_ascii_case(text));
        known.map_or_else(|| text.to_owned(), |(id, _)| id.clone())
    }

    /// Returns the addresses, sorted.
    pub(super) fn addresses(&self) -> Vec<String> {
        let mut all: Vec<_> = self.0.values().cloned().collect();
        all.sort();
        all
    }
}
