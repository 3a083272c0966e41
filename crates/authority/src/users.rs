//! People with a login in a tenant.

use crate::{Authority, Call, Caller, Effect, Failure};
use keyreeve_core::access::{Actor, Permission, Role};
use keyreeve_core::text::Name;
use keyreeve_core::user::{Email, PasswordDigest, Status, UserEdit};
use keyreeve_core::{User, UserId};
use keyreeve_store::model::UserChange;

/// Most users a list gives.
const USERS_LISTED_MAX: u32 = 1_000;

/// A wish for a user.
#[derive(Clone, Debug)]
pub struct UserCommand {
    /// What the user logs in with.
    pub email: Email,
    /// What people call the user.
    pub name: Option<Name>,
    /// The role.
    pub role: Role,
    /// The password, already digested; `None` is no login by password yet.
    pub password: Option<PasswordDigest>,
}

impl Authority {
    /// Makes a user of the caller's tenant.
    pub async fn create_user(&self, call: &Call, command: UserCommand) -> Result<User, Failure> {
        call.require(Permission::UsersWrite)?;
        let now = self.now();
        let user = User {
            id: self.new_user_id()?,
            tenant: call.tenant.clone(),
            email: command.email,
            name: command.name,
            role: command.role,
            status: Status::Active,
            password: command.password,
            created_at: now,
            updated_at: now,
        };
        self.store.create_user(call.context(now), user.clone()).await?;
        Ok(user)
    }

    /// Users of the caller's tenant, oldest first. Auditors read them too.
    pub async fn users(&self, call: &Call, after: Option<UserId>) -> Result<Vec<User>, Failure> {
        require_reading(call)?;
        Ok(self.store.users(&call.tenant, after, USERS_LISTED_MAX).await?)
    }

    /// One user of the caller's tenant.
    pub async fn user(&self, call: &Call, id: UserId) -> Result<User, Failure> {
        require_reading(call)?;
        self.store.user(&call.tenant, id).await?.ok_or(Failure::NotFound)
    }

    /// Changes a user. Suspending or removing one blocks all their keys; when this returns, none is accepted.
    pub async fn change_user(&self, call: &Call, id: UserId, edit: UserEdit) -> Result<(User, Effect), Failure> {
        call.require(Permission::UsersWrite)?;
        let began = self.now();
        let change = UserChange {
            tenant: call.tenant.clone(),
            id,
            edit,
            is_forced: call.caller.actor == Actor::Operator,
        };
        let (user, revision) = self.store.change_user(call.context(began), change).await?;
        let effect = self.effect(revision, began, call.is_awaited).await?;
        Ok((user, effect))
    }

    /// The caller that a user is, for a root key that may act as users. Somebody who is suspended can do nothing.
    pub async fn act_as(&self, call: &Call, id: UserId) -> Result<Caller, Failure> {
        call.require(Permission::UsersAct)?;
        let user = self.store.user(&call.tenant, id).await?.ok_or(Failure::NotFound)?;
        match user.status {
            Status::Active => Ok(Caller::user(&user)),
            Status::Suspended | Status::Removed => Err(Failure::PermissionDenied(Permission::UsersAct)),
        }
    }
}

fn require_reading(call: &Call) -> Result<(), Failure> {
    call.require(Permission::UsersWrite)
        .or_else(|_| call.require(Permission::AuditRead))
}
