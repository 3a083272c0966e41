//! A tenant's policy: the parameters of the key lifecycle.

mod check;
mod grant;
mod presets;
mod rules;

pub use check::{Contradiction, Misfit};
pub use grant::{Grant, MemberGrant};
pub use presets::Preset;
pub use rules::{ExpiryWish, OverlapWish, Violation};

use crate::access::words;
use crate::key::Prefix;
use crate::limits::CountedLimits;

/// All settings of a tenant for its keys. A preset fills all of them; fields may then be set individually.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// The preset this policy started from.
    pub preset: Preset,
    /// The prefix of every new secret.
    pub prefix: Prefix,
    /// Whether names of keys may repeat.
    pub names: Names,
    /// How many keys a subject may have.
    pub limit: OwnerKeyLimit,
    /// The lifetime of keys.
    pub expiry: Expiry,
    /// How long an old secret is accepted after its rotation.
    pub rotate: Rotate,
    /// What revoking does.
    pub revoke: Revoke,
    /// Who may lift a hold.
    pub reactivate: Reactivate,
    /// What lists show.
    pub list: ListDefault,
    /// What denials reveal.
    pub reveal: Reveal,
    /// What happens to a key whose secret was reported as leaked.
    pub leaks: Leaks,
    /// What users may write into keys, by their role.
    pub grant: Grant,
    /// The limits of a key that is created without any.
    pub default_limits: CountedLimits,
}

/// The handling of leaked secrets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaks {
    /// What happens to the key.
    pub action: LeakAction,
}

impl Leaks {
    /// The default, also of policies that were stored before this field existed.
    pub const STANDARD: Self = Self {
        action: LeakAction::Revoke,
    };
}

words!(
    /// What happens to a key whose secret was reported as leaked. The report is logged in any case.
    LeakAction {
        /// It is revoked for good.
        Revoke => "revoke",
        /// It is put on hold until an administrator lifts it.
        Hold => "hold",
        /// Nothing.
        Notify => "notify",
    }
);

words!(
    /// Whether two usable keys of one subject may have the same name.
    Names {
        /// They may not (Clerk: 409 `token_creation_conflict`).
        Unique => "unique",
        /// They may.
        Any => "any",
    }
);

/// The limit of keys of a tenant's owners.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnerKeyLimit {
    /// Most keys of one subject that count; `None` is no limit.
    pub keys_per_subject: Option<u32>,
    /// Whether an expired key still counts.
    pub count_expired: bool,
}

/// Rules of expiry, in days.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the policy by this name"
)]
pub struct Expiry {
    /// The choices that dialogs offer.
    pub choices_days: Vec<u32>,
    /// Whether other lifetimes than the choices may be requested. If not, only the choices (and never, if that is
    /// allowed) are accepted.
    pub custom: bool,
    /// The expiry of a key without a requested one; `None` is the longest that is allowed.
    pub default_days: Option<u32>,
    /// The longest finite lifetime; `None` is no bound.
    pub max_days: Option<u32>,
    /// Whether a key may never expire. `max_days` bounds finite lifetimes only, so a policy may have both.
    pub allow_never: bool,
    /// Whether the expiry of a key can be changed later.
    pub editable: bool,
    /// Whether a new expiry makes an expired key work again. If not, only a rotation with a new expiry does.
    pub renew_expired: bool,
}

/// Rules of rotation, in seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rotate {
    /// How long the old secret is accepted if no overlap is requested.
    pub overlap_default_seconds: u64,
    /// The longest overlap that may be requested.
    pub overlap_max_seconds: u64,
}

/// What revoking does, and what it requires.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Revoke {
    /// How long a revocation can be undone.
    pub undo: Undo,
    /// What happens to the record.
    pub after: After,
    /// What a user must confirm.
    pub confirm: Confirm,
    /// Whether a reason is required.
    pub reason: ReasonRule,
}

/// How long a revocation can be undone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Undo {
    /// Revocation is final at once.
    Never,
    /// It becomes final after this many seconds.
    Seconds(u64),
    /// It can always be undone: revoking is a switch.
    Always,
}

words!(
    /// What happens to a revoked key's record.
    After {
        /// It stays in the list.
        Keep => "keep",
        /// It stays, but not in the default list.
        Hide => "hide",
        /// It is deleted; the audit log stays.
        Erase => "erase",
    }
);

words!(
    /// What a user must do before a revocation.
    Confirm {
        /// Nothing.
        None => "none",
        /// Press a second button.
        Dialog => "dialog",
        /// Type REVOKE.
        Phrase => "phrase",
    }
);

words!(
    /// Whether a revocation requires a reason.
    ReasonRule {
        /// It is not asked for; a given one is still stored.
        Off => "off",
        /// It may be given.
        Optional => "optional",
        /// It must be given.
        Required => "required",
    }
);

/// Rules for lifting a hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reactivate {
    /// Whether an administrator's hold can be lifted only by an administrator.
    pub sticky: bool,
}

words!(
    /// What a list shows without a filter.
    ListDefault {
        /// Keys that could be accepted: no revoked and no expired ones.
        Usable => "usable",
        /// All keys.
        All => "all",
    }
);

words!(
    /// What a denial reveals to a caller who presented the complete, correct secret.
    Reveal {
        /// Nothing: every denial of the key itself is `API_KEY_INVALID`.
        None => "none",
        /// Disabled and expired have their own codes.
        OwnerSafe => "owner_safe",
    }
);
