//! Make tenants; found an instance.

use super::journal::{Target, append, made};
use super::{Written, recheck_actor, root_keys};
use crate::codec;
use crate::error::WriteError;
use crate::model::{Founding, RootKey, Tenant, WriteContext};
use crate::store::Commit;
use crate::tx::Tx;
use keyreeve_core::audit::Action;
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

async fn insert(
    tx: &mut dyn Tx,
    context: &WriteContext,
    tenant: &Tenant,
    root_key: &RootKey,
) -> Result<Written<u64>, WriteError> {
    tx.insert_tenant(tenant).await?;
    tx.insert_root_key(root_key).await?;
    let about_tenant = Target {
        tenant: tenant.slug.to_string(),
        kind: "tenant",
        id: tenant.slug.to_string(),
        subject: None,
    };
    let described = json!({
        "name": tenant.name.as_str(),
        "suspended": tenant.is_suspended,
        "policy": codec::policy::to_json(&tenant.policy),
    });
    let entries = vec![
        (about_tenant, made(Action::TenantCreated, described.to_string())),
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
