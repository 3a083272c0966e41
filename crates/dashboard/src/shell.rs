//! The frame of every page: the signed-in user, the menu, the latest result, and the preferences.

use super::labels::Labels;
use super::visitor::Visitor;
use hyper::HeaderMap;
use hyper::header::COOKIE;
use keyreeve_core::access::Role;
use serde::{Deserialize, Serialize};

/// Cookies with a browser's preferences. They are not secret and grant nothing.
pub(super) const THEME_COOKIE: &str = "keyreeve_theme";
pub(super) const SHORTCUTS_COOKIE: &str = "keyreeve_shortcuts";
pub(super) const SIZE_COOKIE: &str = "keyreeve_page_size";
/// Keys on one page, as a user may choose.
pub(super) const SIZES: [u32; 4] = [10, 25, 50, 100];
const SIZE_DEFAULT: u32 = 25;

/// The preferences of a browser.
#[derive(Clone, Debug)]
pub(super) struct Preferences {
    /// `light`, `dark`, or empty to follow the system.
    pub(super) theme: &'static str,
    pub(super) has_shortcuts: bool,
    pub(super) page_size: u32,
}

impl Default for Preferences {
    fn default() -> Self {
        Self {
            theme: "",
            has_shortcuts: true,
            page_size: SIZE_DEFAULT,
        }
    }
}

impl Preferences {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let size = cookie(headers, SIZE_COOKIE).and_then(|text| text.parse().ok());
        Self {
            theme: match cookie(headers, THEME_COOKIE) {
                Some("light") => "light",
                Some("dark") => "dark",
                Some(_) | None => "",
            },
            has_shortcuts: cookie(headers, SHORTCUTS_COOKIE) != Some("off"),
            page_size: size.filter(|size| SIZES.contains(size)).unwrap_or(SIZE_DEFAULT),
        }
    }
}

/// Returns a cookie of a request.
pub(super) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// A message that the next page shows once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Flash {
    /// `done` or `refused`.
    pub(super) kind: String,
    pub(super) text: String,
    /// A link to details: address and label.
    pub(super) link: Option<(String, String)>,
}

impl Flash {
    pub(super) fn done(text: String) -> Self {
        Self {
            kind: "done".to_owned(),
            text,
            link: None,
        }
    }

    pub(super) fn refused(text: String) -> Self {
        Self {
            kind: "refused".to_owned(),
            ..Self::done(text)
        }
    }
}

/// The frame of a page without a signed-in user, and of error pages.
#[derive(Clone, Debug, Default)]
pub(super) struct SignedOutLayout {
    pub(super) preferences: Preferences,
}

impl SignedOutLayout {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self {
            preferences: Preferences::of(headers),
        }
    }
}

/// The menu entry that a page belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum MenuEntry {
    Home,
    OwnKeys,
    Account,
    TenantKeys,
    Policy,
    Checks,
    Users,
    Audit,
    Propagation,
}

/// The frame of a signed-in user's page.
#[derive(Clone, Debug)]
pub(super) struct Shell {
    pub(super) title: String,
    pub(super) place: MenuEntry,
    pub(super) email: String,
    pub(super) role: &'static str,
    pub(super) tenant: String,
    pub(super) csrf: String,
    pub(super) preferences: Preferences,
    pub(super) flash: Option<Flash>,
    pub(super) labels: &'static Labels,
    pub(super) sees_tenant: bool,
    pub(super) is_admin: bool,
    pub(super) may_change: bool,
}

impl Shell {
    pub(super) fn new(visitor: &Visitor, place: MenuEntry, title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            place,
            email: visitor.user.email.to_string(),
            role: match visitor.user.role {
                Role::Member => "Member",
                Role::Admin => "Admin",
                Role::Auditor => "Auditor",
            },
            tenant: visitor.user.tenant.to_string(),
            csrf: visitor.csrf.clone(),
            preferences: visitor.preferences.clone(),
            flash: visitor.flash.clone(),
            labels: Labels::of(&visitor.policy),
            sees_tenant: visitor.sees_tenant(),
            is_admin: visitor.is_admin(),
            may_change: visitor.may_change(),
        }
    }

    /// Whether this is a page of the tenant, not of the user's own keys or account.
    pub(super) fn is_tenant_scope(&self) -> bool {
        matches!(
            self.place,
            MenuEntry::TenantKeys
                | MenuEntry::Policy
                | MenuEntry::Checks
                | MenuEntry::Users
                | MenuEntry::Audit
                | MenuEntry::Propagation
        )
    }

    /// The menu's `aria-current`: `page` for the present page.
    pub(super) fn current(&self, place: MenuEntry) -> &'static str {
        if self.place == place { "page" } else { "false" }
    }

    /// The first letter of the visitor's address.
    pub(super) fn initial(&self) -> String {
        self.email.chars().take(1).flat_map(char::to_uppercase).collect()
    }
}
