//! The frame of every page: the signed-in user, the menu, the latest result, and the preferences.

use super::flash::Flash;
use super::labels::Labels;
use super::preferences::Preferences;
use super::visitor::Visitor;
use hyper::HeaderMap;
use keyreeve_core::access::Role;

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
