//! The only page that shows a secret: the response to the form that made it. It is not stored, and opening its address
//! again makes and shows nothing.

use crate::page;
use crate::page_error::PageError;
use crate::shell::{MenuEntry, Shell};
use crate::visitor::Visitor;
use askama::Template;
use axum::response::Response;
use keyreeve_authority::Effect;
use keyreeve_authority::keys::{KeyWithSecret, RotatedKey};

/// A key with its secret.
pub(crate) struct MadeSecret {
    key: KeyWithSecret,
    /// The propagation of a rotation.
    effect: Option<Effect>,
}

impl MadeSecret {
    pub(crate) fn created(key: KeyWithSecret) -> Self {
        Self { key, effect: None }
    }

    pub(crate) fn rotated(rotated: RotatedKey) -> Self {
        Self {
            key: rotated.key,
            effect: Some(rotated.effect),
        }
    }
}

/// Data of the page with the secret.
#[derive(Template)]
#[template(path = "reveal.html")]
pub(crate) struct RevealPage<'s> {
    pub(crate) shell: Shell,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) secret: &'s str,
    pub(crate) origin: &'s str,
    /// What happens to the old secret.
    pub(crate) old: Option<String>,
    pub(crate) back: &'s str,
}

/// Shows the secret.
pub(crate) fn reveal(visitor: &Visitor, made: &MadeSecret, back: &str) -> Result<Response, PageError> {
    let key = &made.key.record.key;
    let old = made.effect.as_ref().map(|effect| match &key.retiring {
        Some(old) => {
            let until = crate::moment::When::new(old.until, visitor.now);
            format!("The old secret works until {} ({}).", until.exact, until.relative)
        }
        None => format!("The old secret is dead. {}", super::act::measured(effect)),
    });
    let title = if old.is_some() { "Key rotated" } else { "Key created" };
    let page = RevealPage {
        shell: Shell::new(visitor, MenuEntry::OwnKeys, title),
        id: key.id.to_string(),
        name: key.name.to_string(),
        secret: made.key.secret.expose(),
        origin: &visitor.origin,
        old,
        back: if back == "/" { "/keys" } else { back },
    };
    page::ok(&page)
}
