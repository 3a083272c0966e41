//! The labels of a tenant's dashboard. They follow the preset that its policy started from, so that users of each
//! system find the buttons they know (docs/acceptance.md, U-, P- and H-rows).

use keyreeve_core::Policy;
use keyreeve_core::policy::Preset;

/// Labels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Labels {
    /// The account menu's entry for one's own keys, and the heading of that page.
    pub(super) own_keys: &'static str,
    /// The tab of one's own keys in the account settings.
    pub(super) own_tab: &'static str,
    /// The button that opens the form for a new key.
    pub(super) add: &'static str,
    pub(super) name: &'static str,
    pub(super) needs_name: bool,
    pub(super) has_description: bool,
    pub(super) expiry: &'static str,
    pub(super) owner: &'static str,
    /// The button that makes the key.
    pub(super) make: &'static str,
    pub(super) status: &'static str,
    pub(super) held: &'static str,
    pub(super) edit: &'static str,
    pub(super) rotate: &'static str,
    /// The entry of the menu, or the button on the row.
    pub(super) revoke: &'static str,
    pub(super) reactivate: &'static str,
    pub(super) delete: &'static str,
    /// Whether revoking is a button on the row instead of an entry of its menu.
    pub(super) has_row_button: bool,
    pub(super) cancel_revoke: &'static str,
}

const STANDARD: Labels = Labels {
    own_keys: "My API keys",
    own_tab: "API keys",
    add: "Create API key",
    name: "Name",
    needs_name: true,
    has_description: true,
    expiry: "Expires",
    owner: "Owner",
    make: "Create API key",
    status: "Status",
    held: "Disabled",
    edit: "Edit",
    rotate: "Rotate",
    revoke: "Revoke",
    reactivate: "Re-activate",
    delete: "Delete",
    has_row_button: false,
    cancel_revoke: "Cancel",
};

/// Userplane.
const ERASE: Labels = Labels {
    own_tab: "Developers",
    add: "+ Create API Key",
    needs_name: false,
    has_description: false,
    expiry: "Expiration",
    make: "Create API Key",
    rotate: "Rotate Key",
    revoke: "Revoke Key",
    ..STANDARD
};

/// Spectro Cloud Palette.
const HOLD: Labels = Labels {
    own_keys: "My API Keys",
    own_tab: "API Keys",
    add: "Add New API key",
    name: "API Key Name",
    expiry: "Expiration Date",
    owner: "User Name",
    make: "Generate",
    status: "Active",
    held: "Inactive",
    ..STANDARD
};

/// Hyperspell.
const KEEP: Labels = Labels {
    own_keys: "API Keys",
    own_tab: "API Keys",
    add: "Create API key",
    has_row_button: true,
    cancel_revoke: "Cancel Revoke Key",
    ..STANDARD
};

impl Labels {
    /// The button that rotates: the same in every preset (docs/acceptance.md, U-31).
    #[expect(clippy::unused_self, reason = "a template asks its words for it")]
    pub(super) const fn rotate_button(&self) -> &'static str {
        "Rotate Key"
    }

    /// Returns the labels of a policy.
    pub(super) fn of(policy: &Policy) -> &'static Self {
        match policy.preset {
            Preset::Erase => &ERASE,
            Preset::Hold => &HOLD,
            Preset::Keep => &KEEP,
            Preset::Standard => &STANDARD,
        }
    }
}
