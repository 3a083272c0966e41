//! Names for ids: a user's address instead of `user_…`, wherever a page shows who owns or did something.

use super::trouble::Trouble;
use super::visitor::Visitor;
use crate::App;
use keyreeve_core::User;
use std::collections::HashMap;

/// The tenant's users by id, as far as the visitor may know them.
#[derive(Clone, Default, Debug)]
pub(super) struct People(HashMap<String, String>);

impl People {
    /// Everybody for those who manage or audit; a member knows only themself.
    pub(super) async fn known_to(visitor: &Visitor, app: &App) -> Result<Self, Trouble> {
        let users = match visitor.sees_tenant() {
            true => app.authority().users(&visitor.call, None).await?,
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

    /// The name of an id; of a root key its end, and of what nobody here knows the id itself.
    pub(super) fn name_of(&self, id: &str) -> String {
        match (self.0.get(id), id.strip_prefix("rk_"), id) {
            (Some(name), ..) => name.clone(),
            (None, Some(hex), _) => format!("root key …{}", hex.get(hex.len().saturating_sub(6)..).unwrap_or(hex)),
            (None, None, "system") => "Keyreeve".to_owned(),
            (None, None, "operator") => "the operator".to_owned(),
            (None, None, id) => id.to_owned(),
        }
    }

    /// The id of a user with this address, or the text itself.
    pub(super) fn id_of(&self, text: &str) -> String {
        let known = self.0.iter().find(|(_, email)| email.eq_ignore_ascii_case(text));
        known.map_or_else(|| text.to_owned(), |(id, _)| id.clone())
    }

    /// Addresses, in order.
    pub(super) fn addresses(&self) -> Vec<String> {
        let mut all: Vec<_> = self.0.values().cloned().collect();
        all.sort();
        all
    }
}
