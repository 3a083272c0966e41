//! A bounded memory of secrets in which no stored reading is older than an applied change.
//!
//! Rule R5, as it is kept here: a fill takes a [`Ticket`] *before* it reads the store. A change marks every open ticket
//! of the digests it touches. The result of a marked ticket is dropped, and so is one that was read from a store older
//! than what had been applied when the ticket was taken. Fills are never shared between requests, so none can join one
//! that began before a change. Of two fills of one secret, the one that read earlier cannot replace the result of the
//! other.

use super::invariants::{Invariant, InvariantResult, number};
use super::rules::{Rule, keeps};
use crate::key::Digest;
use hashbrown::HashTable;
use std::fmt;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A value that is stored under a digest.
pub trait Cached: Clone {
    /// Returns its digest.
    fn digest(&self) -> &Digest;
    /// Returns the address of the rest of it, if that is elsewhere, without reading there.
    fn place(&self) -> usize {
        0
    }
    /// Marks it as recently used.
    fn touch(&self);
    /// Clears the mark; returns whether it was set.
    fn forget_touch(&self) -> bool;
}

/// A power of two, so that a shard is found by masking the digest. More shards than cores ever contend for.
const SHARDS: usize = 64;
/// Most fills open at once in one shard. One more miss is answered as unavailable.
const TICKETS_PER_SHARD_MAX: usize = 1_024;

/// The memory. All methods are short and wait only for each other's shard locks.
pub struct Cache<E> {
    shards: Vec<Mutex<Shard<E>>>,
    capacity_per_shard: usize,
    applied: AtomicU64,
    next_ticket: AtomicU64,
}

/// The clock hand goes round the buckets to evict what was not used since it last passed (second chance).
struct Shard<E> {
    entries: HashTable<E>,
    hand: usize,
    tickets: Vec<OpenTicket>,
}

struct OpenTicket {
    id: u64,
    digest: Digest,
    is_overtaken: bool,
    /// An older reading is refused. It is what had been applied when the ticket was taken, or what another fill of the
    /// same secret has read since.
    floor: u64,
}

/// The right to store the result of one fill. Take it before reading the store.
#[must_use = "a ticket that is not handed back lets nothing in"]
pub struct Ticket<'c, E> {
    cache: &'c Cache<E>,
    id: u64,
    digest: Digest,
}

/// The result of a fill.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filled {
    /// The reading is current and, if it found something, remembered.
    Kept,
    /// A change overtook the reading: look up again, and read again if necessary.
    Overtaken,
}

impl<E: Cached> Cache<E> {
    /// Creates an empty memory for at most `capacity` entries (at least one per shard).
    pub fn new(capacity: usize) -> Self {
        let shard = || Shard {
            entries: HashTable::new(),
            hand: 0,
            tickets: Vec::new(),
        };
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(shard())).collect(),
            capacity_per_shard: capacity.div_ceil(SHARDS).max(1),
            applied: AtomicU64::new(0),
            next_ticket: AtomicU64::new(1),
        }
    }

    /// Returns the most entries there may be.
    pub fn capacity(&self) -> usize {
        self.capacity_per_shard.saturating_mul(SHARDS)
    }

    /// Returns the entry of a digest.
    pub fn get(&self, digest: &Digest) -> Option<E> {
        let shard = self.shard(digest)?;
        let entry = shard.find(digest)?;
        // The read-only fields first: a clone's atomic count would stop the processor from reading ahead of it.
        entry.touch();
        Some(entry.clone())
    }

    /// Returns the entry of a digest without marking it as used.
    pub fn peek(&self, digest: &Digest) -> Option<E> {
        Some(self.shard(digest)?.find(digest)?.clone())
    }

    /// Takes a ticket for a fill; `None` if too many fills are open.
    pub fn begin_fill(&self, digest: Digest) -> Option<Ticket<'_, E>> {
        let mut shard = self.shard(&digest)?;
        if shard.tickets.len() >= TICKETS_PER_SHARD_MAX {
            return None;
        }
        // Relaxed: the numbers only have to differ.
        let id = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        // Under the shard's lock: a change that takes it later marks this ticket, and one that took it earlier was
        // committed before the caller reads the store.
        shard.tickets.push(OpenTicket {
            id,
            digest,
            is_overtaken: false,
            floor: self.applied(),
        });
        debug_assert_eq!(shard.check(self.capacity_per_shard), Ok(()));
        Some(Ticket {
            cache: self,
            id,
            digest,
        })
    }

    /// Applies a committed change: forgets what it touched, and voids fills that read before it. Call after the commit
    /// and before the change is answered.
    pub fn apply<'d>(&self, revision: u64, touched: impl IntoIterator<Item = &'d Digest>) {
        for digest in touched {
            if let Some(mut shard) = self.shard(digest) {
                shard.remove(digest);
                for ticket in shard.tickets.iter_mut().filter(|open| open.digest == *digest) {
                    ticket.is_overtaken = true;
                }
            }
        }
        // Last: a verdict that covers this revision must not use an entry that the change has touched.
        self.applied.fetch_max(revision, Ordering::Release);
    }

    /// Begins a session (rule R19): forgets everything, and takes `revision` as the floor of fills, also if it is lower
    /// than before. The database may have lost what was applied, and fills would be refused until as many changes were
    /// made as were lost.
    pub fn begin(&self, revision: u64) {
        match keeps(Rule::FloorOfTheSession) {
            true => self.applied.store(revision, Ordering::Release),
            false => drop(self.applied.fetch_max(revision, Ordering::Release)),
        }
        // After the floor is set, so that a fill that began under the old one is voided.
        if keeps(Rule::EmptyAtRegistration) {
            self.flush();
        }
    }

    /// Forgets everything and voids every open fill, because it is unknown what changed.
    pub fn flush(&self) {
        for shard in &self.shards {
            let mut shard = unpoisoned(shard);
            shard.entries.clear();
            shard.hand = 0;
            for ticket in &mut shard.tickets {
                ticket.is_overtaken = true;
            }
        }
    }

    /// Voids every open fill and keeps the entries.
    pub fn overtake_fills(&self) {
        for shard in &self.shards {
            for ticket in &mut unpoisoned(shard).tickets {
                ticket.is_overtaken = true;
            }
        }
    }

    /// Returns the newest applied revision, up to which a verdict from memory covers every change.
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| unpoisoned(shard).entries.len()).sum()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks [`Invariant::MemoryBound`]. Takes each shard's lock in turn.
    pub fn check(&self) -> InvariantResult {
        let mut shards = self.shards.iter();
        shards.try_for_each(|shard| unpoisoned(shard).check(self.capacity_per_shard))
    }

    /// Checks [`Invariant::FillFloor`]: `covered` is the revision that verdicts name. Call on the thread that applies
    /// changes: at the begin of a session both are lowered, one after the other.
    pub fn check_floor(&self, covered: u64) -> InvariantResult {
        Invariant::FillFloor.at_most(covered, self.applied())
    }

    fn shard(&self, digest: &Digest) -> Option<MutexGuard<'_, Shard<E>>> {
        // The table uses the low bits of the same number, so the shard uses high ones.
        let number = usize::try_from(digest.spread() >> 48).unwrap_or(0);
        self.shards.get(number % SHARDS).map(unpoisoned)
    }
}

/// A panic under a shard's lock leaves no wrong entry: at worst one is missing.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<E> Shard<E> {
    fn check(&self, capacity: usize) -> InvariantResult {
        Invariant::MemoryBound.at_most(number(self.entries.len()), number(capacity))?;
        Invariant::MemoryBound.at_most(number(self.tickets.len()), number(TICKETS_PER_SHARD_MAX))
    }
}

impl<E: Cached> Shard<E> {
    fn find(&self, digest: &Digest) -> Option<&E> {
        // The table reads the control bytes first and then a bucket: two distant places, one after the other. Nearly
        // always the entry is in the home bucket or a neighbour, so touching that first fetches both cache lines at
        // once.
        let home = usize::try_from(digest.spread()).unwrap_or(0) & self.entries.num_buckets().wrapping_sub(1);
        black_box(self.entries.get_bucket(home).map(E::place));
        self.entries.find(digest.spread(), |entry| entry.digest() == digest)
    }

    fn insert(&mut self, entry: E, capacity: usize) {
        // Two entries of one digest would outlive a change, which removes one.
        let digest = *entry.digest();
        self.remove(&digest);
        while self.entries.len() >= capacity {
            self.evict_one();
        }
        let spread = |entry: &E| entry.digest().spread();
        self.entries.insert_unique(digest.spread(), entry, spread);
    }

    fn remove(&mut self, digest: &Digest) {
        let found = self
            .entries
            .find_entry(digest.spread(), |entry| entry.digest() == digest);
        if let Ok(found) = found {
            found.remove();
        }
    }

    /// Second chance: an entry that was used since the hand last passed is skipped once, so the second round finds one
    /// that was not, or evicts the next one.
    fn evict_one(&mut self) {
        let buckets = self.entries.num_buckets();
        for step in 0..buckets.saturating_mul(3) {
            self.hand = (self.hand + 1) % buckets;
            let Ok(entry) = self.entries.get_bucket_entry(self.hand) else {
                continue;
            };
            // The first round clears the marks. From the third on they protect nothing, so that this ends in any case.
            if !entry.get().forget_touch() || step >= buckets.saturating_mul(2) {
                entry.remove();
                return;
            }
        }
    }
}

impl<E: Cached> Ticket<'_, E> {
    /// Stores the reading. `store_revision` is the store's revision in the same reading. `found` is `None` if the store
    /// does not have the digest, which is never remembered: requests with unknown secrets could fill the memory.
    pub fn finish(self, store_revision: u64, found: Option<E>) -> Filled {
        let Some(mut shard) = self.cache.shard(&self.digest) else {
            return Filled::Overtaken;
        };
        let id = self.id;
        // A reading as of the floor itself is current: the floor is a revision that it includes.
        let is_behind = |open: &OpenTicket| open.is_overtaken || store_revision < open.floor;
        let is_overtaken = shard.tickets.iter().any(|open| open.id == id && is_behind(open));
        if is_overtaken && keeps(Rule::OvertakenFillsVoid) {
            return Filled::Overtaken;
        }
        // An earlier reading of the same secret that ends later must not replace this one.
        let digest = self.digest;
        for open in shard.tickets.iter_mut().filter(|open| open.digest == digest) {
            open.floor = open.floor.max(store_revision);
        }
        if let Some(entry) = found {
            shard.insert(entry, self.cache.capacity_per_shard);
        }
        debug_assert_eq!(shard.check(self.cache.capacity_per_shard), Ok(()));
        Filled::Kept
    }
}

impl<E> Drop for Ticket<'_, E> {
    /// Also if the request is cancelled: no ticket stays open.
    fn drop(&mut self) {
        let number = usize::try_from(self.digest.spread() >> 48).unwrap_or(0);
        if let Some(shard) = self.cache.shards.get(number % SHARDS) {
            let id = self.id;
            unpoisoned(shard).tickets.retain(|open| open.id != id);
        }
    }
}

impl<E> fmt::Debug for Cache<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("applied", &self.applied)
            .finish_non_exhaustive()
    }
}

impl<E> fmt::Debug for Ticket<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
