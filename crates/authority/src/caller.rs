//! The caller of a use case, and its rights.

use crate::Failure;
use keyreeve_core::access::{Actor, Permission, Permissions, Reach, Role};
use keyreeve_core::limits::Networks;
use keyreeve_core::text::{Slug, Subject};
use keyreeve_core::{Digest, RootKeyId, Timestamp, User};
use keyreeve_store::model::{Idempotency, RootKey, WriteContext};
use keyreeve_store::version::Condition;

/// A caller whose credential was verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Who it is.
    pub actor: Actor,
    /// The tenants that it reaches.
    pub reach: Reach,
    /// Its permissions.
    pub permissions: Permissions,
    /// The only owner whose keys it reaches; `None` is every owner's.
    pub own: Option<Subject>,
    /// The root key that makes the call as a user; `None` if the actor itself makes it.
    pub acting: Option<ActingRootKey>,
    /// What limits the root key that makes the call, for itself or as a user; `None` if no root key does.
    pub presented: Option<Box<PresentedRootKey>>,
}

/// The secret of a root key that makes a call, and what limits it beside its permissions. A root key gives no other one
/// more than it has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PresentedRootKey {
    /// The digest of the secret.
    pub digest: Digest,
    /// The networks that the root key may be used from.
    pub networks: Networks,
    /// When the secret stops being accepted: when the root key expires, or at the end of the secret's overlap.
    pub expires_at: Option<Timestamp>,
}

/// A root key that acts as a user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ActingRootKey {
    /// The root key.
    pub id: RootKeyId,
    /// The tenants that it reaches.
    pub reach: Reach,
}

impl Caller {
    /// Returns a root key as a caller.
    pub fn root_key(id: RootKeyId, reach: Reach, permissions: Permissions) -> Self {
        Self {
            actor: Actor::RootKey(id),
            reach,
            permissions,
            own: None,
            acting: None,
            presented: None,
        }
    }

    /// Returns the root key with the secret that it presented, and its limits.
    #[must_use]
    pub fn presenting(self, presented: PresentedRootKey) -> Self {
        Self {
            presented: Some(Box::new(presented)),
            ..self
        }
    }

    /// Whether the caller could be given a root key: it reaches no more tenants, and has no more permissions, no longer
    /// life and no other networks than the caller.
    pub(crate) fn covers(&self, root_key: &RootKey) -> bool {
        let is_within = match &root_key.reach {
            Reach::Instance => self.reach == Reach::Instance,
            Reach::Tenant(slug) => self.reaches(slug),
        };
        let is_no_longer = |own: &PresentedRootKey| match (own.expires_at, root_key.expires_at) {
            (None, _) => true,
            (Some(own), Some(end)) => end <= own,
            (Some(_), None) => false,
        };
        let is_limited = |own: &PresentedRootKey| own.networks.covers(&root_key.networks) && is_no_longer(own);
        is_within && self.permissions.covers(root_key.permissions) && self.presented.as_deref().is_none_or(is_limited)
    }

    /// Returns the caller on the machine itself. It can read the data directory and so may do everything.
    pub fn operator() -> Self {
        Self {
            actor: Actor::Operator,
            reach: Reach::Instance,
            permissions: Permissions::all(),
            own: None,
            acting: None,
            presented: None,
        }
    }

    /// Returns a user as a caller, with the permissions of the user's role.
    pub fn user(user: &User) -> Self {
        Self {
            actor: Actor::User(user.id, user.role),
            reach: Reach::Tenant(user.tenant.clone()),
            permissions: user.role.permissions(),
            own: user.subject().filter(|_| user.role.is_bound_to_own_keys()),
            acting: None,
            presented: None,
        }
    }

    /// Returns a user as whom a root key acts: limited to the permissions of both.
    #[must_use]
    pub fn acting_as(self, user: &User) -> Self {
        let as_user = Self::user(user);
        let acting = match self.actor {
            Actor::RootKey(id) => Some(ActingRootKey { id, reach: self.reach }),
            _ => None,
        };
        Self {
            permissions: as_user.permissions.both(self.permissions),
            acting,
            presented: self.presented,
            ..as_user
        }
    }

    /// Whether the caller reaches an owner's keys.
    pub fn owns(&self, subject: &Subject) -> bool {
        self.own.as_ref().is_none_or(|own| own == subject)
    }

    /// Whether the caller reaches a tenant.
    pub fn reaches(&self, tenant: &Slug) -> bool {
        self.reach.has(tenant)
    }
}

/// One management call: by whom, in which tenant, from where.
#[derive(Clone, Debug)]
pub struct Call {
    /// The caller.
    pub caller: Caller,
    /// The tenant that the call is about.
    pub tenant: Slug,
    /// The caller's network address.
    pub address: Option<Box<str>>,
    /// The id of the request.
    pub request_id: Box<str>,
    /// The caller's idempotency key, by which a retry is recognized.
    pub idempotency: Option<Idempotency>,
    /// The versions of the record that may be changed; `None` is any.
    pub only_if: Option<Condition>,
    /// Whether to answer only when a change is effective. If not, the caller can query its operation later.
    pub is_awaited: bool,
}

impl Call {
    /// Fails if the caller lacks a permission, or does not reach the tenant.
    pub fn require(&self, permission: Permission) -> Result<(), Failure> {
        if self.caller.permissions.allows(permission) && self.caller.reaches(&self.tenant) {
            Ok(())
        } else {
            Err(Failure::PermissionDenied(permission))
        }
    }

    /// Fails if the caller gives a role, or a login for it, without having its permissions.
    pub(crate) fn require_to_give(&self, role: Role) -> Result<(), Failure> {
        match self.caller.permissions.covers(role.permissions()) {
            true => Ok(()),
            false => Err(Failure::RoleBeyond(role)),
        }
    }

    /// Fails for all but the operator, who can read the database: owners set their passwords through links.
    pub fn require_to_set_passwords(&self) -> Result<(), Failure> {
        match self.caller.actor {
            Actor::Operator => Ok(()),
            _ => Err(Failure::PasswordByLink),
        }
    }

    /// Fails for a member, who must not set the limits of their own key.
    pub(crate) fn require_to_limit(&self) -> Result<(), Failure> {
        match self.caller.own {
            Some(_) => Err(Failure::OwnLimits),
            None => Ok(()),
        }
    }

    /// Fails unless an instance caller with the permission makes the call.
    pub fn require_instance(&self, permission: Permission) -> Result<(), Failure> {
        self.require(permission)?;
        match self.caller.reach {
            Reach::Instance => Ok(()),
            Reach::Tenant(_) => Err(Failure::InstanceOnly),
        }
    }

    /// Returns what the store records about the call.
    pub(crate) fn context(&self, at: Timestamp) -> WriteContext {
        WriteContext {
            at,
            actor: self.caller.actor.clone(),
            acting: self.caller.acting.as_ref().map(|root_key| root_key.id),
            secret: self.caller.presented.as_ref().map(|presented| presented.digest),
            address: self.address.clone(),
            request_id: self.request_id.clone(),
            idempotency: self.idempotency.clone(),
            only_if: self.only_if.clone(),
        }
    }
}

/// The write context for what no caller requested.
pub(crate) fn system(now: Timestamp) -> WriteContext {
    WriteContext {
        at: now,
        actor: Actor::System,
        acting: None,
        secret: None,
        address: None,
        request_id: "system".into(),
        idempotency: None,
        only_if: None,
    }
}
