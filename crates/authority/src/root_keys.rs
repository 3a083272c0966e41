//! Root keys: the credentials of the management API.

use crate::awaited::scope_of;
use crate::caller::PresentedRootKey;
use crate::{Authority, Call, Failure};
use keyreeve_core::access::{Permission, Permissions, Reach};
use keyreeve_core::coherence::Moment;
use keyreeve_core::key::Prefix;
use keyreeve_core::limits::Networks;
use keyreeve_core::policy::ExpiryWish;
use keyreeve_core::text::{Name, Slug};
use keyreeve_core::{RootKeyId, Secret, Timestamp};
use keyreeve_store::WriteError;
use keyreeve_store::model::{Replay, RootKey, RootKeyRotation};
use keyreeve_store::version::RecordKind;
use std::fmt;

/// Most root keys in a list.
const ROOT_KEYS_LISTED_MAX: u32 = 1_000;

/// The longest overlap of a rotation: 30 days, in seconds.
pub const ROOT_OVERLAP_SECONDS_MAX: u64 = 30 * 86_400;
/// The longest time until a root key expires: 100 years, in seconds.
pub const ROOT_EXPIRY_SECONDS_MAX: u64 = 100 * 31_557_600;

/// A request to create a root key.
#[derive(Clone, Debug)]
pub struct RootKeyCommand {
    /// Its name.
    pub name: Name,
    /// Its permissions.
    pub permissions: Permissions,
    /// The tenants that it reaches.
    pub reach: Reach,
    /// When it expires; unset is when the caller does.
    pub expiry: ExpiryWish,
    /// The networks that it may be used from; `None` is those of the caller.
    pub networks: Option<Networks>,
}

impl RootKeyCommand {
    /// Returns a request for a root key with the expiry and the networks of the caller.
    pub fn new(name: Name, permissions: Permissions, reach: Reach) -> Self {
        Self {
            name,
            permissions,
            reach,
            expiry: ExpiryWish::Unsaid,
            networks: None,
        }
    }
}

/// A request to give a root key a new secret.
#[derive(Clone, Copy, Debug)]
pub struct RotateRootKeyCommand {
    /// How long the present secret is still accepted, in seconds.
    pub overlap_seconds: u64,
    /// A new expiry; unset keeps the present one.
    pub expiry: ExpiryWish,
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
    /// Creates a root key. It gets nothing that the caller does not have: reach, permissions, life and networks.
    pub async fn create(self, call: &Call, command: RootKeyCommand) -> Result<RootKeyWithSecret, Failure> {
        call.require(Permission::RootKeysWrite)?;
        match &command.reach {
            Reach::Tenant(tenant) if call.caller.reaches(tenant) => {}
            Reach::Tenant(_) => return Err(Failure::NotFound),
            Reach::Instance => call.require_instance(Permission::RootKeysWrite)?,
        }
        let now = self.0.earliest();
        let made = self.new_root_key(call.caller.presented.as_deref(), command, now)?;
        if !call.caller.covers(&made.root_key) {
            return Err(Failure::Escalation);
        }
        self.0
            .store
            .create_root_key(call.context(now), made.root_key.clone())
            .await?;
        Ok(made)
    }

    /// Gives a root key a new secret. When this returns, the old one is accepted nowhere, or nowhere beyond the overlap. A
    /// retry with the same idempotency key whose secret was never presented gets another one in its place; if it was
    /// presented, the error is [`Failure::AlreadyCompleted`].
    pub async fn rotate(
        self,
        call: &Call,
        named: Option<&Slug>,
        id: RootKeyId,
        command: RotateRootKeyCommand,
    ) -> Result<RootKeyWithSecret, Failure> {
        call.require(Permission::RootKeysWrite)?;
        let began = self.0.clock.moment();
        if call.idempotency.is_some() {
            self.0.flush_root_key_uses().await;
        }
        let now = self.0.earliest();
        let secret = Secret::mint(&Prefix::root(), &self.0.secret_entropy()?);
        let caller = call.caller.clone();
        let within = own_tenant(call).or_else(|| named.cloned());
        let rotation = RootKeyRotation {
            tenant: within.clone(),
            id,
            digest: secret.digest(),
            last_four: secret.last_four(),
            overlap_seconds: command.overlap_seconds,
            expires_at: new_expiry(command.expiry, now),
            may_hold: Box::new(move |root_key| caller.covers(root_key)),
        };
        let rotated = match self.0.store.rotate_root_key(call.context(now), rotation).await {
            Ok(rotated) => rotated,
            Err(error) => return Err(self.explained(call, within.as_ref(), id, error).await),
        };
        if rotated.replay == Replay::Completed {
            return Err(Failure::AlreadyCompleted(Vec::new()));
        }
        let root_key = rotated.root_key;
        self.wait_for((&root_key, rotated.revision), began).await?;
        Ok(RootKeyWithSecret { root_key, secret })
    }

    /// Ends the overlap of a rotation now. When this returns, the old secret is accepted nowhere.
    pub async fn finish_rotation(self, call: &Call, named: Option<&Slug>, id: RootKeyId) -> Result<RootKey, Failure> {
        call.require(Permission::RootKeysWrite)?;
        let began = self.0.clock.moment();
        let within = own_tenant(call).or_else(|| named.cloned());
        let context = call.context(self.0.earliest());
        let changed = self.0.store.finish_root_key_rotation(context, within.clone(), id).await;
        let (finished, revision) = match changed {
            Ok(changed) => changed,
            Err(error) => return Err(self.explained(call, within.as_ref(), id, error).await),
        };
        self.wait_for((&finished, revision), began).await?;
        Ok(finished)
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
            Err(error) => return Err(self.explained(call, within.as_ref(), id, error).await),
        };
        self.wait_for((&revoked, revision), began).await?;
        Ok(revoked)
    }

    async fn explained(self, call: &Call, within: Option<&Slug>, id: RootKeyId, error: WriteError) -> Failure {
        let about = (RecordKind::RootKey, &*id.to_string());
        self.0.explained(call, within, about, error).await
    }

    /// Waits until a change of a root key is effective everywhere.
    async fn wait_for(self, (root_key, revision): (&RootKey, u64), began: Moment) -> Result<(), Failure> {
        let (scope, id) = (scope_of(&root_key.reach), root_key.id.to_string());
        let change = self.0.written_about(scope, &id, revision).await;
        self.0.effect(change, began, true).await.map(drop)
    }

    /// Makes a root key. What the request leaves open is as the caller's own root key has it.
    pub(crate) fn new_root_key(
        self,
        own: Option<&PresentedRootKey>,
        command: RootKeyCommand,
        now: Timestamp,
    ) -> Result<RootKeyWithSecret, Failure> {
        let secret = Secret::mint(&Prefix::root(), &self.0.secret_entropy()?);
        let root_key = RootKey {
            id: self.0.new_root_key_id()?,
            name: command.name,
            reach: command.reach,
            permissions: command.permissions,
            networks: command
                .networks
                .or_else(|| Some(own?.networks.clone()))
                .unwrap_or_default(),
            digest: secret.digest(),
            last_four: secret.last_four(),
            retiring: None,
            is_presented: false,
            created_at: now,
            rotated_at: None,
            expires_at: match new_expiry(command.expiry, now) {
                Some(end) => end,
                None => own.and_then(|own| own.expires_at),
            },
            last_used_at: None,
            revoked_at: None,
        };
        Ok(RootKeyWithSecret { root_key, secret })
    }
}

/// Returns the requested expiry; `None` if none is requested.
#[expect(
    clippy::option_option,
    reason = "the outer one is that nothing is requested, the inner that it never expires"
)]
fn new_expiry(wish: ExpiryWish, now: Timestamp) -> Option<Option<Timestamp>> {
    match wish {
        ExpiryWish::Unsaid => None,
        ExpiryWish::Never => Some(None),
        ExpiryWish::InSeconds(seconds) => Some(Some(now.plus_seconds(seconds))),
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
