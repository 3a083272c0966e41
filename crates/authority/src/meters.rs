//! What is counted of limited keys: by this process alone where a limit is soft, by slices of what the store counts where
//! it is hard (`keyreeve_core::limits`).

use crate::Authority;
use keyreeve_core::coherence::Entry;
use keyreeve_core::limits::{LimitsError, Meter, Need, Standing, Supply, Taken};
use keyreeve_core::verdict::Denial;
use keyreeve_core::{KeyId, Timestamp};
use keyreeve_store::StoreError;
use keyreeve_store::model::SliceRequest;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

const SHARDS: usize = 16;
/// Most keys of a shard that are metered at once. One more takes the place of any: a soft limit is generous then for once,
/// a hard one asks the store.
const SHARD_KEYS_MAX: usize = 65_536;
/// After this long without a use, what is left of slices of quotas goes back.
const IDLE_MS: u64 = 10_000;
/// How often the store is asked for one use: others may take what came for it.
const CHARGE_TRIES: usize = 8;

/// The meters of this process.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    shards: [Mutex<HashMap<KeyId, Meter>>; SHARDS],
    /// Which shard is looked through next.
    next: AtomicUsize,
}

/// How the limits of a key stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Every limit.
    pub standings: Vec<Standing>,
    /// When it was refused: seconds after which it might not be; `None` is never.
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

    /// Counts a use of a key whose limits are `joined`, or says why not; and how they stand, if that is an answer.
    fn take(
        &self,
        (key, joined): (KeyId, &str),
        cost: u32,
        now: Timestamp,
        supplied: &[Supply],
    ) -> Result<(Taken, Vec<Standing>), LimitsError> {
        let mut shard = self.shard(key);
        if !shard.get(&key).is_some_and(|meter| meter.is_for(joined)) {
            let mut meter = Meter::new(joined, now)?;
            if let Some(older) = shard.remove(&key) {
                meter.inherit(older);
            }
            make_room(&mut shard, now);
            shard.insert(key, meter);
        }
        let meter = shard.get_mut(&key).ok_or(LimitsError::Unreadable)?;
        let taken = meter.take(u64::from(cost), now, supplied);
        let standings = match taken {
            Taken::Yes | Taken::No { .. } => meter.standings(now),
            Taken::Ask(_) => Vec::new(),
        };
        Ok((taken, standings))
    }

    /// Looks one shard through: what is left of slices that nobody uses, and forgets meters that say nothing.
    fn tidy(&self, now: Timestamp, idle_ms: u64) -> Vec<(KeyId, Vec<Need>)> {
        let place = self.next.fetch_add(1, Ordering::Relaxed) % SHARDS;
        let Some(shard) = self.shards.get(place) else {
            return Vec::new();
        };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = Vec::new();
        shard.retain(|key, meter| {
            if now.millis_since(meter.used_at()) < idle_ms {
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

fn make_room(shard: &mut HashMap<KeyId, Meter>, now: Timestamp) {
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
    /// Counts a use of a key that is good otherwise.
    pub(crate) async fn charge(&self, entry: &Entry, cost: u32) -> (Result<(), Denial>, Option<Box<Budget>>) {
        let unknown = (Err(Denial::Unavailable), None);
        let mut supplied = Vec::new();
        for _ in 0..CHARGE_TRIES {
            let now = self.now();
            let key = (entry.key_id(), entry.limits());
            // Limits that cannot be read let nobody through.
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

    async fn slices(&self, key: KeyId, needs: Vec<Need>, now: Timestamp) -> Result<Vec<Supply>, StoreError> {
        let request = SliceRequest {
            key,
            needs: needs.clone(),
            now,
        };
        let slices = self.store.take_slices(request).await?;
        let supplied = needs.into_iter().zip(slices).map(|(need, slice)| Supply {
            need,
            asked: now,
            slice,
        });
        Ok(supplied.collect())
    }

    /// Gives back what nobody has used for a while, a part at a time: to be called once a second.
    pub async fn tidy_meters(&self) {
        self.hand_back(IDLE_MS).await;
    }

    /// Gives everything back, before the end.
    pub(crate) async fn empty_meters(&self) {
        for _ in 0..SHARDS {
            self.hand_back(0).await;
        }
    }

    async fn hand_back(&self, idle_ms: u64) {
        let now = self.now();
        for (key, needs) in self.verifier.meters.tidy(now, idle_ms) {
            // What cannot be given back is lost: less is let through then, never more.
            drop(self.slices(key, needs, now).await);
        }
    }
}
