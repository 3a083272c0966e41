//! Creates and revokes root keys.

use super::audit_log::{Target, append, made};
use super::{Written, recheck_actor, require_version};
use crate::describe;
use crate::error::WriteError;
use crate::model::{AuditDraft, RootKey, WriteContext};
use crate::store::Commit;
use crate::tx::Tx;
use crate::version::Version;
use keyreeve_core::RootKeyId;
use keyreeve_core::access::{Actor, Permission, Reach};
use keyreeve_core::audit::Action;
use keyreeve_core::text::Slug;

pub(crate) async fn create_root_key(
    tx: &mut dyn Tx,
    context: &WriteContext,
    root_key: &RootKey,
) -> Result<Written<u64>, WriteError> {
    recheck_root_actor(tx, context, root_key).await?;
    if let Reach::Tenant(slug) = &root_key.reach {
        tx.tenant(slug).await?.ok_or(WriteError::NotFound)?;
    }
    tx.insert_root_key(root_key).await?;
    let entry = (
        target(root_key),
        made(Action::RootKeyCreated, describe::root_key(root_key)),
    );
    let revision = append(tx, context, vec![entry]).await?;
    Ok(Written {
        value: revision,
        commit: Commit {
            revision,
            tenant: bound_to(root_key),
            root_keys: vec![root_key.digest],
            ..Commit::default()
        },
    })
}

pub(crate) async fn revoke_root_key(
    tx: &mut dyn Tx,
    context: &WriteContext,
    tenant: Option<&Slug>,
    id: RootKeyId,
) -> Result<Written<(RootKey, u64)>, WriteError> {
    let mut root_key = found(tx, context, tenant, id).await?;
    require_version(context, || Version::of_root_key(&root_key))?;
    let mut commit = Commit::default();
    let mut entries = Vec::new();
    if root_key.revoked_at.is_none() {
        refuse_last(tx, context, &root_key).await?;
        entries.push(revoke(tx, context, root_key.clone(), &mut commit).await?);
        root_key.revoked_at = Some(context.at);
    }
    commit.revision = append(tx, context, entries).await?;
    commit.tenant = bound_to(&root_key);
    let value = (root_key, commit.revision);
    Ok(Written { value, commit })
}

/// Returns a root key, if it is bound to `tenant` or that is `None`, after the actor was checked again.
pub(super) async fn found(
    tx: &mut dyn Tx,
    context: &WriteContext,
    tenant: Option<&Slug>,
    id: RootKeyId,
) -> Result<RootKey, WriteError> {
    let found = tx.root_key(id).await?;
    let within = |root_key: &RootKey| tenant.is_none_or(|slug| root_key.reach == Reach::Tenant(slug.clone()));
    let root_key = found.filter(within).ok_or(WriteError::NotFound)?;
    recheck_root_actor(tx, context, &root_key).await?;
    Ok(root_key)
}

/// Revokes a root key that is not revoked yet. Returns the audit entry to write.
pub(super) async fn revoke(
    tx: &mut dyn Tx,
    context: &WriteContext,
    mut root_key: RootKey,
    commit: &mut Commit,
) -> Result<(Target, AuditDraft), WriteError> {
    let before = describe::root_key(&root_key);
    tx.set_root_key_revoked(root_key.id, context.at).await?;
    root_key.revoked_at = Some(context.at);
    let mut secrets = tx.replaced_root_secrets(root_key.id).await?;
    secrets.push(root_key.digest);
    secrets.extend(root_key.retiring.as_ref().map(|old| old.digest));
    commit.root_keys.extend_from_slice(&secrets);
    commit.ended_root_keys.extend(secrets);
    commit.revoked_root_keys.push(root_key.id);
    let draft = AuditDraft {
        action: Action::RootKeyRevoked,
        reason: None,
        before: Some(before),
        after: Some(describe::root_key(&root_key)),
    };
    Ok((target(&root_key), draft))
}

/// Refuses to end the instance's last root key that can create others, except on the machine itself, where another
/// can be created. A tenant's root key can be created again by one of the instance.
///
/// One that expires does not replace one that does not: it would end later without this check.
pub(super) async fn refuse_last(tx: &mut dyn Tx, context: &WriteContext, root_key: &RootKey) -> Result<(), WriteError> {
    let makes_others = |one: &RootKey| one.permissions.allows(Permission::RootKeysWrite) && !one.is_expired(context.at);
    if root_key.reach != Reach::Instance || context.actor == Actor::Operator || !makes_others(root_key) {
        return Ok(());
    }
    let replaces = |other: &RootKey| {
        other.id != root_key.id && makes_others(other) && (other.expires_at.is_none() || root_key.expires_at.is_some())
    };
    match tx.live_root_keys(None).await?.iter().any(replaces) {
        true => Ok(()),
        false => Err(WriteError::LastRootKey),
    }
}

/// Root keys are managed by root keys or on the machine itself, never by an API key; the slug is not used then.
async fn recheck_root_actor(tx: &mut dyn Tx, context: &WriteContext, root_key: &RootKey) -> Result<(), WriteError> {
    match &root_key.reach {
        Reach::Tenant(slug) => recheck_actor(tx, context, slug).await,
        Reach::Instance => match Slug::parse("instance") {
            Ok(slug) => recheck_actor(tx, context, &slug).await,
            Err(_) => Err(WriteError::ActorGone),
        },
    }
}

pub(super) fn bound_to(root_key: &RootKey) -> Option<Slug> {
    match &root_key.reach {
        Reach::Instance => None,
        Reach::Tenant(slug) => Some(slug.clone()),
    }
}

pub(super) fn target(root_key: &RootKey) -> Target {
    let tenant = match &root_key.reach {
        Reach::Instance => String::new(),
        Reach::Tenant(slug) => slug.to_string(),
    };
    Target {
        tenant,
        kind: "root_key",
        id: root_key.id.to_string(),
        subject: None,
    }
}
