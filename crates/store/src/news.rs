//! The effect of a change on a key.

use keyreeve_core::KeyId;
use keyreeve_core::text::Slug;

/// A key and the effect of a change on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyNews {
    /// The tenant.
    pub tenant: Slug,
    /// The key.
    pub id: KeyId,
    /// The effect.
    pub outcome: KeyOutcome,
}

/// The effect of a change on a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyOutcome {
    /// Revoked for good, or erased.
    Ended,
    /// Revoked, and the revocation can still be undone; or it is unknown whether it can.
    Withdrawn,
    /// Disabled.
    Held,
    /// Rotated: the old secret is retired, or will be when its overlap is over.
    Rotated,
    /// The overlap of the old secret was ended.
    Finished,
    /// Re-activated.
    Live,
    /// Its limits, its expiry or another property changed; its secrets are the same.
    Changed,
}

impl KeyOutcome {
    /// Whether requests are refused that were accepted before.
    pub const fn takes(self) -> bool {
        !matches!(self, Self::Live | Self::Changed)
    }

    /// Returns the effect of an action of the audit log; `None` if it changes no key that existed before. `is_final` is
    /// whether the key is revoked for good after the change.
    pub fn of(action: &str, is_final: bool) -> Option<Self> {
        match action {
            "key.erased" => Some(Self::Ended),
            "key.revoked" if is_final => Some(Self::Ended),
            "key.revoked" => Some(Self::Withdrawn),
            "key.disabled" => Some(Self::Held),
            "key.rotated" => Some(Self::Rotated),
            "key.rotation_finished" => Some(Self::Finished),
            "key.reactivated" => Some(Self::Live),
            "key.updated" | "key.limits_reset" => Some(Self::Changed),
            _ => None,
        }
    }
}
