//! Changes one key: reads it, lets the caller decide, and writes the result.

use super::audit_log::{Target, append};
use super::gate::{ChangeGate, not_blocked};
use super::limits::forget_counters;
use super::{Written, idempotency, recheck_actor, require_version};
use crate::error::{StoreError, WriteError};
use crate::model::{AuditDraft, ChangeFacts, ChangeRequest, Changed, Done, KeyRecord, Replay, WriteContext};
use crate::news::{KeyNews, KeyOutcome};
use crate::store::Commit;
use crate::tx::{PrefetchHint, Tx};
use crate::version::Version;
use keyreeve_core::lifecycle::{Outcome, State};
use keyreeve_core::text::Slug;
use keyreeve_core::verdict::SecretStanding;
use keyreeve_core::{Digest, Key, KeyId};
use std::collections::BTreeMap;

pub(crate) async fn change(
    tx: &mut dyn Tx,
    context: &WriteContext,
    request: ChangeRequest,
) -> Result<Written<Changed>, WriteError> {
    tx.prefetch(PrefetchHint {
        tenant: &request.tenant,
        context,
        key: Some(request.id),
        names: &[],
    })
    .await?;
    let tenant = tx.tenant(&request.tenant).await?.ok_or(WriteError::NotFound)?;
    recheck_actor(tx, context, &tenant.slug).await?;
    if let Some(targets) = idempotency::seen(tx, context).await? {
        return replay(tx, context, request, &targets).await;
    }
    let record = locked(tx, context, &request.tenant, request.id).await?;
    let name_taken = match &request.new_name {
        None => false,
        Some(name) => {
            let names = [(&record.key.subject, name)];
            let taken = tx.are_names_taken(&tenant.slug, &names, Some(request.id), context.at);
            taken.await?.contains(&true)
        }
    };
    let before = record.key.secret.digest;
    let gate = ChangeGate::of(&record, &tenant, context.at);
    let limits = record.key.limits.clone();
    let facts = ChangeFacts {
        key: record.key,
        policy: &tenant.policy,
        name_taken,
    };
    let decided = (request.decide)(facts);
    let (outcome, draft) = decided.map_err(|refusal| WriteError::Refused { item: 0, refusal })?;
    if let Outcome::Changed(after) = &outcome {
        gate.admit(tx, after).await?;
        forget_counters(tx, (limits.resets, limits.counted.as_slice()), after).await?;
    }
    let (secrets, done) = carry_out(tx, &outcome).await?;
    idempotency::remember(tx, context, vec![request.id]).await?;
    let (keys, entries) = match done {
        Done::Nothing => (Vec::new(), Vec::new()),
        Done::Stored | Done::Erased => {
            let news = news(outcome.key(), &draft);
            (news, vec![(Target::key(outcome.key()), draft)])
        }
    };
    let revision = append(tx, context, entries).await?;
    let key = outcome.key().clone();
    let is_presented = record.is_presented && key.secret.digest == before;
    let record = KeyRecord {
        key,
        is_presented,
        ..record
    };
    Ok(Written {
        value: Changed {
            record: Some(record),
            done,
            revision,
            replay: Replay::First,
        },
        commit: Commit {
            revision,
            tenant: Some(tenant.slug),
            secrets,
            keys,
            ..Commit::default()
        },
    })
}

/// Returns the key, locked, if it is in a version that the caller may change.
async fn locked(tx: &mut dyn Tx, context: &WriteContext, tenant: &Slug, id: KeyId) -> Result<KeyRecord, WriteError> {
    let mut found = tx.lock_keys(tenant, &[id]).await?;
    let record = found.pop().ok_or(WriteError::NotFound)?;
    require_version(context, || Version::of_key(&record.key))?;
    Ok(record)
}

pub(super) fn news(key: &Key, draft: &AuditDraft) -> Vec<KeyNews> {
    let is_final = matches!(key.state, State::Revoked(_));
    let news = KeyOutcome::of(draft.action.as_str(), is_final).map(|outcome| KeyNews {
        tenant: key.tenant.clone(),
        id: key.id,
        outcome,
    });
    news.into_iter().collect()
}

async fn carry_out(tx: &mut dyn Tx, outcome: &Outcome) -> Result<(Vec<Digest>, Done), StoreError> {
    match outcome {
        Outcome::Unchanged(_) => Ok((Vec::new(), Done::Nothing)),
        Outcome::Changed(key) => Ok((store_keys(tx, &[key]).await?, Done::Stored)),
        Outcome::Erased(key) => Ok((erase_key(tx, key.id).await?, Done::Erased)),
    }
}

/// Deletes a key's record. Returns the digests of all secrets that it ever had.
pub(super) async fn erase_key(tx: &mut dyn Tx, id: KeyId) -> Result<Vec<Digest>, StoreError> {
    let secrets = tx.tombstone_credentials(id).await?;
    tx.delete_key(id).await?;
    Ok(secrets)
}

/// Stores keys and brings the rows of their secrets in line: one live, at most one retiring, all others retired.
/// Returns every secret whose verdict may have changed.
pub(super) async fn store_keys(tx: &mut dyn Tx, keys: &[&Key]) -> Result<Vec<Digest>, StoreError> {
    let mut current: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for secret in tx.current_credentials(keys).await? {
        current.entry(secret.key).or_default().push(secret);
    }
    tx.update_keys(keys).await?;
    let (mut secrets, mut standings, mut new) = (Vec::new(), Vec::new(), Vec::new());
    for key in keys {
        let live = key.secret.digest;
        let mut is_stored = false;
        for secret in current.remove(&key.id).unwrap_or_default() {
            let standing = match &key.retiring {
                _ if secret.digest == live => SecretStanding::Live,
                Some(old) if old.digest == secret.digest => SecretStanding::Retiring(old.until),
                Some(_) | None => SecretStanding::Retired,
            };
            is_stored |= secret.digest == live;
            secrets.push(secret.digest);
            if !(secret.is_live && standing == SecretStanding::Live) {
                standings.push((secret.digest, standing));
            }
        }
        if !is_stored {
            secrets.push(live);
            new.push(*key);
        }
    }
    tx.set_credentials(&standings).await?;
    tx.insert_credentials(&new).await?;
    Ok(secrets)
}

/// A retry. A rotation whose secret never arrived gets a new secret; any other request was done and is not repeated.
async fn replay(
    tx: &mut dyn Tx,
    context: &WriteContext,
    request: ChangeRequest,
    targets: &[KeyId],
) -> Result<Written<Changed>, WriteError> {
    let (mut records, is_undelivered) = idempotency::targets(tx, context, &request.tenant, targets).await?;
    let record = records.pop();
    if let (Some(mut replace), Some(record), true) = (request.replace, record.clone(), is_undelivered) {
        not_blocked(0, &record)?;
        let decided = replace(0, record.key.clone());
        let (key, draft) = decided.map_err(|refusal| WriteError::Refused { item: 0, refusal })?;
        let secrets = store_keys(tx, &[&key]).await?;
        let revision = append(tx, context, vec![(Target::key(&key), draft)]).await?;
        let record = KeyRecord {
            key,
            is_presented: false,
            ..record
        };
        return Ok(Written {
            value: Changed {
                record: Some(record),
                done: Done::Stored,
                revision,
                replay: Replay::Replaced,
            },
            commit: Commit {
                revision,
                tenant: Some(request.tenant),
                secrets,
                ..Commit::default()
            },
        });
    }
    let revision = append(tx, context, Vec::new()).await?;
    Ok(Written {
        value: Changed {
            record,
            done: Done::Nothing,
            revision,
            replay: Replay::Completed,
        },
        commit: Commit {
            revision,
            ..Commit::default()
        },
    })
}
