//! Charging the limits of a key: counted in memory (`memory/meters.rs`), with slices of the store's counters.

use crate::Authority;
use crate::memory::METER_SHARDS;
use crate::question::Budget;
use keyreeve_core::KeyId;
use keyreeve_core::coherence::Entry;
use keyreeve_core::limits::{At, Need, Supply, Taken};
use keyreeve_core::verdict::Denial;
use keyreeve_store::StoreError;
use keyreeve_store::model::SliceRequest;

/// Most requests to the store for one use. Concurrent uses may take the slice that was fetched for it.
const CHARGE_TRIES: usize = 8;

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

    /// Returns slices that were not used since [`METER_SHARDS`] calls ago to the store, one shard a call. Call once a second.
    pub async fn tidy_meters(&self) {
        self.hand_back(false).await;
    }

    /// Returns all slices to the store, before the process ends.
    pub(crate) async fn empty_meters(&self) {
        for _ in 0..METER_SHARDS {
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
