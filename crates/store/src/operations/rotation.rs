//! Gives root keys new secrets.

use super::audit_log::append;
use super::root_keys::{bound_to, found, refuse_last, target};
use super::{Written, idempotency, require_version};
use crate::describe;
use crate::error::{StoreError, WriteError};
use crate::model::{AuditDraft, Repeat, Replay, RootKey, RootKeyRotation, RotatedRootKey, WriteContext};
use crate::store::Commit;
use crate::tx::Tx;
use crate::version::Version;
use keyreeve_core::access::Actor;
use keyreeve_core::audit::Action;
use keyreeve_core::lifecycle::{Refusal, Retiring, Standing, Verb};
use keyreeve_core::text::Slug;
use keyreeve_core::{Digest, KeyId, RootKeyId, Timestamp};

/// How long a replaced secret is kept, so that every node that may remember it forgets it: an hour, in milliseconds. A
/// node that has not applied the rotation for longer than its lease answers nothing.
const REPLACED_KEPT_MS: i64 = 3_600_000;
/// Most replaced secrets of one root key that are kept.
const REPLACED_MAX: usize = 256;

pub(crate) async fn rotate_root_key(
    tx: &mut dyn Tx,
    context: &WriteContext,
    rotation: RootKeyRotation,
) -> Result<Written<RotatedRootKey>, WriteError> {
    let root_key = found(tx, context, rotation.tenant.as_ref(), rotation.id).await?;
    let earlier = idempotency::record(tx, context).await?;
    let replay = earlier.is_some();
    if !replay {
        require_version(context, || Version::of_root_key(&root_key))?;
    }
    require_rotatable(&root_key, &rotation, context.at)?;
    let replaces = context
        .idempotency
        .as_ref()
        .is_some_and(|one| one.repeat == Repeat::Replaces);
    // A later rotation has given out a secret of its own, which a late retry must not end.
    let is_newest = earlier.is_none_or(|earlier| root_key.rotated_at == Some(earlier.created_at));
    if replay && (root_key.is_presented || !replaces || !is_newest) {
        return completed(tx, context, root_key).await;
    }
    if !replay {
        let ends_sooner = ends_sooner(&root_key, &rotation);
        require_lasting(tx, context, &root_key, ends_sooner).await?;
    }
    // The retry of its own rotation, with the secret that is retiring since. The first request was allowed to hold it.
    let is_own_replay = replay && context.actor == Actor::RootKey(root_key.id);
    let before = describe::root_key(&root_key);
    let (root_key, ended) = match replay {
        // The overlap that the first request began is neither ended nor restarted.
        true => with_secret(root_key, &rotation, context.at),
        false => rotated(root_key, &rotation, context.at),
    };
    if !is_own_replay && !(rotation.may_hold)(&root_key) {
        return Err(WriteError::RootKeyBeyond);
    }
    idempotency::remember(tx, context, vec![KeyId::from_bytes(root_key.id.bytes())]).await?;
    let commit = store(tx, context, &root_key, ended, (Action::RootKeyRotated, before)).await?;
    let value = RotatedRootKey {
        root_key,
        revision: commit.revision,
        replay: if replay { Replay::Replaced } else { Replay::First },
    };
    Ok(Written { value, commit })
}

pub(crate) async fn finish_root_key_rotation(
    tx: &mut dyn Tx,
    context: &WriteContext,
    tenant: Option<&Slug>,
    id: RootKeyId,
) -> Result<Written<(RootKey, u64)>, WriteError> {
    let mut root_key = found(tx, context, tenant, id).await?;
    require_version(context, || Version::of_root_key(&root_key))?;
    if root_key.revoked_at.is_some() || root_key.overlap_until(context.at).is_none() {
        let commit = nothing(tx, context, &root_key).await?;
        let value = (root_key, commit.revision);
        return Ok(Written { value, commit });
    }
    let before = describe::root_key(&root_key);
    let ended = root_key.retiring.take().map(|old| old.digest);
    let action = Action::RootKeyRotationFinished;
    let commit = store(tx, context, &root_key, ended.into_iter().collect(), (action, before)).await?;
    let value = (root_key, commit.revision);
    Ok(Written { value, commit })
}

/// Whether a root key ends sooner with the expiry that is requested.
fn ends_sooner(root_key: &RootKey, rotation: &RootKeyRotation) -> bool {
    match (root_key.expires_at, rotation.expires_at) {
        (None, Some(Some(_))) => true,
        (Some(old), Some(Some(new))) => new < old,
        (_, None | Some(None)) => false,
    }
}

/// Refuses a rotation that the retiring secret of the same root key requests, which would not end at its time then, and
/// one that would end the last root key that can create others sooner.
async fn require_lasting(
    tx: &mut dyn Tx,
    context: &WriteContext,
    root_key: &RootKey,
    ends_sooner: bool,
) -> Result<(), WriteError> {
    let retiring = root_key.retiring.as_ref().map(|old| old.digest);
    if context.secret.is_some() && context.secret == retiring {
        return Err(WriteError::RootKeyBeyond);
    }
    match ends_sooner {
        true => refuse_last(tx, context, root_key).await,
        false => Ok(()),
    }
}

/// Refuses a root key that is revoked, or that would be expired with its new secret.
fn require_rotatable(root_key: &RootKey, rotation: &RootKeyRotation, now: Timestamp) -> Result<(), WriteError> {
    let refused = |refusal| Err(WriteError::Refused { item: 0, refusal });
    if root_key.revoked_at.is_some() {
        return refused(Refusal::InvalidTransition {
            from: Standing::Revoked,
            verb: Verb::Rotate,
        });
    }
    match root_key.is_expired(now) && rotation.expires_at.is_none() {
        true => refused(Refusal::ExpiryPast),
        false => Ok(()),
    }
}

/// Returns the root key with its new secret, and the secrets that end now.
fn rotated(mut root_key: RootKey, rotation: &RootKeyRotation, now: Timestamp) -> (RootKey, Vec<Digest>) {
    let wanted = now.plus_seconds(rotation.overlap_seconds);
    // Before the expiry changes: an overlap does not extend a secret beyond the expiry that it was issued with.
    let until = root_key.expires_at.map_or(wanted, |end| end.min(wanted));
    let old = Retiring {
        digest: root_key.digest,
        until,
    };
    let mut ended: Vec<_> = root_key.retiring.take().map(|old| old.digest).into_iter().collect();
    match until > now {
        true => root_key.retiring = Some(old),
        false => ended.push(old.digest),
    }
    root_key.rotated_at = Some(now);
    root_key.expires_at = rotation.expires_at.unwrap_or(root_key.expires_at);
    let (root_key, _) = with_secret(root_key, rotation, now);
    (root_key, ended)
}

/// Returns the root key with the secret of the request in place of its present one.
fn with_secret(mut root_key: RootKey, rotation: &RootKeyRotation, now: Timestamp) -> (RootKey, Vec<Digest>) {
    let replaced = std::mem::replace(&mut root_key.digest, rotation.digest);
    root_key.last_four = rotation.last_four;
    root_key.is_presented = false;
    root_key.rotated_at = Some(now);
    (root_key, vec![replaced])
}

/// Stores the secrets of a root key. Returns what the observer is notified of.
async fn store(
    tx: &mut dyn Tx,
    context: &WriteContext,
    root_key: &RootKey,
    ended: Vec<Digest>,
    (action, before): (Action, String),
) -> Result<Commit, WriteError> {
    let stale = Timestamp::from_millis(context.at.millis().saturating_sub(REPLACED_KEPT_MS));
    tx.add_replaced_root_secrets(root_key.id, &ended, context.at, stale)
        .await?;
    tx.set_root_key_secrets(root_key).await?;
    let replaced = tx.replaced_root_secrets(root_key.id).await?;
    if replaced.len() > REPLACED_MAX {
        let why = "the root key was rotated too often within an hour; try again later, or create another one";
        return Err(StoreError::Unavailable(why.to_owned()).into());
    }
    let draft = AuditDraft {
        action,
        reason: None,
        before: Some(before),
        after: Some(describe::root_key(root_key)),
    };
    let revision = append(tx, context, vec![(target(root_key), draft)]).await?;
    let mut secrets = replaced;
    secrets.push(root_key.digest);
    let retiring = root_key.retiring.as_ref().map(|old| old.digest);
    secrets.extend(retiring);
    Ok(Commit {
        revision,
        tenant: bound_to(root_key),
        root_keys: secrets,
        ended_root_keys: ended.clone(),
        replaced_root_secrets: vec![(root_key.id, ended)],
        rotated_root_secrets: retiring.map(|old| (root_key.id, vec![old])).into_iter().collect(),
        ..Commit::default()
    })
}

/// A retry whose secret was presented: nothing is repeated.
async fn completed(
    tx: &mut dyn Tx,
    context: &WriteContext,
    root_key: RootKey,
) -> Result<Written<RotatedRootKey>, WriteError> {
    let commit = nothing(tx, context, &root_key).await?;
    let value = RotatedRootKey {
        root_key,
        revision: commit.revision,
        replay: Replay::Completed,
    };
    Ok(Written { value, commit })
}

async fn nothing(tx: &mut dyn Tx, context: &WriteContext, root_key: &RootKey) -> Result<Commit, WriteError> {
    Ok(Commit {
        revision: append(tx, context, Vec::new()).await?,
        tenant: bound_to(root_key),
        ..Commit::default()
    })
}
