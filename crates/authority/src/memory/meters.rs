//! The counts of limited keys: a soft limit in this process alone, a hard one by slices of the store's counter
//! (`keyreeve_core::limits`).

use keyreeve_core::KeyId;
use keyreeve_core::coherence::invariants::InvariantCounts;
use keyreeve_core::limits::{At, Counter, LimitStanding, LimitsError, Meter, Need, Supply, Taken};
use keyreeve_core::text::LimitName;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Parts of the meters, each with a lock of its own.
pub(crate) const SHARDS: usize = 16;
/// Most keys that a shard meters. One more replaces any other: its soft limit starts again with its burst, its hard one
/// reads the store.
const SHARD_KEYS_MAX: usize = 65_536;

/// The meters of this process.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    shards: [Mutex<HashMap<KeyId, Meter>>; SHARDS],
    /// The shard that is tidied next.
    next: AtomicUsize,
}

impl Meters {
    fn shard(&self, key: KeyId) -> MutexGuard<'_, HashMap<KeyId, Meter>> {
        let [.., last] = key.bytes();
        // The last byte of an id is random.
        let place = usize::from(last) % SHARDS;
        let [first, ..] = &self.shards;
        let shard = self.shards.get(place).unwrap_or(first);
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a use of a key whose limits are `joined`, or returns why not; and the state of the limits, if that is
    /// known.
    pub(crate) fn take(
        &self,
        (key, joined): (KeyId, &str),
        cost: u32,
        now: At,
        supplied: &[Supply],
    ) -> Result<(Taken, Vec<LimitStanding>), LimitsError> {
        let mut shard = self.shard(key);
        let meter = meter_in(&mut shard, (key, joined), now)?;
        let taken = meter.take(u64::from(cost), now, supplied);
        let standings = match taken {
            Taken::Yes | Taken::No { .. } => meter.standings(now),
            Taken::Ask(_) => Vec::new(),
        };
        Ok((taken, standings))
    }

    /// Whether the state of the limits can only be known from the store.
    pub(crate) fn is_shared(&self, key: (KeyId, &str), now: At) -> Result<bool, LimitsError> {
        Ok(meter_in(&mut self.shard(key.0), key, now)?.is_shared())
    }

    /// Returns the state of the limits, from what the store has counted.
    pub(crate) fn look(
        &self,
        key: (KeyId, &str),
        asked: At,
        counters: &[(LimitName, Counter)],
    ) -> Result<Vec<LimitStanding>, LimitsError> {
        let mut shard = self.shard(key.0);
        let meter = meter_in(&mut shard, key, asked)?;
        meter.note_counters(counters, asked);
        Ok(meter.standings(asked))
    }

    /// Notes that keys have changed, so that their meters are checked.
    pub(crate) fn doubt(&self, keys: impl Iterator<Item = KeyId>) {
        for key in keys {
            if let Some(meter) = self.shard(key).get_mut(&key) {
                meter.doubt();
            }
        }
    }

    /// Tidies one shard: returns the rest of slices that were not used since the last round, or of all at the end, and
    /// removes meters without a state.
    pub(crate) fn tidy(&self, now: At, is_end: bool, counts: &InvariantCounts) -> Vec<(KeyId, Vec<Need>)> {
        let place = self.next.fetch_add(1, Ordering::Relaxed) % SHARDS;
        let Some(shard) = self.shards.get(place) else {
            return Vec::new();
        };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = Vec::new();
        shard.retain(|key, meter| {
            counts.note(meter.check());
            if meter.take_was_used() && !is_end {
                return true;
            }
            let needs = meter.hand_back();
            if !needs.is_empty() {
                left.push((*key, needs));
            }
            !meter.is_at_rest(now)
        });
        left
    }
}

/// Returns the meter of a key, created if there is none for these limits.
fn meter_in<'m>(
    shard: &'m mut HashMap<KeyId, Meter>,
    (key, joined): (KeyId, &str),
    now: At,
) -> Result<&'m mut Meter, LimitsError> {
    if !shard.get(&key).is_some_and(|meter| meter.is_for(joined)) {
        let mut meter = Meter::new(joined)?;
        if let Some(older) = shard.remove(&key) {
            meter.inherit(older);
        }
        make_room(shard, now);
        shard.insert(key, meter);
    }
    shard.get_mut(&key).ok_or(LimitsError::Unreadable)
}

fn make_room(shard: &mut HashMap<KeyId, Meter>, now: At) {
    if shard.len() < SHARD_KEYS_MAX {
        return;
    }
    shard.retain(|_, meter| !meter.is_at_rest(now));
    if shard.len() >= SHARD_KEYS_MAX
        && let Some(any) = shard.keys().next().copied()
    {
        shard.remove(&any);
    }
}
