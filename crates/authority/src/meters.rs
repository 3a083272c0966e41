//! The counting for limited keys: a soft limit in this process alone, a hard one by slices of the store's counter
//! (`keyreeve_core::limits`).

use crate::Authority;
use keyreeve_core::KeyId;
use keyreeve_core::coherence::Entry;
use keyreeve_core::coherence::invariants::InvariantCounts;
use keyreeve_core::limits::{At, Counter, LimitsError, Meter, Need, Standing, Supply, Taken};
use keyreeve_core::text::LimitName;
use keyreeve_core::verdict::Denial;
use keyreeve_store::StoreError;
use keyreeve_store::model::SliceRequest;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

const SHARDS: usize = 16;
/// Most keys that a shard meters. One more replaces any other: its soft limit starts again with its burst, its hard one
/// reads the store.
const SHARD_KEYS_MAX: usize = 65_536;
/// Most requests to the store for one use. Concurrent uses may take the slice that was fetched for it.
const CHARGE_TRIES: usize = 8;

/// The meters of this process.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    shards: [Mutex<HashMap<KeyId, Meter>>; SHARDS],
    /// The shard that is tidied next.
    next: AtomicUsize,
}

/// The state of a key's limits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Each limit.
    pub standings: Vec<Standing>,
    /// After a refusal: seconds after which a use might be accepted; `None` is never.
    pub retry_seconds: Option<u64>,
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
    fn take(
        &self,
        (key, joined): (KeyId, &str),
        cost: u32,
        now: At,
        supplied: &[Supply],
    ) -> Result<(Taken, Vec<Standing>), LimitsError> {
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
    fn is_shared(&self, key: (KeyId, &str), now: At) -> Result<bool, LimitsError> {
        Ok(meter_in(&mut self.shard(key.0), key, now)?.is_shared())
    }

    /// Returns the state of the limits, from what the store has counted.
    fn look(
        &self,
        key: (KeyId, &str),
        asked: At,
        counters: &[(LimitName, Counter)],
    ) -> Result<Vec<Standing>, LimitsError> {
        let mut shard = self.shard(key.0);
        let meter = meter_in(&mut shard, key, asked)?;
        meter.told(counters, asked);
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
    fn tidy(&self, now: At, is_end: bool, counts: &InvariantCounts) -> Vec<(KeyId, Vec<Need>)> {
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

impl Authority {
    /// Charges a use of a key that is good otherwise.
    pub(crate) async fn charge(&self, entry: &Entry, cost: u32) -> (Result<(), Denial>, Option<Box<Budget>>) {
        let unknown = (Err(Denial::Unavailable), None);
        let mut supplied = Vec::new();
        for _ in 0..CHARGE_TRIES {
            let now = self.counted_at();
            let key = (entry.key_id(), entry.limits());
            // A key whose limits cannot be parsed is denied.
            let Ok((taken, standings)) = self.verifier.meters.take(key, cost, now, &supplied) else {
                return unknown;
            };
            let budget = |retry_seconds| {
                Some(Box::new(Budget {
                    standings,
                    retry_seconds,
                }))
            };
            match taken {
                Taken::Yes => return (Ok(()), budget(None)),
                Taken::No { retry_seconds } => return (Err(Denial::Limited), budget(retry_seconds)),
                Taken::Ask(needs) => match self.slices(entry.key_id(), needs, now).await {
                    Ok(slices) => supplied = slices,
                    Err(_) => return unknown,
                },
            }
        }
        unknown
    }

    /// Returns the state of a key's limits as the store has it, without a charge; `None` if that cannot be known now.
    pub(crate) async fn budget(&self, key: KeyId, joined: &str) -> Option<Budget> {
        let asked = self.counted_at();
        let meters = &self.verifier.meters;
        let counters = match meters.is_shared((key, joined), asked).ok()? {
            true => self.store.counters(key).await.ok()?,
            false => Vec::new(),
        };
        let standings = meters.look((key, joined), asked, &counters).ok()?;
        Some(Budget {
            standings,
            retry_seconds: None,
        })
    }

    /// Returns the time by which uses are counted: the earliest that it may be. Quota periods and the store's counters
    /// use it, so that a clock that is ahead for some seconds starts no period early.
    fn counted_at(&self) -> At {
        At::new(self.earliest(), self.moment())
    }

    async fn slices(&self, key: KeyId, needs: Vec<Need>, now: At) -> Result<Vec<Supply>, StoreError> {
        let request = SliceRequest {
            key,
            needs: needs.clone(),
            now: now.time,
        };
        let slices = self.store.take_slices(request).await?;
        let supplied = needs.into_iter().zip(slices).map(|(need, slice)| Supply {
            need,
            asked: now,
            slice,
        });
        Ok(supplied.collect())
    }

    /// Returns slices that were not used since [`SHARDS`] calls ago to the store, one shard a call. Call once a second.
    pub async fn tidy_meters(&self) {
        self.hand_back(false).await;
    }

    /// Returns all slices to the store, before the process ends.
    pub(crate) async fn empty_meters(&self) {
        for _ in 0..SHARDS {
            self.hand_back(true).await;
        }
    }

    async fn hand_back(&self, is_end: bool) {
        let now = self.counted_at();
        for (key, needs) in self.verifier.meters.tidy(now, is_end, self.verifier.invariants()) {
            // A slice that cannot be returned is lost: fewer uses are accepted then, never more.
            drop(self.slices(key, needs, now).await);
        }
    }
}
