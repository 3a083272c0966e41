//! Check policies as they are stored.

use keyreeve_core::check::CheckPolicyEdit;
use keyreeve_core::text::{CheckPolicyName, Slug};
use keyreeve_core::{CheckPolicy, Timestamp};

/// A check policy of a tenant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckPolicyRecord {
    /// The tenant.
    pub tenant: Slug,
    /// The policy.
    pub policy: CheckPolicy,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A request to change a check policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CheckPolicyChange {
    /// Create it.
    Create(CheckPolicy),
    /// Change some of it. The built-in policy is stored when it is first changed.
    Update(CheckPolicyName, CheckPolicyEdit),
    /// Remove it. The built-in policy is reset to its defaults.
    Remove(CheckPolicyName),
}

impl CheckPolicyChange {
    /// Returns the name of the policy.
    pub fn name(&self) -> &CheckPolicyName {
        match self {
            Self::Create(policy) => &policy.name,
            Self::Update(name, _) | Self::Remove(name) => name,
        }
    }
}

/// The result of a change of a check policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChangedCheckPolicy {
    /// The policy as it is stored now; as it was, if this removed it; `None` if it is the built-in one and not stored.
    pub record: Option<CheckPolicyRecord>,
    /// The newest revision with it.
    pub revision: u64,
}
