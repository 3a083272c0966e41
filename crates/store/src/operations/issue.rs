//! Issue keys, all or none.

use super::journal::{Target, append};
use super::{Written, change::store_key, corrupt, marks, recheck_actor};
use crate::error::WriteError;
use crate::model::{IssueRequest, Issued, KeyRecord, Replay, Tenant, WriteContext};
use crate::store::Commit;
use crate::tx::{Counted, Tx};
use keyreeve_core::KeyId;
use keyreeve_core::lifecycle::IssueFacts;
use keyreeve_core::policy::Names;
use keyreeve_core::text::{Name, Subject};

pub(crate) async fn issue(
    tx: &mut dyn Tx,
    context: &WriteContext,
    mut request: IssueRequest,
) -> Result<Written<Issued>, WriteError> {
    let tenant = tx.tenant(&request.tenant).await?.ok_or(WriteError::NotFound)?;
    recheck_actor(tx, context, &tenant.slug).await?;
    if let Some(targets) = marks::seen(tx, context).await? {
        return replay(tx, context, request, &targets).await;
    }
    let mut keys = Vec::with_capacity(request.items.len());
    let mut entries = Vec::with_capacity(request.items.len());
    let items = std::mem::take(&mut request.items);
    for (item, (subject, name)) in items.iter().enumerate() {
        let facts = facts(tx, &tenant, subject, name, context).await?;
        let decided = (request.decide)(item, &tenant.policy, facts);
        let (key, draft) = decided.map_err(|refusal| WriteError::Refused { item, refusal })?;
        tx.insert_key(&key).await?;
        tx.insert_credential(&key.secret.digest, &key).await?;
        entries.push((Target::key(&key), draft));
        keys.push(KeyRecord {
            key,
            last_used_at: None,
            is_presented: false,
        });
    }
    marks::remember(tx, context, keys.iter().map(|record| record.key.id).collect()).await?;
    let revision = append(tx, context, entries).await?;
    let secrets = keys.iter().map(|record| record.key.secret.digest).collect();
    Ok(Written {
        value: Issued {
            keys,
            revision,
            replay: Replay::First,
        },
        commit: Commit {
            revision,
            secrets,
            ..Commit::default()
        },
    })
}

/// Only what the policy asks about is looked up.
async fn facts(
    tx: &mut dyn Tx,
    tenant: &Tenant,
    subject: &Subject,
    name: &Name,
    context: &WriteContext,
) -> Result<IssueFacts, WriteError> {
    let limit = tenant.policy.limit;
    let used = if limit.keys_per_subject.is_some() {
        let count_expired = limit.count_expired;
        tx.count_keys(Counted {
            tenant: &tenant.slug,
            subject,
            count_expired,
            now: context.at,
        })
        .await?
    } else {
        0
    };
    let name_taken = match tenant.policy.names {
        Names::Any => false,
        Names::Unique => {
            tx.is_name_taken((&tenant.slug, subject), name, None, context.at)
                .await?
        }
    };
    Ok(IssueFacts { used, name_taken })
}

/// A retry: fresh secrets in the place of those that never arrived, or word that it was done.
async fn replay(
    tx: &mut dyn Tx,
    context: &WriteContext,
    mut request: IssueRequest,
    targets: &[KeyId],
) -> Result<Written<Issued>, WriteError> {
    let (records, is_undelivered) = marks::targets(tx, context, &request.tenant, targets).await?;
    if !is_undelivered || records.len() != request.items.len() {
        let revision = append(tx, context, Vec::new()).await?;
        return Ok(Written {
            value: Issued {
                keys: records,
                revision,
                replay: Replay::Completed,
            },
            commit: Commit {
                revision,
                ..Commit::default()
            },
        });
    }
    let mut commit = Commit::default();
    let mut entries = Vec::with_capacity(records.len());
    let mut keys = Vec::with_capacity(records.len());
    for (item, record) in records.into_iter().enumerate() {
        let decided = (request.replace)(item, record.key);
        let (key, draft) = decided.map_err(|refusal| WriteError::Refused { item, refusal })?;
        commit.secrets.extend(store_key(tx, &key).await?);
        entries.push((Target::key(&key), draft));
        keys.push(KeyRecord {
            key,
            last_used_at: record.last_used_at,
            is_presented: false,
        });
    }
    if keys.is_empty() {
        return Err(corrupt("an idempotency mark without keys").into());
    }
    commit.revision = append(tx, context, entries).await?;
    let revision = commit.revision;
    Ok(Written {
        value: Issued {
            keys,
            revision,
            replay: Replay::Replaced,
        },
        commit,
    })
}
