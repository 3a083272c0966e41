//! Slices of hard limits. Nothing here has a revision or an entry in the log: what was let through is counted elsewhere.

use super::Written;
use crate::error::WriteError;
use crate::model::SliceRequest;
use crate::store::Commit;
use crate::tx::Tx;
use keyreeve_core::limits::{Slice, slice};

/// Counts slices and gives them, in the order of the needs.
pub(crate) async fn take_slices(tx: &mut dyn Tx, request: &SliceRequest) -> Result<Written<Vec<Slice>>, WriteError> {
    let known = tx.counters(request.key).await?;
    let taken = request.needs.iter().map(|need| {
        let counter = known.iter().find(|(name, _)| *name == need.limit.name);
        let counter = counter.map(|(_, counter)| *counter);
        slice(&need.limit.bound, counter, need.wish, request.now)
    });
    let taken: Vec<_> = taken.collect();
    let names = request.needs.iter().map(|need| need.limit.name.clone());
    let counters: Vec<_> = names.zip(taken.iter().map(|slice| slice.counter)).collect();
    tx.put_counters(request.key, &counters).await?;
    Ok(Written {
        value: taken,
        commit: Commit::default(),
    })
}
