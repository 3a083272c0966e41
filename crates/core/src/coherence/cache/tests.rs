use super::*;
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

#[derive(Clone, Debug)]
struct Thing(Arc<(Digest, u64, AtomicBool)>);

impl Cached for Thing {
    fn digest(&self) -> &Digest {
        &self.0.0
    }
    fn touch(&self) {
        self.0.2.store(true, Ordering::Relaxed);
    }
    fn forget_touch(&self) -> bool {
        self.0.2.swap(false, Ordering::Relaxed)
    }
}

fn thing(n: u64, version: u64) -> Thing {
    Thing(Arc::new((digest(n), version, AtomicBool::new(false))))
}

fn digest(n: u64) -> Digest {
    Digest::of(&n.to_be_bytes())
}

fn version_of(cache: &Cache<Thing>, n: u64) -> Option<u64> {
    cache.get(&digest(n)).map(|thing| thing.0.1)
}

#[test]
fn a_fill_overtaken_by_a_change_is_not_let_in() {
    let cache = Cache::new(100);
    let ticket = cache.begin_fill(digest(1)).unwrap();
    cache.apply(2, [&digest(1)]);
    assert_eq!(ticket.finish(1, Some(thing(1, 1))), Filled::Overtaken);
    assert_eq!(version_of(&cache, 1), None);
}

#[test]
fn a_change_of_another_key_does_not_disturb_a_fill() {
    let cache = Cache::new(100);
    let ticket = cache.begin_fill(digest(1)).unwrap();
    cache.apply(2, [&digest(7)]);
    assert_eq!(ticket.finish(1, Some(thing(1, 1))), Filled::Kept);
    assert_eq!(version_of(&cache, 1), Some(1));
}

#[test]
fn a_reading_older_than_what_was_applied_is_not_let_in() {
    let cache = Cache::new(100);
    cache.apply(5, [&digest(1)]);
    let ticket = cache.begin_fill(digest(1)).unwrap();
    assert_eq!(ticket.finish(4, Some(thing(1, 4))), Filled::Overtaken);
    let ticket = cache.begin_fill(digest(1)).unwrap();
    assert_eq!(ticket.finish(5, Some(thing(1, 5))), Filled::Kept);
}

/// Found by the simulator: a node answered VALID after it had answered REVOKED, because an earlier reading ended later.
#[test]
fn a_late_reading_does_not_replace_a_newer_one() {
    let cache = Cache::new(1_000);
    let early = cache.begin_fill(digest(1)).unwrap();
    let late = cache.begin_fill(digest(1)).unwrap();
    assert_eq!(late.finish(7, Some(thing(1, 7))), Filled::Kept);
    assert_eq!(early.finish(6, Some(thing(1, 6))), Filled::Overtaken);
    assert_eq!(version_of(&cache, 1), Some(7));
    let same = cache.begin_fill(digest(1)).unwrap();
    let also = cache.begin_fill(digest(1)).unwrap();
    assert_eq!(same.finish(7, Some(thing(1, 7))), Filled::Kept);
    assert_eq!(also.finish(7, Some(thing(1, 7))), Filled::Kept, "nothing came between");
}

#[test]
fn a_flush_voids_open_fills_and_forgets_everything() {
    let cache = Cache::new(100);
    let _kept = cache.begin_fill(digest(1)).unwrap().finish(0, Some(thing(1, 0)));
    let ticket = cache.begin_fill(digest(2)).unwrap();
    cache.flush();
    assert_eq!(ticket.finish(9, Some(thing(2, 9))), Filled::Overtaken);
    assert!(cache.is_empty());
}

#[test]
fn tickets_given_up_are_closed_and_too_many_are_refused() {
    let cache: Cache<Thing> = Cache::new(100);
    let open: Vec<_> = (0..TICKETS_PER_SHARD_MAX)
        .map(|_| cache.begin_fill(digest(1)).unwrap())
        .collect();
    assert!(cache.begin_fill(digest(1)).is_none());
    drop(open);
    assert!(cache.begin_fill(digest(1)).is_some());
}

#[test]
fn the_memory_stays_bounded_and_keeps_what_is_used() {
    let cache = Cache::new(SHARDS * 4);
    let fill = |n| {
        cache
            .begin_fill(digest(n))
            .map(|ticket| ticket.finish(0, Some(thing(n, 0))))
    };
    fill(0);
    for n in 1..20_000 {
        assert!(
            cache.get(&digest(0)).is_some(),
            "a key in constant use was evicted at {n}"
        );
        fill(n);
    }
    assert!(cache.len() <= SHARDS * 4);
}

#[test]
fn a_memory_beyond_its_bound_and_a_floor_below_what_is_covered_are_reported() {
    let cache = Cache::new(SHARDS);
    cache.apply(7, []);
    assert_eq!((cache.check(), cache.check_floor(7)), (Ok(()), Ok(())));
    let violation = cache.check_floor(8).unwrap_err();
    let expected = (Invariant::FillFloor, 8, 7);
    assert_eq!((violation.invariant, violation.found, violation.allowed), expected);
    let spread = |thing: &Thing| thing.digest().spread();
    for n in 0..2 {
        let mut shard = unpoisoned(&cache.shards[0]);
        shard.entries.insert_unique(digest(n).spread(), thing(n, 1), spread);
    }
    assert_eq!(cache.check().unwrap_err().invariant, Invariant::MemoryBound);
}

#[derive(Clone, Debug)]
enum Event {
    Change(u64),
    BeginFill(u64),
    FinishFill,
    Look(u64),
}

fn any_event() -> impl Strategy<Value = Event> {
    let key = 0_u64..6;
    prop_oneof![
        key.clone().prop_map(Event::Change),
        key.clone().prop_map(Event::BeginFill),
        Just(Event::FinishFill),
        key.prop_map(Event::Look),
    ]
}

proptest! {
    /// Against a model store: whatever order fills and changes have, the memory answers with the newest version.
    #[test]
    fn memory_never_answers_what_a_change_has_replaced(events in prop::collection::vec(any_event(), 0..200)) {
        let cache = Cache::new(3);
        let mut truth: HashMap<u64, u64> = HashMap::new();
        let mut revision = 0;
        let mut open = Vec::new();
        for event in events {
            match event {
                Event::Change(n) => {
                    revision += 1;
                    truth.insert(n, revision);
                    cache.apply(revision, [&digest(n)]);
                }
                Event::BeginFill(n) => {
                    let ticket = cache.begin_fill(digest(n)).unwrap();
                    open.push((ticket, revision, truth.get(&n).map(|&version| thing(n, version))));
                }
                Event::FinishFill => if let Some((ticket, read_at, found)) = open.pop() {
                    let _filled = ticket.finish(read_at, found);
                },
                Event::Look(n) => if let Some(version) = version_of(&cache, n) {
                    prop_assert_eq!(Some(&version), truth.get(&n));
                },
            }
        }
    }
}

/// A database that has lost commits is at an earlier revision than what was applied (rule R19).
#[test]
fn a_new_session_begins_with_the_floor_of_its_first_reading_also_a_lower_one() {
    let cache = Cache::new(100);
    cache.apply(9, [&digest(1)]);
    let of_before = cache.begin_fill(digest(1)).unwrap();
    cache.begin(5);
    assert_eq!(of_before.finish(9, Some(thing(1, 9))), Filled::Overtaken);
    assert_eq!(cache.applied(), 5);
    let ticket = cache.begin_fill(digest(1)).unwrap();
    assert_eq!(ticket.finish(5, Some(thing(1, 5))), Filled::Kept);
    assert_eq!(version_of(&cache, 1), Some(5));
}
