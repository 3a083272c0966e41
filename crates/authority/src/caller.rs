//! Who calls, and with what right.

use crate::Failure;
use keyreeve_core::access::{Actor, Permission, Permissions, Reach, Role};
use keyreeve_core::text::{Slug, Subject};
use keyreeve_core::{RootKeyId, Timestamp, User};
use keyreeve_store::model::{Idempotency, WriteContext};
use keyreeve_store::version::Condition;

/// Someone whose credential was checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Who.
    pub actor: Actor,
    /// Where the right reaches.
    pub reach: Reach,
    /// What it allows.
    pub permissions: Permissions,
    /// The only owner whose keys are within reach; `None` is every owner's.
    pub own: Option<Subject>,
}

impl Caller {
    /// A root key.
    pub fn root_key(id: RootKeyId, reach: Reach, permissions: Permissions) -> Self {
        Self {
            actor: Actor::RootKey(id),
            reach,
            permissions,
            own: None,
        }
    }

    /// Someone on the machine itself, who can read the data directory and so may do everything.
    pub fn operator() -> Self {
        Self {
            actor: Actor::Operator,
            reach: Reach::Instance,
            permissions: Permissions::all(),
            own: None,
        }
    }

    /// A person, with the rights of their role.
    pub fn user(user: &User) -> Self {
        Self {
            actor: Actor::User(user.id, user.role),
            reach: Reach::Tenant(user.tenant.clone()),
            permissions: user.role.permissions(),
            own: user.subject().filter(|_| user.role.is_bound_to_own_keys()),
        }
    }

    /// The same caller with no more than some permissions.
    #[must_use]
    pub fn within(self, permissions: Permissions) -> Self {
        Self {
            permissions: self.permissions.both(permissions),
            ..self
        }
    }

    /// Whether an owner's keys are within reach.
    pub fn owns(&self, subject: &Subject) -> bool {
        self.own.as_ref().is_none_or(|own| own == subject)
    }

    /// Whether the caller's right reaches a tenant.
    pub fn reaches(&self, tenant: &Slug) -> bool {
        self.reach.has(tenant)
    }
}

/// One management call: who, in which tenant, from where.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who calls.
    pub caller: Caller,
    /// The tenant that is meant.
    pub tenant: Slug,
    /// The caller's network address.
    pub address: Option<Box<str>>,
    /// The request.
    pub request_id: Box<str>,
    /// The caller's mark by which a retry is known.
    pub idempotency: Option<Idempotency>,
    /// Which versions of the record may be changed; `None` is whichever there is.
    pub only_if: Option<Condition>,
    /// Whether to answer only when a change is effective; else its operation can be asked for later.
    pub is_awaited: bool,
}

impl Call {
    /// Refuses a call whose caller lacks a permission.
    pub fn require(&self, permission: Permission) -> Result<(), Failure> {
        if self.caller.permissions.allows(permission) && self.caller.reaches(&self.tenant) {
            Ok(())
        } else {
            Err(Failure::PermissionDenied(permission))
        }
    }

    /// Refuses a caller who would give a role, or a way to log in with it, without having its permissions.
    pub(crate) fn require_to_give(&self, role: Role) -> Result<(), Failure> {
        match self.caller.permissions.covers(role.permissions()) {
            true => Ok(()),
            false => Err(Failure::RoleBeyond(role)),
        }
    }

    /// Refuses everyone but the operator, who can read the database: passwords are set by their owners, through links.
    pub fn require_to_set_passwords(&self) -> Result<(), Failure> {
        match self.caller.actor {
            Actor::Operator => Ok(()),
            _ => Err(Failure::PasswordByLink),
        }
    }

    /// Refuses a member who would say how often their own key may be used.
    pub(crate) fn require_to_limit(&self) -> Result<(), Failure> {
        match self.caller.own {
            Some(_) => Err(Failure::OwnLimits),
            None => Ok(()),
        }
    }

    /// Refuses a call that only an instance root key may make.
    pub fn require_instance(&self, permission: Permission) -> Result<(), Failure> {
        self.require(permission)?;
        match self.caller.reach {
            Reach::Instance => Ok(()),
            Reach::Tenant(_) => Err(Failure::InstanceOnly),
        }
    }

    /// What the store writes down about the call.
    pub(crate) fn context(&self, at: Timestamp) -> WriteContext {
        WriteContext {
            at,
            actor: self.caller.actor.clone(),
            address: self.address.clone(),
            request_id: self.request_id.clone(),
            idempotency: self.idempotency.clone(),
            only_if: self.only_if.clone(),
        }
    }
}
