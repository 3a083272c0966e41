//! Idempotency records: a repeated request is recognized by its idempotency key and not carried out again.

use crate::error::WriteError;
use crate::model::{IDEMPOTENCY_SECONDS, Idempotency, KeyRecord, Repeat, WriteContext};
use crate::tx::{IdempotencyRecord, Tx};
use keyreeve_core::lifecycle::State;
use keyreeve_core::text::Slug;
use keyreeve_core::{KeyId, Timestamp};

/// Returns the keys of an earlier request with this idempotency key; `None` if there was none.
pub(super) async fn seen(tx: &mut dyn Tx, context: &WriteContext) -> Result<Option<Vec<KeyId>>, WriteError> {
    Ok(record(tx, context).await?.map(|mark| mark.targets))
}

/// Returns the record of an earlier request with this idempotency key; `None` if there was none.
pub(super) async fn record(tx: &mut dyn Tx, context: &WriteContext) -> Result<Option<IdempotencyRecord>, WriteError> {
    let Some(idempotency) = &context.idempotency else {
        return Ok(None);
    };
    let Some(mark) = tx.idempotency_record(&context.actor.id(), &idempotency.key).await? else {
        return Ok(None);
    };
    if mark.created_at <= stale_before(context.at) {
        return Ok(None);
    }
    if mark.fingerprint != idempotency.fingerprint {
        return Err(WriteError::IdempotencyKeyReused);
    }
    Ok(Some(mark))
}

/// Stores the keys that this request was about.
pub(super) async fn remember(tx: &mut dyn Tx, context: &WriteContext, targets: Vec<KeyId>) -> Result<(), WriteError> {
    if let Some(idempotency) = &context.idempotency {
        let mark = IdempotencyRecord {
            actor: context.actor.id(),
            mark: idempotency.key.to_string(),
            fingerprint: idempotency.fingerprint,
            targets,
            created_at: context.at,
        };
        tx.put_idempotency_record(&mark, stale_before(context.at)).await?;
    }
    Ok(())
}

fn stale_before(now: Timestamp) -> Timestamp {
    let age = i64::try_from(IDEMPOTENCY_SECONDS)
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000);
    Timestamp::from_millis(now.millis().saturating_sub(age))
}

/// Returns the keys of an earlier request that still exist, and whether a retry may replace their secrets: all exist
/// and are active, and no current secret of any was ever presented.
pub(super) async fn targets(
    tx: &mut dyn Tx,
    context: &WriteContext,
    tenant: &Slug,
    ids: &[KeyId],
) -> Result<(Vec<KeyRecord>, bool), WriteError> {
    let mut records = tx.lock_keys(tenant, ids).await?;
    for record in &mut records {
        record.key = record.key.clone().settled(context.at);
    }
    let replaces = |mark: &Idempotency| mark.repeat == Repeat::Replaces;
    let is_undelivered = context.idempotency.as_ref().is_some_and(replaces)
        && records.len() == ids.len()
        && records
            .iter()
            .all(|record| record.key.state == State::Active && !record.is_presented);
    Ok((records, is_undelivered))
}
