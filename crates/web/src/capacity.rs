//! Bounds how much of a resource callers may hold at once: each caller by a share, and all together.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A bounded resource. Cloning is cheap, and a clone is the same resource.
#[derive(Clone)]
pub(crate) struct Capacity<K>(Arc<SharedCapacity<K>>);

struct SharedCapacity<K> {
    of_one: usize,
    in_all: usize,
    held: Mutex<HeldPlaces<K>>,
}

struct HeldPlaces<K> {
    all: usize,
    by_caller: HashMap<K, usize>,
}

impl<K: Hash + Eq + Clone> Capacity<K> {
    /// `of_one`: most that one caller may hold; `in_all`: most that all callers may hold.
    pub(crate) fn new(of_one: usize, in_all: usize) -> Self {
        Self(Arc::new(SharedCapacity {
            of_one,
            in_all,
            held: Mutex::new(HeldPlaces {
                all: 0,
                by_caller: HashMap::new(),
            }),
        }))
    }

    /// Returns an empty reservation.
    pub(crate) fn reserve(&self, caller: K) -> Reservation<K> {
        Reservation {
            count: 0,
            caller,
            capacity: self.clone(),
        }
    }

    /// Returns a reservation of one; `None` if there is no room.
    pub(crate) fn reserve_one(&self, caller: K) -> Option<Reservation<K>> {
        let mut reservation = self.reserve(caller);
        reservation.grow(1).then_some(reservation)
    }

    fn held(&self) -> MutexGuard<'_, HeldPlaces<K>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> fmt::Debug for Capacity<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (of_one, in_all) = (self.0.of_one, self.0.in_all);
        f.debug_struct("Capacity")
            .field("of_one", &of_one)
            .field("in_all", &in_all)
            .finish_non_exhaustive()
    }
}

/// What one caller holds, until it is dropped.
#[derive(Debug)]
pub(crate) struct Reservation<K: Hash + Eq + Clone> {
    count: usize,
    caller: K,
    capacity: Capacity<K>,
}

impl<K: Hash + Eq + Clone> Reservation<K> {
    /// Holds more; false, without holding more, if there is no room.
    pub(crate) fn grow(&mut self, count: usize) -> bool {
        let SharedCapacity { of_one, in_all, .. } = *self.capacity.0;
        let mut held = self.capacity.held();
        let own = held.by_caller.get(&self.caller).copied().unwrap_or(0);
        let (all, own) = (held.all.saturating_add(count), own.saturating_add(count));
        if count == 0 || all > in_all || own > of_one {
            return count == 0;
        }
        held.all = all;
        held.by_caller.insert(self.caller.clone(), own);
        self.count = self.count.saturating_add(count);
        true
    }
}

impl<K: Hash + Eq + Clone> Drop for Reservation<K> {
    fn drop(&mut self) {
        if self.count == 0 {
            return;
        }
        let mut held = self.capacity.held();
        held.all = held.all.saturating_sub(self.count);
        if let Some(own) = held.by_caller.get_mut(&self.caller) {
            *own = own.saturating_sub(self.count);
            if *own == 0 {
                held.by_caller.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_a_share_and_all_have_a_bound_and_it_comes_back() {
        let capacity = Capacity::new(3, 5);
        let mut one = capacity.reserve_one("one").unwrap();
        assert!(one.grow(2) && !one.grow(1), "its share");
        assert!(capacity.reserve_one("one").is_none(), "the share is the caller's");
        let mut other = capacity.reserve_one("other").unwrap();
        assert!(!other.grow(2) && other.grow(1), "the bound");
        assert!(capacity.reserve_one("third").is_none());
        drop(one);
        assert!(other.grow(1) && !other.grow(1));
        let third = capacity.reserve_one("third").unwrap();
        drop((other, third));
        let held = capacity.held();
        assert!(held.all == 0 && held.by_caller.is_empty());
    }
}
