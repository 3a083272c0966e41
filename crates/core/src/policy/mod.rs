//! A tenant's policy: one state machine, and where its verbs lead.

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
use crate::limits::Counted;

/// Everything a tenant may decide about its keys. A preset fills all of it; fields may then be set one by one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// The preset this policy started from.
    pub preset: Preset,
    /// The start of every new secret.
    pub prefix: Prefix,
    /// How names of keys may repeat.
    pub names: Names,
    /// How many keys a subject may have.
    pub limit: Limit,
    /// How long keys live.
    pub expiry: Expiry,
    /// How long an old secret may outlive its rotation.
    pub rotate: Rotate,
    /// Where "revoke" leads.
    pub revoke: Revoke,
    /// Who may lift a hold.
    pub reactivate: Reactivate,
    /// What lists show.
    pub list: ListDefault,
    /// What denials tell.
    pub reveal: Reveal,
    /// What becomes of a key whose secret was found.
    pub leaks: Leaks,
    /// What people may write into keys, by their role.
    pub grant: Grant,
    /// How often a key may be used for which nothing is said about that.
    pub default_limits: Counted,
}

/// What is done about a secret that was found where it must not be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaks {
    /// What becomes of its key.
    pub action: LeakAction,
}

impl Leaks {
    /// What holds where nothing was decided, also in policies that are older than the question.
    pub const STANDARD: Self = Self {
        action: LeakAction::Revoke,
    };
}

words!(
    /// What becomes of a key whose secret was found where it must not be. It is written down in any case.
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

/// Limits of a tenant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Most keys of one subject that count; `None` is no limit.
    pub keys_per_subject: Option<u32>,
    /// Whether an expired key still holds its place.
    pub count_expired: bool,
}

/// Rules of expiry. Whole days.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the policy by this name"
)]
pub struct Expiry {
    /// What dialogs offer.
    pub choices_days: Vec<u32>,
    /// Whether another life than the offered ones may be asked for. Where it is false, only the choices (and never, if
    /// that is allowed) are accepted.
    pub custom: bool,
    /// What a key gets when nothing is asked for; `None` is the longest that is allowed.
    pub default_days: Option<u32>,
    /// Longest finite life; `None` is no bound.
    pub max_days: Option<u32>,
    /// Whether a key may never expire. The maximum bounds only finite choices (acceptance.md, C11).
    pub allow_never: bool,
    /// Whether the expiry of a key can be changed later.
    pub editable: bool,
    /// Whether changing the expiry of an expired key makes it work again (acceptance.md, C20).
    pub renew_expired: bool,
}

/// Rules of rotation. Seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rotate {
    /// How long the old secret stays good when nothing is asked for.
    pub overlap_default_seconds: u64,
    /// The longest that may be asked for.
    pub overlap_max_seconds: u64,
}

/// Where the verb "revoke" leads, and what it asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Revoke {
    /// How long a revocation can be undone.
    pub undo: Undo,
    /// What becomes of the record.
    pub after: After,
    /// What a person must confirm.
    pub confirm: Confirm,
    /// Whether a reason is asked for.
    pub reason: ReasonRule,
}

/// How long a revocation can be undone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Undo {
    /// Revocation is final at once.
    Never,
    /// It becomes final after so many seconds.
    Seconds(u64),
    /// It can always be undone: revoke is a switch.
    Always,
}

words!(
    /// What becomes of a revoked key's record.
    After {
        /// It stays in the list.
        Keep => "keep",
        /// It stays, but not in the default list.
        Hide => "hide",
        /// It goes; the audit log stays.
        Erase => "erase",
    }
);

words!(
    /// What a person must do before a revocation.
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
    /// Whether a revocation asks for a reason.
    ReasonRule {
        /// It does not; a reason given is kept all the same.
        Off => "off",
        /// It may be given.
        Optional => "optional",
        /// It must be given.
        Required => "required",
    }
);

/// Who may lift a hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reactivate {
    /// An administrator's hold can be lifted only by an administrator.
    pub sticky: bool,
}

words!(
    /// What a list shows when nothing is asked for.
    ListDefault {
        /// Keys that could work: no revoked and no expired ones.
        Usable => "usable",
        /// All keys.
        All => "all",
    }
);

words!(
    /// What a denial tells to someone who presented the full, correct secret.
    Reveal {
        /// Nothing: every denial of the key itself is `API_KEY_INVALID`.
        None => "none",
        /// Disabled and expired are told apart.
        OwnerSafe => "owner_safe",
    }
);
