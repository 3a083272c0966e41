//! What a change made of a key.

use keyreeve_core::KeyId;
use keyreeve_core::text::Slug;

/// What became of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyNews {
    /// The tenant.
    pub tenant: Slug,
    /// The key.
    pub id: KeyId,
    /// What became of it.
    pub fate: Fate,
}

/// What a change made of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Revoked, as the policy says, or erased.
    Ended,
    /// Disabled.
    Held,
    /// Given a new secret: the old one is dead, or will be when its overlap is over.
    Rotated,
    /// The old secret's overlap was ended.
    Finished,
    /// Given back.
    Live,
    /// Its limits, its end or another property is another one; its secrets are the same.
    Changed,
}

impl Fate {
    /// Whether somebody's requests are refused that were not before.
    pub const fn takes(self) -> bool {
        !matches!(self, Self::Live | Self::Changed)
    }

    /// What an action of the audit log makes of a key; `None` if it changes nothing of one that was there before.
    pub fn of(action: &str) -> Option<Self> {
        match action {
            "key.revoked" | "key.erased" => Some(Self::Ended),
            "key.disabled" => Some(Self::Held),
            "key.rotated" => Some(Self::Rotated),
            "key.rotation_finished" => Some(Self::Finished),
            "key.reactivated" => Some(Self::Live),
            "key.updated" | "key.limits_reset" => Some(Self::Changed),
            _ => None,
        }
    }
}
