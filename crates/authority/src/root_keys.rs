//! Root keys: the credentials of the management API.

use crate::awaited::scope_of;
use crate::{Authority, Call, Failure};
use keyreeve_core::access::{Permission, Permissions, Reach};
use keyreeve_core::key::Prefix;
use keyreeve_core::text::{Name, Slug};
use keyreeve_core::{RootKeyId, Secret, Timestamp};
use keyreeve_store::model::RootKey;
use keyreeve_store::version::RecordKind;
use std::fmt;

/// Most root keys in a list.
const ROOT_KEYS_LISTED_MAX: u32 = 1_000;

/// A request to create a root key.
#[derive(Clone, Debug)]
pub struct RootKeyCommand {
    /// Its name.
    pub name: Name,
    /// Its permissions.
    pub permissions: Permissions,
    /// The tenants that it reaches.
    pub reach: Reach,
}

/// A new root key and its plaintext secret, for the one answer that shows it.
pub struct RootKeyWithSecret {
    /// The root key.
    pub root_key: RootKey,
    /// The secret.
    pub secret: Secret,
}

/// The use cases of root keys.
#[derive(Clone, Copy, Debug)]
pub struct RootKeyUseCases<'a>(pub(crate) &'a Authority);

impl Authority {
    /// Returns the use cases of root keys.
    pub fn root_keys(&self) -> RootKeyUseCases<'_> {
        RootKeyUseCases(self)
    }
}

impl RootKeyUseCases<'_> {
    /// Creates a root key. Its reach and permissions cannot exceed the caller's.
    pub async fn create(self, call: &Call, command: RootKeyCommand) -> Result<RootKeyWithSecret, Failure> {
        call.require(Permission::RootKeysWrite)?;
        if !call.caller.permissions.covers(command.permissions) {
            return Err(Failure::Escalation);
        }
        match &command.reach {
            Reach::Tenant(tenant) if call.caller.reaches(tenant) => {}
            Reach::Tenant(_) => return Err(Failure::NotFound),
            Reach::Instance => call.require_instance(Permission::RootKeysWrite)?,
        }
        let now = self.0.earliest();
        let made = self.new_root_key(command, now)?;
        self.0
            .store
            .create_root_key(call.context(now), made.root_key.clone())
            .await?;
        Ok(made)
    }

    /// Returns root keys: those of the caller's own tenant; for an instance caller all, or those of the tenant that it
    /// names.
    pub async fn list(self, call: &Call, named: Option<&Slug>) -> Result<Vec<RootKey>, Failure> {
        call.require(Permission::RootKeysWrite)?;
        let tenant = own_tenant(call).or_else(|| named.cloned());
        Ok(self.0.store.root_keys(tenant, ROOT_KEYS_LISTED_MAX).await?)
    }

    /// Revokes a root key that the caller may see. It is not accepted when this returns.
    pub async fn revoke(self, call: &Call, named: Option<&Slug>, id: RootKeyId) -> Result<RootKey, Failure> {
        call.require(Permission::RootKeysWrite)?;
        let began = self.0.clock.moment();
        let within = own_tenant(call).or_else(|| named.cloned());
        let changed = self
            .0
            .store
            .revoke_root_key(call.context(self.0.earliest()), within.clone(), id);
        let (revoked, revision) = match changed.await {
            Ok(changed) => changed,
            Err(error) => {
                let about = (RecordKind::RootKey, &*id.to_string());
                return Err(self.0.explained(call, within.as_ref(), about, error).await);
            }
        };
        let change = self
            .0
            .written_about(scope_of(&revoked.reach), &id.to_string(), revision)
            .await;
        self.0.effect(change, began, true).await?;
        Ok(revoked)
    }

    pub(crate) fn new_root_key(self, command: RootKeyCommand, now: Timestamp) -> Result<RootKeyWithSecret, Failure> {
        let secret = Secret::mint(&Prefix::root(), &self.0.secret_entropy()?);
        let root_key = RootKey {
            id: self.0.new_root_key_id()?,
            name: command.name,
            reach: command.reach,
            permissions: command.permissions,
            digest: secret.digest(),
            last_four: secret.last_four(),
            created_at: now,
            revoked_at: None,
        };
        Ok(RootKeyWithSecret { root_key, secret })
    }
}

fn own_tenant(call: &Call) -> Option<Slug> {
    match &call.caller.reach {
        Reach::Instance => None,
        Reach::Tenant(slug) => Some(slug.clone()),
    }
}

impl fmt::Debug for RootKeyWithSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootKeyWithSecret")
            .field("id", &self.root_key.id)
            .finish_non_exhaustive()
    }
}
