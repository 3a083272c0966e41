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
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A wish to change a check policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CheckPolicyChange {
    /// Make it.
    Create(CheckPolicy),
    /// Change some of it. The built-in policy is stored when it is first changed.
    Update(CheckPolicyName, CheckPolicyEdit),
    /// Remove it. The built-in policy is again what it was.
    Remove(CheckPolicyName),
}

impl CheckPolicyChange {
    /// Which policy it is about.
    pub fn name(&self) -> &CheckPolicyName {
        match self {
            Self::Create(policy) => &policy.name,
            Self::Update(name, _) | Self::Remove(name) => name,
        }
    }
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChangedCheckPolicy {
    /// The policy as it is stored now; as it was, if this removed it; `None` if it is the built-in one and not stored.
    pub record: Option<CheckPolicyRecord>,
    /// The newest revision with it.
    pub revision: u64,
}
