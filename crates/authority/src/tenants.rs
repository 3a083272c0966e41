//! Tenants, and the bootstrap of an instance.

use crate::root_keys::{RootKeyCommand, RootKeyWithSecret};
use crate::{Authority, Call, Effect, Failure};
use keyreeve_core::Secret;
use keyreeve_core::access::{Actor, Permission, Permissions, Reach};
use keyreeve_core::coherence::holding::{ChangeScope, Span};
use keyreeve_core::policy::Preset;
use keyreeve_core::text::{Name, Slug, TextError};
use keyreeve_core::user::Status;
use keyreeve_store::model::{Bootstrap, Tenant, TenantEdit, WriteContext};
use keyreeve_store::version::RecordKind;

/// The tenant that every instance has.
pub const DEFAULT_TENANT: &str = "default";
/// Most tenants on one page.
const TENANTS_LISTED_MAX: u32 = 1_000;

/// A request to create a tenant.
#[derive(Clone, Debug)]
pub struct TenantCommand {
    /// Its short name.
    pub slug: Slug,
    /// Its display name.
    pub name: Name,
    /// The preset that its policy starts from.
    pub preset: Preset,
}

impl Authority {
    /// On an empty store, creates the tenant `default` and an instance root key, and passes its secret to `show` before
    /// the commit; if `show` fails, nothing is created. Safe when several processes start at once: exactly one of them
    /// creates, and only that one shows a secret.
    ///
    /// After an error the shown secret may be of no use ([`Failure::OutcomeUnknown`]), or it is of none (any other
    /// error).
    pub async fn found(
        &self,
        show: impl FnOnce(&Secret) -> Result<(), String> + Send + 'static,
    ) -> Result<Bootstrap, Failure> {
        let now = self.earliest();
        let text = |_: TextError| Failure::Internal("a built-in name is not a name".to_owned());
        let tenant = Tenant {
            slug: Slug::parse(DEFAULT_TENANT).map_err(text)?,
            name: Name::parse("Default").map_err(text)?,
            status: Status::Active,
            policy: Preset::Standard.policy(),
            created_at: now,
        };
        let made = self.root_keys().new_root_key(
            None,
            RootKeyCommand::new(
                Name::parse("first root key").map_err(text)?,
                Permissions::all(),
                Reach::Instance,
            ),
            now,
        )?;
        let context = WriteContext {
            at: now,
            actor: Actor::System,
            acting: None,
            secret: None,
            address: None,
            request_id: "founding".into(),
            idempotency: None,
            only_if: None,
        };
        let RootKeyWithSecret { root_key, secret } = made;
        let show = Box::new(move || show(&secret));
        Ok(self.store.found(context, tenant, root_key, show).await?)
    }

    /// Whether there is a tenant.
    pub async fn is_founded(&self) -> Result<bool, Failure> {
        Ok(!self.store.tenants(None, 1).await?.is_empty())
    }

    /// Advances the memory to the store's present revision, so that the first verdict has it.
    pub async fn catch_up(&self) -> Result<(), Failure> {
        let head = self.store.head().await?;
        if self.node.is_none() {
            self.verifier.caught_up(head.revision);
        }
        Ok(())
    }
}

/// The use cases of tenants.
#[derive(Clone, Copy, Debug)]
pub struct TenantUseCases<'a>(pub(crate) &'a Authority);

impl Authority {
    /// Returns the use cases of tenants.
    pub fn tenants(&self) -> TenantUseCases<'_> {
        TenantUseCases(self)
    }
}

impl TenantUseCases<'_> {
    /// Creates a tenant with its first root key, which has every permission in that tenant, and the expiry and the networks
    /// of the caller.
    pub async fn create(self, call: &Call, command: TenantCommand) -> Result<(Tenant, RootKeyWithSecret), Failure> {
        call.require_instance(Permission::TenantsWrite)?;
        let now = self.0.earliest();
        let permissions = Permission::ALL
            .iter()
            .copied()
            .filter(|&one| one != Permission::TenantsWrite)
            .collect();
        let name = Name::parse("first root key").map_err(|error| Failure::Internal(error.to_string()))?;
        let root_key = RootKeyCommand::new(name, permissions, Reach::Tenant(command.slug.clone()));
        let own = call.caller.presented.as_deref();
        let made = self.0.root_keys().new_root_key(own, root_key, now)?;
        let tenant = Tenant {
            slug: command.slug,
            name: command.name,
            status: Status::Active,
            policy: command.preset.policy(),
            created_at: now,
        };
        self.0
            .store
            .create_tenant(call.context(now), tenant.clone(), made.root_key.clone())
            .await?;
        Ok((tenant, made))
    }

    /// Returns all tenants.
    pub async fn list(self, call: &Call) -> Result<Vec<Tenant>, Failure> {
        call.require_instance(Permission::TenantsWrite)?;
        Ok(self.0.store.tenants(None, TENANTS_LISTED_MAX).await?)
    }

    /// Returns one tenant.
    pub async fn get(self, call: &Call, slug: &Slug) -> Result<Tenant, Failure> {
        call.require_instance(Permission::TenantsWrite)?;
        let tenant = self.0.store.tenant(slug).await?;
        let is_there = |tenant: &Tenant| tenant.status != Status::Removed;
        tenant.filter(is_there).ok_or(Failure::NotFound)
    }

    /// Renames, suspends, opens or removes a tenant. Its keys are blocked, or evaluated again, when this returns. A
    /// removal is final: the tenant's root keys are revoked, and its slug is not given to another one.
    pub async fn change(self, call: &Call, slug: Slug, edit: TenantEdit) -> Result<(Tenant, Effect), Failure> {
        call.require_instance(Permission::TenantsWrite)?;
        let began = self.0.clock.moment();
        let changed = self
            .0
            .store
            .change_tenant(call.context(self.0.earliest()), slug.clone(), edit);
        let (tenant, revision) = match changed.await {
            Ok(changed) => changed,
            Err(error) => {
                let about = (RecordKind::Tenant, slug.as_str());
                return Err(self.0.explained(call, Some(&slug), about, error).await);
            }
        };
        let scope = ChangeScope::Tenant(tenant.slug.clone());
        let mut change = self.0.written_about(scope, tenant.slug.as_str(), revision).await;
        // Its removal also ends its root keys, in entries of their own.
        change.spans.push(Span::one(revision));
        let effect = self.0.effect(change, began, call.is_awaited).await?;
        Ok((tenant, effect))
    }

    /// Whether a tenant exists, mostly from memory.
    pub async fn exists(self, slug: &Slug) -> Result<bool, Failure> {
        match self.0.gate_of(slug).await {
            Ok(gate) => Ok(!gate.is_removed()),
            Err(Failure::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
