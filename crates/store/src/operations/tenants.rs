//! Make tenants; found an instance.

use super::journal::{Target, append, made};
use super::{Written, recheck_actor, root_keys};
use crate::codec;
use crate::error::WriteError;
use crate::model::{AuditDraft, Founding, RootKey, Tenant, TenantEdit, WriteContext};
use crate::store::Commit;
use crate::tx::Tx;
use keyreeve_core::audit::Action;
use keyreeve_core::text::Slug;
use keyreeve_core::user::Status;
use serde_json::json;

/// Makes the first tenant and root key if there is no tenant yet.
pub(crate) async fn found(
    tx: &mut dyn Tx,
    context: &WriteContext,
    tenant: &Tenant,
    root_key: &RootKey,
) -> Result<Written<Founding>, WriteError> {
    if tx.has_tenants().await? {
        let revision = append(tx, context, Vec::new()).await?;
        let commit = Commit {
            revision,
            ..Commit::default()
        };
        return Ok(Written {
            value: Founding::StoodAlready,
            commit,
        });
    }
    let written = insert(tx, context, tenant, root_key).await?;
    Ok(Written {
        value: Founding::Founded,
        commit: written.commit,
    })
}

/// Makes a tenant with its first root key.
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

/// Changes a tenant; a change to what already is changes nothing. Removing one ends its root keys too, and its keys
/// stay blocked for ever.
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
        before: Some(describe(before)),
        after: Some(describe(after)),
    }
}

fn describe(tenant: &Tenant) -> String {
    json!({
        "name": tenant.name.as_str(),
        "status": tenant.status.as_str(),
        "policy": codec::policy::to_json(&tenant.policy),
    })
    .to_string()
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
        (about(tenant), made(Action::TenantCreated, describe(tenant))),
        (
            root_keys::target(root_key),
            made(Action::RootKeyCreated, root_keys::describe(root_key)),
        ),
    ];
    let revision = append(tx, context, entries).await?;
    let commit = Commit {
        revision,
        root_keys: vec![root_key.digest],
        tenants: vec![tenant.clone()],
        ..Commit::default()
    };
    Ok(Written {
        value: revision,
        commit,
    })
}
