//! Slices of hard limits. They have no revision and no entry in the audit log: accepted calls are counted elsewhere.

use super::Written;
use crate::error::{StoreError, WriteError};
use crate::model::SliceRequest;
use crate::store::Commit;
use crate::tx::Tx;
use keyreeve_core::Key;
use keyreeve_core::limits::{Limit, Need, Slice, slice};

/// Deletes the counters of limits that a key no longer has, or that were reset: a later limit with the name of a former
/// one starts at zero.
pub(super) async fn forget_counters(tx: &mut dyn Tx, before: (u32, &[Limit]), after: &Key) -> Result<(), StoreError> {
    let (resets, former) = before;
    let is_reset = after.limits.resets != resets;
    let is_kept = |limit: &Limit| {
        after
            .limits
            .counted
            .as_slice()
            .iter()
            .any(|kept| kept.name == limit.name)
    };
    let gone = former.iter().filter(|limit| is_reset || !is_kept(limit));
    let names: Vec<_> = gone.map(|limit| limit.name.clone()).collect();
    if names.is_empty() {
        return Ok(());
    }
    tx.drop_counters(after.id, &names).await
}

/// Counts slices and returns them, in the order of the needs.
pub(crate) async fn take_slices(tx: &mut dyn Tx, request: &SliceRequest) -> Result<Written<Vec<Slice>>, WriteError> {
    let known = tx.counters(request.key).await?;
    let one = |need: &Need, wish| {
        let counter = known.iter().find(|(name, _)| *name == need.limit.name);
        let counter = counter.map(|(_, counter)| *counter);
        slice(&need.limit.bound, counter, wish, request.now)
    };
    let mut taken: Vec<_> = request.needs.iter().map(|need| one(need, need.wish)).collect();
    // A use that one limit refuses is not counted by any other.
    let is_refused = |(need, slice): (&Need, &Slice)| need.wish.least > 0 && slice.granted == 0;
    if request.needs.iter().zip(&taken).any(is_refused) {
        taken = request
            .needs
            .iter()
            .map(|need| one(need, need.wish.for_none()))
            .collect();
    }
    let names = request.needs.iter().map(|need| need.limit.name.clone());
    let counters: Vec<_> = names.zip(taken.iter().map(|slice| slice.counter)).collect();
    tx.put_counters(request.key, &counters).await?;
    Ok(Written {
        value: taken,
        commit: Commit::default(),
    })
}
