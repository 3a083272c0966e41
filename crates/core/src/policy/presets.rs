//! The four presets: each has the settings of one existing system.

use super::{
    After, Confirm, Expiry, Grant, Leaks, ListDefault, Names, OwnerKeyLimit, Policy, Reactivate, ReasonRule, Reveal,
    Revoke, Rotate, Undo,
};
use crate::access::words;
use crate::key::Prefix;
use crate::limits::CountedLimits;

words!(
    /// A policy by name.
    Preset {
        /// Revoke deletes for good (Userplane).
        Erase => "erase",
        /// Revoke is a switch (Spectro Cloud Palette).
        Hold => "hold",
        /// Revoke is final and stays visible (Hyperspell).
        Keep => "keep",
        /// Revoke is final, with a reason, by API (Clerk). The default.
        Standard => "standard",
    }
);

const CHOICES_DAYS: [u32; 4] = [7, 30, 60, 90];
/// The longest overlap of the standard preset: 30 days.
const OVERLAP_SECONDS_MAX: u64 = 30 * crate::time::SECONDS_PER_DAY;

impl Preset {
    /// Returns the policy of this preset.
    pub fn policy(self) -> Policy {
        match self {
            Self::Erase => erase(),
            Self::Hold => hold(),
            Self::Keep => keep(),
            Self::Standard => standard(),
        }
    }
}

/// Userplane: three keys for each user, a fixed choice of expiries, rotation at once, typed confirmation, deletion.
fn erase() -> Policy {
    Policy {
        preset: Preset::Erase,
        names: Names::Any,
        limit: OwnerKeyLimit {
            keys_per_subject: Some(3),
            count_expired: true,
        },
        expiry: Expiry {
            choices_days: CHOICES_DAYS.to_vec(),
            custom: false,
            default_days: None,
            max_days: Some(90),
            allow_never: true,
            editable: false,
            renew_expired: false,
        },
        rotate: Rotate {
            overlap_default_seconds: 0,
            overlap_max_seconds: 0,
        },
        revoke: Revoke {
            undo: Undo::Never,
            after: After::Erase,
            confirm: Confirm::Phrase,
            reason: ReasonRule::Off,
        },
        list: ListDefault::All,
        ..standard()
    }
}

/// Palette: revoke and re-activate, by owner or administrator, any number of times.
fn hold() -> Policy {
    Policy {
        preset: Preset::Hold,
        names: Names::Any,
        limit: OwnerKeyLimit {
            keys_per_subject: Some(20),
            count_expired: true,
        },
        expiry: Expiry {
            choices_days: CHOICES_DAYS.to_vec(),
            renew_expired: true,
            ..standard().expiry
        },
        rotate: Rotate {
            overlap_default_seconds: 0,
            overlap_max_seconds: 0,
        },
        revoke: Revoke {
            undo: Undo::Always,
            after: After::Keep,
            confirm: Confirm::None,
            reason: ReasonRule::Off,
        },
        reactivate: Reactivate { sticky: false },
        list: ListDefault::All,
        reveal: Reveal::None,
        ..standard()
    }
}

/// Hyperspell: confirmed, permanent, kept and marked. Where its documentation has nothing, Keyreeve's own defaults.
fn keep() -> Policy {
    Policy {
        preset: Preset::Keep,
        names: Names::Any,
        limit: OwnerKeyLimit {
            keys_per_subject: Some(20),
            count_expired: false,
        },
        expiry: Expiry {
            choices_days: CHOICES_DAYS.to_vec(),
            default_days: Some(90),
            allow_never: false,
            ..standard().expiry
        },
        revoke: Revoke {
            undo: Undo::Never,
            after: After::Keep,
            confirm: Confirm::Dialog,
            reason: ReasonRule::Off,
        },
        list: ListDefault::All,
        reveal: Reveal::None,
        ..standard()
    }
}

/// Clerk: permanent, with an optional reason, kept out of the default list.
fn standard() -> Policy {
    Policy {
        preset: Preset::Standard,
        prefix: Prefix::standard(),
        names: Names::Unique,
        limit: OwnerKeyLimit {
            keys_per_subject: None,
            count_expired: false,
        },
        expiry: Expiry {
            choices_days: Vec::new(),
            custom: true,
            default_days: None,
            max_days: None,
            allow_never: true,
            editable: true,
            renew_expired: false,
        },
        rotate: Rotate {
            overlap_default_seconds: 0,
            overlap_max_seconds: OVERLAP_SECONDS_MAX,
        },
        revoke: Revoke {
            undo: Undo::Never,
            after: After::Hide,
            confirm: Confirm::None,
            reason: ReasonRule::Optional,
        },
        reactivate: Reactivate { sticky: true },
        list: ListDefault::Usable,
        reveal: Reveal::OwnerSafe,
        leaks: Leaks::STANDARD,
        grant: Grant::default(),
        default_limits: CountedLimits::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_preset_says_where_revoke_leads() {
        let revoke = |preset: Preset| {
            let revoke = preset.policy().revoke;
            (revoke.undo, revoke.after, revoke.confirm)
        };
        assert_eq!(revoke(Preset::Erase), (Undo::Never, After::Erase, Confirm::Phrase));
        assert_eq!(revoke(Preset::Hold), (Undo::Always, After::Keep, Confirm::None));
        assert_eq!(revoke(Preset::Keep), (Undo::Never, After::Keep, Confirm::Dialog));
        assert_eq!(revoke(Preset::Standard), (Undo::Never, After::Hide, Confirm::None));
    }

    #[test]
    fn a_preset_knows_its_own_name() {
        for &preset in Preset::ALL {
            assert_eq!(preset.policy().preset, preset);
            assert_eq!(Preset::parse(preset.as_str()), Some(preset));
        }
    }
}
