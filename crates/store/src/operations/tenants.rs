//! Creates and changes tenants; sets up a new instance.

use super::audit_log::{Target, append, made};
use super::{Written, recheck_actor, require_version, root_keys};
use crate::describe;
use crate::error::WriteError;
use crate::model::{AuditDraft, Bootstrap, RootKey, ShowRootKey, Tenant, TenantEdit, WriteContext};
use crate::store::Commit;
use crate::tx::Tx;
use crate::version::Version;
use keyreeve_core::audit::Action;
use keyreeve_core::text::Slug;
use keyreeve_core::user::Status;

/// Creates the first tenant and root key if there is no tenant yet and the root key can be shown.
///
/// It is shown before the commit: whatever fails afterwards, there is no instance whose root key was never shown. Other
/// processes wait for this transaction. Afterwards they find the instance, or create it themselves.
pub(crate) async fn found(
    tx: &mut dyn Tx,
    context: &WriteContext,
    tenant: &Tenant,
    root_key: &RootKey,
    show: ShowRootKey,
) -> Result<Written<Bootstrap>, WriteError> {
    if tx.has_tenants().await? {
        return unfounded(tx, context, Bootstrap::StoodAlready).await;
    }
    if let Err(why) = show() {
        return unfounded(tx, context, Bootstrap::NotShown(why)).await;
    }
    let written = insert(tx, context, tenant, root_key).await?;
    Ok(Written {
        value: Bootstrap::Founded,
        commit: written.commit,
    })
}

async fn unfounded(
    tx: &mut dyn Tx,
    context: &WriteContext,
    value: Bootstrap,
) -> Result<Written<Bootstrap>, WriteError> {
    let revision = append(tx, context, Vec::new()).await?;
    let commit = Commit {
        revision,
        ..Commit::default()
    };
    Ok(Written { value, commit })
}

/// Creates a tenant with its first root key.
pub(crate) async fn create_tenant(
    tx: &mut dyn Tx,
    context: &WriteContext,
    tenant: &Tenant,
    root_key: &RootKey,
) -> Result<Written<u64>, WriteError> {
    recheck_actor(tx, context, &tenant.slug).await?;
    if tx.tenant(&tenant.slug).await?.is_some() {
        return Err(WriteError::SlugTaken);
    }
    insert(tx, context, tenant, root_key).await
}

/// Changes a tenant; a change to the present values changes nothing. Removing a tenant revokes its root keys too, and
/// its keys stay blocked for ever.
pub(crate) async fn change_tenant(
    tx: &mut dyn Tx,
    context: &WriteContext,
    slug: &Slug,
    edit: TenantEdit,
) -> Result<Written<(Tenant, u64)>, WriteError> {
    let found = tx.tenant(slug).await?;
    let before = found
        .filter(|tenant| tenant.status != Status::Removed)
        .ok_or(WriteError::NotFound)?;
    recheck_actor(tx, context, slug).await?;
    require_version(context, || match &edit.policy {
        Some(_) => Version::of_policy(slug, &before.policy),
        None => Version::of_tenant(&before),
    })?;
    let mut after = before.clone();
    after.name = edit.name.unwrap_or(after.name);
    after.status = edit.status.unwrap_or(after.status);
    after.policy = edit.policy.unwrap_or(after.policy);
    let mut commit = Commit::default();
    let mut entries = Vec::new();
    if after != before {
        tx.update_tenant(&after).await?;
        entries.push((about(&after), changed(&before, &after)));
        commit.tenants.push(after.clone());
    }
    if after.status == Status::Removed {
        for root_key in tx.live_root_keys(Some(slug)).await? {
            entries.push(root_keys::revoke(tx, context, root_key, &mut commit).await?);
        }
    }
    commit.revision = append(tx, context, entries).await?;
    commit.tenant = Some(slug.clone());
    let value = (after, commit.revision);
    Ok(Written { value, commit })
}

fn about(tenant: &Tenant) -> Target {
    Target {
        tenant: tenant.slug.to_string(),
        kind: "tenant",
        id: tenant.slug.to_string(),
        subject: None,
    }
}

fn changed(before: &Tenant, after: &Tenant) -> AuditDraft {
    let action = match after.status {
        Status::Removed => Action::TenantRemoved,
        Status::Active | Status::Suspended if before.policy != after.policy => Action::PolicyUpdated,
        Status::Active | Status::Suspended => Action::TenantUpdated,
    };
    AuditDraft {
        action,
        reason: None,
        before: Some(describe::tenant(before)),
        after: Some(describe::tenant(after)),
    }
}

async fn insert(
    tx: &mut dyn Tx,
    context: &WriteContext,
    tenant: &Tenant,
    root_key: &RootKey,
) -> Result<Written<u64>, WriteError> {
    tx.insert_tenant(tenant).await?;
    tx.insert_root_key(root_key).await?;
    let entries = vec![
        (about(tenant), made(Action::TenantCreated, describe::tenant(tenant))),
        (
            root_keys::target(root_key),
            made(Action::RootKeyCreated, describe::root_key(root_key)),
        ),
    ];
    let revision = append(tx, context, entries).await?;
    let commit = Commit {
        revision,
        tenant: Some(tenant.slug.clone()),
        root_keys: vec![root_key.digest],
        tenants: vec![tenant.clone()],
        ..Commit::default()
    };
    Ok(Written {
        value: revision,
        commit,
    })
}
