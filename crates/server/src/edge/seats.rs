//! Bounds the number of connections, per address and in total, and chooses which one is closed to make room.
//!
//! A connection is known as soon as a request on it had a valid credential. An unknown one is cheap for its client, so
//! it is evicted first: when the share of its address or the complete listener is full, the oldest unknown connection
//! without a running request makes room. A client that sends its request at once is served, however many idle
//! connections there are.
//!
//! Known connections cannot block a listener either: when they have all seats, the address with most of them makes
//! room, until a quarter of the seats belongs to unknown connections.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Most connections of one listener, whatever the operating system allows.
const CONNECTIONS_MAX: usize = 16_384;
/// Most unknown connections of one address.
const UNKNOWN_MAX: usize = 512;
/// Most connections of the operations listener, and of the socket in the data directory.
pub(crate) const RESERVED_CONNECTIONS: usize = 64;
/// Most connections of one address, as a share of the listener: three quarters, because all clients of a proxy are one
/// address.
const ADDRESS_SHARE: (usize, usize) = (3, 4);

/// Numbers of connections that a listener allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SeatLimits {
    /// In total.
    pub(crate) all: usize,
    /// Of one address.
    pub(crate) of_address: usize,
    /// Unknown ones of one address.
    pub(crate) of_address_unknown: usize,
    /// Unknown ones for which known ones make room.
    pub(crate) unknown: usize,
}

impl SeatLimits {
    /// Returns the limits of a listener for clients, for a number of descriptors.
    pub(crate) fn public(descriptors: usize) -> Self {
        let all = descriptors.clamp(1, CONNECTIONS_MAX);
        let of_address = (all * ADDRESS_SHARE.0 / ADDRESS_SHARE.1).max(1);
        Self {
            all,
            of_address,
            of_address_unknown: (all / 4).clamp(1, UNKNOWN_MAX),
            unknown: (all / 4).max(1),
        }
    }

    /// Returns the limits of a listener for the machine itself: one client may use all of it.
    pub(crate) const fn reserved() -> Self {
        Self {
            all: RESERVED_CONNECTIONS,
            of_address: RESERVED_CONNECTIONS,
            of_address_unknown: RESERVED_CONNECTIONS,
            unknown: RESERVED_CONNECTIONS,
        }
    }
}

/// The connections of one listener, or of several that share them. Cloning is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Seats(Arc<SharedSeats>);

#[derive(Debug)]
struct SharedSeats {
    limits: SeatLimits,
    table: Mutex<SeatTable>,
    /// Evicted connections that are not closed yet.
    leaving: AtomicUsize,
    evicted: AtomicU64,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct SeatTable {
    next: u64,
    /// From the oldest to the newest.
    taken: BTreeMap<u64, Arc<Occupant>>,
    unknown: BTreeSet<u64>,
    by_address: HashMap<Option<IpAddr>, OfAddress>,
}

#[derive(Debug, Default)]
struct OfAddress {
    taken: BTreeSet<u64>,
    unknown: BTreeSet<u64>,
}

/// State of a connection.
#[derive(Debug)]
struct Occupant {
    address: Option<IpAddr>,
    /// Running requests.
    busy: AtomicUsize,
    is_known: AtomicBool,
    is_evicted: AtomicBool,
    evicted: Notify,
}

/// The seat of one connection, released when the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Seat(Arc<HeldSeats>);

#[derive(Debug)]
struct HeldSeats {
    number: u64,
    occupant: Arc<Occupant>,
    seats: Seats,
}

/// While it exists, its connection is not evicted.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Occupant>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Counts of a listener, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SeatCounts {
    pub(crate) taken: usize,
    pub(crate) unknown: usize,
    pub(crate) all: usize,
    pub(crate) evicted: u64,
    pub(crate) refused: u64,
}

impl Seats {
    pub(crate) fn new(limits: SeatLimits) -> Self {
        Self(Arc::new(SharedSeats {
            limits,
            table: Mutex::default(),
            leaving: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }))
    }

    /// Takes a seat for an accepted connection. `None` if no connection of its address, or of the listener, can be
    /// evicted: then the connection must be closed.
    pub(crate) fn take(&self, address: Option<IpAddr>) -> Option<Seat> {
        let address = address.map(keyreeve_web::address_rate_limits::place);
        // One lock for both: the room that is made here is taken by this connection.
        let mut table = self.table();
        if !table.make_room(address, &self.0) {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let occupant = Arc::new(Occupant {
            address,
            busy: AtomicUsize::new(0),
            is_known: AtomicBool::new(false),
            is_evicted: AtomicBool::new(false),
            evicted: Notify::new(),
        });
        let number = table.next;
        table.next += 1;
        table.taken.insert(number, Arc::clone(&occupant));
        table.unknown.insert(number);
        let own = table.by_address.entry(address).or_default();
        own.taken.insert(number);
        own.unknown.insert(number);
        Some(Seat(Arc::new(HeldSeats {
            number,
            occupant,
            seats: self.clone(),
        })))
    }

    /// Returns the number of evicted connections that are not closed yet, whose descriptors are still open.
    pub(crate) fn leaving(&self) -> usize {
        self.0.leaving.load(Ordering::Acquire)
    }

    pub(crate) fn counts(&self) -> SeatCounts {
        let table = self.table();
        SeatCounts {
            taken: table.taken.len(),
            unknown: table.unknown.len(),
            all: self.0.limits.all,
            evicted: self.0.evicted.load(Ordering::Relaxed),
            refused: self.0.refused.load(Ordering::Relaxed),
        }
    }

    fn table(&self) -> MutexGuard<'_, SeatTable> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SeatTable {
    /// Evicts a connection if needed for one more of an address; false if none can be evicted.
    fn make_room(&mut self, address: Option<IpAddr>, shared: &SharedSeats) -> bool {
        let limits = shared.limits;
        let own = self.by_address.get(&address);
        if own.is_some_and(|own| own.unknown.len() >= limits.of_address_unknown) {
            let oldest = own.and_then(|own| self.oldest_idle(&own.unknown));
            return oldest.is_some_and(|number| self.evict(number, shared));
        }
        if own.is_some_and(|own| own.taken.len() >= limits.of_address) {
            let oldest = own.and_then(|own| self.oldest_idle(&own.unknown).or_else(|| self.oldest_idle(&own.taken)));
            return oldest.is_some_and(|number| self.evict(number, shared));
        }
        // Only here others make room: an address at a bound of its own has done so above.
        if self.taken.len() >= limits.all {
            let oldest = self.oldest_idle(&self.unknown).or_else(|| self.oldest_known(limits));
            return oldest.is_some_and(|number| self.evict(number, shared));
        }
        true
    }

    /// Returns the oldest idle connection of the address with most of them, if unknown connections have less than their
    /// share.
    fn oldest_known(&self, limits: SeatLimits) -> Option<u64> {
        let has_share = self.unknown.len() >= limits.unknown;
        let most = self.by_address.values().max_by_key(|of_address| of_address.taken.len());
        most.filter(|_| !has_share)
            .and_then(|most| self.oldest_idle(&most.taken))
    }

    fn oldest_idle(&self, among: &BTreeSet<u64>) -> Option<u64> {
        let is_idle = |number: &&u64| {
            let occupant = self.taken.get(number);
            occupant.is_some_and(|occupant| occupant.busy.load(Ordering::Acquire) == 0)
        };
        among.iter().find(is_idle).copied()
    }

    fn evict(&mut self, number: u64, shared: &SharedSeats) -> bool {
        let Some(occupant) = self.remove(number) else {
            return false;
        };
        // The seat is free at once. The descriptor is open until the connection ends, which `leaving` counts.
        // Counted before the flag is set: a connection that ends at this moment reads the flag and subtracts.
        shared.leaving.fetch_add(1, Ordering::AcqRel);
        occupant.is_evicted.store(true, Ordering::Release);
        shared.evicted.fetch_add(1, Ordering::Relaxed);
        occupant.evicted.notify_waiters();
        true
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Occupant>> {
        let occupant = self.taken.remove(&number)?;
        self.unknown.remove(&number);
        if let Some(own) = self.by_address.get_mut(&occupant.address) {
            own.taken.remove(&number);
            own.unknown.remove(&number);
            if own.taken.is_empty() {
                self.by_address.remove(&occupant.address);
            }
        }
        Some(occupant)
    }
}

impl Seat {
    /// Marks the connection as known: a request on it had a valid credential.
    pub(crate) fn note_known(&self) {
        let occupant = &self.0.occupant;
        // The load first: for all requests but one of a connection it finds the mark, and writes nothing.
        if occupant.is_known.load(Ordering::Relaxed) || occupant.is_known.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut table = self.0.seats.table();
        table.unknown.remove(&self.0.number);
        if let Some(own) = table.by_address.get_mut(&occupant.address) {
            own.unknown.remove(&self.0.number);
        }
    }

    /// Marks a request as running.
    pub(crate) fn busy(&self) -> Busy {
        self.0.occupant.busy.fetch_add(1, Ordering::AcqRel);
        Busy(Arc::clone(&self.0.occupant))
    }

    /// Returns whether a request is running.
    pub(crate) fn is_busy(&self) -> bool {
        self.0.occupant.busy.load(Ordering::Acquire) > 0
    }

    /// Waits until the connection is evicted.
    pub(crate) async fn evicted(&self) {
        let occupant = &self.0.occupant;
        // Registered before the flag is read: an eviction in between is not missed.
        let mut notified = pin!(occupant.evicted.notified());
        notified.as_mut().enable();
        if !occupant.is_evicted.load(Ordering::Acquire) {
            notified.await;
        }
    }
}

impl Drop for HeldSeats {
    fn drop(&mut self) {
        if self.occupant.is_evicted.load(Ordering::Acquire) {
            self.seats.0.leaving.fetch_sub(1, Ordering::AcqRel);
        } else {
            // It may be evicted concurrently: then the table no longer has it.
            let gone = self.seats.table().remove(self.number);
            if gone.is_none() {
                self.seats.0.leaving.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn seats(all: usize, of_address: usize, of_address_unknown: usize) -> Seats {
        Seats::new(SeatLimits {
            all,
            of_address,
            of_address_unknown,
            unknown: (all / 4).max(1),
        })
    }

    fn address(number: u8) -> IpAddr {
        [192, 0, 2, number].into()
    }

    fn is_evicted(seat: &Seat) -> bool {
        seat.evicted().now_or_never().is_some()
    }

    #[test]
    fn the_oldest_idle_connection_without_a_credential_makes_room() {
        let seats = seats(100, 100, 3);
        let known = seats.take(Some(address(1))).unwrap();
        known.note_known();
        let busy = seats.take(Some(address(1))).unwrap();
        let request = busy.busy();
        let (oldest, newer) = (
            seats.take(Some(address(1))).unwrap(),
            seats.take(Some(address(1))).unwrap(),
        );
        let other = seats.take(Some(address(2))).unwrap();
        let newest = seats.take(Some(address(1))).unwrap();
        assert!(is_evicted(&oldest));
        for seat in [&known, &busy, &newer, &other, &newest] {
            assert!(!is_evicted(seat));
        }
        assert_eq!((seats.leaving(), seats.counts().taken), (1, 5));
        drop((oldest, request));
        assert_eq!(seats.leaving(), 0);
        let another = seats.take(Some(address(1))).unwrap();
        assert!(is_evicted(&busy) && !is_evicted(&another));
    }

    #[test]
    fn an_address_has_a_share_and_others_find_room() {
        let seats = seats(6, 4, 4);
        let known: Vec<_> = (0..4).map(|_| seats.take(Some(address(1))).unwrap()).collect();
        for seat in &known {
            seat.note_known();
        }
        let first = seats.take(Some(address(1))).unwrap();
        assert!(is_evicted(&known[0]), "its own oldest");
        assert!(seats.take(Some(address(2))).is_some() && seats.take(Some(address(3))).is_some());
        drop(first);
    }

    #[test]
    fn known_connections_of_few_addresses_leave_room_for_others_and_strangers_take_a_quarter() {
        let seats = seats(8, 6, 6);
        let take = |number| seats.take(Some(address(number)));
        let known: Vec<_> = [1, 1, 1, 1, 1, 1, 2, 2]
            .into_iter()
            .map(|number| take(number).unwrap())
            .collect();
        known.iter().for_each(Seat::note_known);
        let stranger = take(3).unwrap();
        assert!(is_evicted(&known[0]), "of the address that has most");
        let request = stranger.busy();
        let second = take(3).unwrap();
        assert!(is_evicted(&known[1]) && !is_evicted(&known[6]));
        let more = second.busy();
        assert!(take(3).is_none(), "a quarter is what strangers get");
        assert_eq!(known.iter().filter(|seat| is_evicted(seat)).count(), 2);
        drop((request, more));
        assert!(take(4).is_some(), "the stranger that is idle makes room");
    }

    #[test]
    fn nobody_is_thrown_out_in_the_middle_of_a_request() {
        let seats = seats(2, 2, 2);
        let held: Vec<_> = (0..2).map(|_| seats.take(None).unwrap()).collect();
        let busy: Vec<_> = held.iter().map(Seat::busy).collect();
        assert!(seats.take(None).is_none() && seats.take(Some(address(1))).is_none());
        assert_eq!(seats.counts().refused, 2);
        drop(busy);
        assert!(seats.take(Some(address(1))).is_some());
    }

    #[test]
    fn places_are_given_back() {
        let seats = seats(2, 2, 2);
        for _ in 0..10 {
            let seat = seats.take(Some(address(1))).unwrap();
            seat.note_known();
        }
        let counts = seats.counts();
        assert_eq!((counts.taken, counts.unknown, counts.evicted), (0, 0, 0));
        assert!(seats.table().by_address.is_empty());
    }
}
