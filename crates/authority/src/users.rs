//! Users of a tenant.

use crate::keys::{Listing, ShownKeys};
use crate::sign_in::TENANTS_OF_PERSON_MAX;
use crate::{Authority, Call, Caller, Effect, Failure};
use keyreeve_core::access::{Actor, Permission, Role};
use keyreeve_core::coherence::holding::ChangeScope;
use keyreeve_core::lifecycle::Standing;
use keyreeve_core::text::Name;
use keyreeve_core::user::{Email, PasswordDigest, Status, UserEdit};
use keyreeve_core::{User, UserId};
use keyreeve_store::model::{Total, UserChange};
use keyreeve_store::version::RecordKind;

/// Most users in a list.
const USERS_LISTED_MAX: u32 = 1_000;

/// A changed user and how far the change has got.
#[derive(Debug)]
pub struct UserChanged {
    /// The user as it is now.
    pub user: User,
    /// How many of the user's keys this change blocked, or unblocked.
    pub keys: u32,
    /// How far the change has got.
    pub effect: Effect,
}

/// A request to create a user.
#[derive(Clone, Debug)]
pub struct UserCommand {
    /// The login name.
    pub email: Email,
    /// The display name.
    pub name: Option<Name>,
    /// The role.
    pub role: Role,
    /// The password, already digested; `None` is no login by password yet.
    pub password: Option<PasswordDigest>,
}

/// The use cases of a tenant's users.
#[derive(Clone, Copy, Debug)]
pub struct UserUseCases<'a>(pub(crate) &'a Authority);

impl Authority {
    /// Returns the use cases of a tenant's users.
    pub fn users(&self) -> UserUseCases<'_> {
        UserUseCases(self)
    }
}

impl UserUseCases<'_> {
    /// Creates a user of the caller's tenant.
    pub async fn create(self, call: &Call, command: UserCommand) -> Result<User, Failure> {
        call.require(Permission::UsersWrite)?;
        call.require_to_give(command.role)?;
        if command.password.is_some() {
            call.require_to_set_passwords()?;
        }
        let now = self.0.earliest();
        let user = User {
            id: self.0.new_user_id()?,
            tenant: call.tenant.clone(),
            email: command.email,
            name: command.name,
            role: command.role,
            status: Status::Active,
            password: command.password,
            created_at: now,
            updated_at: now,
        };
        self.0.store.create_user(call.context(now), user.clone()).await?;
        Ok(user)
    }

    /// Returns users of the caller's tenant, oldest first. Auditors may read them too.
    pub async fn list(self, call: &Call, after: Option<UserId>) -> Result<Vec<User>, Failure> {
        require_reading(call)?;
        Ok(self.0.store.users(&call.tenant, after, USERS_LISTED_MAX).await?)
    }

    /// Returns one user of the caller's tenant.
    pub async fn get(self, call: &Call, id: UserId) -> Result<User, Failure> {
        require_reading(call)?;
        self.0.store.user(&call.tenant, id).await?.ok_or(Failure::NotFound)
    }

    /// The user of the caller's tenant who has an address and is not removed.
    pub async fn of_email(self, call: &Call, email: &Email) -> Result<Option<User>, Failure> {
        require_reading(call)?;
        let people = self.0.store.people(email, TENANTS_OF_PERSON_MAX).await?;
        Ok(people.into_iter().find(|user| user.tenant == call.tenant))
    }

    /// Changes a user. Suspending or removing one blocks all their keys; when this returns, none is accepted.
    pub async fn change(self, call: &Call, id: UserId, edit: UserEdit) -> Result<UserChanged, Failure> {
        call.require(Permission::UsersWrite)?;
        if edit.password.is_some() {
            call.require_to_set_passwords()?;
        }
        let began = self.0.clock.moment();
        let change = UserChange {
            tenant: call.tenant.clone(),
            id,
            edit,
            giver: call.caller.permissions,
            is_forced: call.caller.actor == Actor::Operator,
        };
        let changed = match self.0.store.change_user(call.context(self.0.earliest()), change).await {
            Ok(changed) => changed,
            Err(error) => {
                let about = (RecordKind::User, &*id.to_string());
                return Err(self.0.explained(call, Some(&call.tenant), about, error).await);
            }
        };
        let change = self
            .0
            .written_about(
                ChangeScope::Tenant(call.tenant.clone()),
                &id.to_string(),
                changed.revision,
            )
            .await;
        let effect = self.0.effect(change, began, call.is_awaited).await?;
        Ok(UserChanged {
            user: changed.user,
            keys: changed.keys,
            effect,
        })
    }

    /// Counts the keys of a user that work now: those that a suspension or removal would block.
    pub async fn working_keys(self, call: &Call, user: &User) -> Result<Total, Failure> {
        let listing = Listing {
            subject: user.subject(),
            ..Listing::first(ShownKeys::Only(Standing::Active), 1)
        };
        Ok(self.0.keys().list(call, listing).await?.total.unwrap_or_default())
    }

    /// Returns a user as a caller, for a root key that may act as users: with the permissions that both the user and
    /// the root key have. A suspended user has none.
    pub async fn act_as(self, call: &Call, id: UserId) -> Result<Caller, Failure> {
        call.require(Permission::UsersAct)?;
        let user = self.0.store.user(&call.tenant, id).await?.ok_or(Failure::NotFound)?;
        match user.status {
            Status::Active => Ok(call.caller.clone().acting_as(&user)),
            Status::Suspended | Status::Removed => Err(Failure::PermissionDenied(Permission::UsersAct)),
        }
    }
}

fn require_reading(call: &Call) -> Result<(), Failure> {
    call.require(Permission::UsersWrite)
        .or_else(|_| call.require(Permission::AuditRead))
}
