//! Slices of hard limits: each unit is granted once, whichever node requests it, and the audit log has no entry of it.

use crate::world::{NOW, World, context, draft, later};
use keyreeve_core::audit::Action;
use keyreeve_core::lifecycle::{Edit, Key};
use keyreeve_core::limits::{Limits, Need, Period, Slice, WantedSlice};
use keyreeve_core::policy::ExpiryWish;
use keyreeve_core::{KeyId, Timestamp};
use keyreeve_store::model::{IssueRequest, SliceRequest};

const LIMITS: &str = "net:192.0.2.0/24 net:2001:db8::/32 rate:r,10,60,10,hard quota:q,1000,day";

fn limits() -> Limits {
    Limits::from_joined(LIMITS).unwrap()
}

fn request(key: KeyId, place: usize, wish: WantedSlice, now: Timestamp) -> SliceRequest {
    let limit = limits().counted.as_slice()[place].clone();
    SliceRequest {
        key,
        needs: vec![Need { place, limit, wish }],
        now,
    }
}

async fn take(world: &World, key: KeyId, place: usize, least: u64, want: u64, now: Timestamp) -> Slice {
    let wish = WantedSlice {
        least,
        want,
        back: None,
    };
    let taken = world.store.take_slices(request(key, place, wish, now)).await;
    taken.unwrap().remove(0)
}

const KEY: KeyId = KeyId::from_bytes([1; 16]);
const OTHER: KeyId = KeyId::from_bytes([2; 16]);

pub async fn the_limits_of_a_key_come_back_as_they_were(world: World) {
    let order = keyreeve_core::lifecycle::IssueOrder {
        limits: limits(),
        ..world.order(&world.tenant, "user_1", "limited", ExpiryWish::Unsaid)
    };
    let items = vec![(order.subject.clone(), order.name.clone())];
    let request = IssueRequest {
        tenant: world.tenant.clone(),
        items,
        decide: Box::new(move |_, policy, facts| {
            let key = Key::issue(order.clone(), facts, policy, NOW)?;
            Ok((key, draft(Action::KeyCreated)))
        }),
        replace: Box::new(|_, key| Ok((key, draft(Action::KeyRotated)))),
    };
    let key = world.store.issue(context(), request).await.unwrap().keys.remove(0).key;
    assert_eq!(key.limits, limits());
    let found = world.store.key(&world.tenant, key.id, NOW).await.unwrap().unwrap();
    assert_eq!(found.key.limits, limits());
    let credential = world.store.find_credential(&key.secret.digest).await.unwrap();
    assert_eq!(&*credential.value.unwrap().key.unwrap().limits, LIMITS);
    let edit = Edit {
        networks: Some(keyreeve_core::limits::Networks::default()),
        counted: Some(keyreeve_core::limits::CountedLimits::default()),
        ..Edit::default()
    };
    let change = world.change_request(key.id, move |key, policy| key.update(edit, policy, NOW));
    let changed = world.store.change(context(), change).await.unwrap();
    assert_eq!(changed.record.unwrap().key.limits, Limits::default());
    let credential = world.store.find_credential(&key.secret.digest).await.unwrap();
    assert_eq!(&*credential.value.unwrap().key.unwrap().limits, "");
}

pub async fn a_slice_is_given_out_once_and_makes_no_revision(world: World) {
    let head = world.store.head().await.unwrap();
    assert_eq!(take(&world, KEY, 1, 1, 700, NOW).await.granted, 700);
    assert_eq!(take(&world, KEY, 1, 1, 700, NOW).await.granted, 300);
    assert_eq!(take(&world, KEY, 1, 1, 1, NOW).await.granted, 0);
    assert_eq!(
        take(&world, OTHER, 1, 1, 1, NOW).await.granted,
        1,
        "another key has its own"
    );
    assert_eq!(take(&world, KEY, 1, 1, 1, later(86_400)).await.granted, 1, "a new day");
    assert_eq!(take(&world, KEY, 0, 1, 20, NOW).await.granted, 10);
    assert_eq!(take(&world, KEY, 0, 1, 20, later(6)).await.granted, 1);
    assert_eq!(world.store.head().await.unwrap(), head);
}

pub async fn many_at_once_get_no_more_than_there_is(world: World) {
    let wish = WantedSlice {
        least: 1,
        want: 7,
        back: None,
    };
    let asked = (0..200).map(|_| world.store.take_slices(request(KEY, 1, wish, NOW)));
    let given = futures_util::future::join_all(asked).await;
    let sum: u64 = given.into_iter().map(|given| given.unwrap()[0].granted).sum();
    assert_eq!(sum, 1_000);
}

pub async fn what_comes_back_can_be_given_out_again(world: World) {
    let first = take(&world, KEY, 1, 1, 1_000, NOW).await;
    let back = WantedSlice {
        least: 0,
        want: 0,
        back: Some((400, first.counter.since)),
    };
    world.store.take_slices(request(KEY, 1, back, NOW)).await.unwrap();
    assert_eq!(take(&world, KEY, 1, 1, 1_000, NOW).await.granted, 400);
}

/// Returns the turn of the day that [`NOW`] is in: the last time before it, and the first after it.
fn turn() -> (Timestamp, Timestamp) {
    let end = Period::Day.end(NOW).unwrap();
    (Timestamp::from_millis(end.millis() - 1), end)
}

async fn give_back(world: &World, count: u64, of: i64, now: Timestamp) {
    let wish = WantedSlice {
        least: 0,
        want: 0,
        back: Some((count, of)),
    };
    world.store.take_slices(request(KEY, 1, wish, now)).await.unwrap();
}

pub async fn what_comes_back_after_the_turn_of_a_period_adds_nothing_to_the_next_one(world: World) {
    let (before, after) = turn();
    let old = take(&world, KEY, 1, 1, 1_000, before).await;
    assert_eq!(take(&world, KEY, 1, 1, 600, after).await.granted, 600);
    give_back(&world, 1_000, old.counter.since, after).await;
    // Also by a node whose clock has not reached the turn yet.
    give_back(&world, 1_000, old.counter.since, before).await;
    assert_eq!(take(&world, KEY, 1, 1, 1_000, after).await.granted, 400);
    assert_eq!(take(&world, KEY, 1, 1, 1, after).await.granted, 0);
}

pub async fn a_use_from_before_the_turn_does_not_open_the_next_period_again(world: World) {
    let (before, after) = turn();
    assert_eq!(take(&world, KEY, 1, 1, 900, after).await.granted, 900);
    let late = take(&world, KEY, 1, 1, 10, before).await;
    assert_eq!((late.granted, late.counter.since), (10, after.millis()));
    assert_eq!(take(&world, KEY, 1, 1, 1_000, after).await.granted, 90);
    assert_eq!(take(&world, KEY, 1, 1, 1, before).await.granted, 0);
}

pub async fn a_clock_that_goes_back_finds_the_count_of_its_period(world: World) {
    assert_eq!(take(&world, KEY, 1, 1, 1_000, NOW).await.granted, 1_000);
    assert_eq!(take(&world, KEY, 1, 1, 600, later(2 * 86_400)).await.granted, 600);
    assert_eq!(take(&world, KEY, 1, 1, 1_000, NOW).await.granted, 0);
    assert_eq!(take(&world, KEY, 1, 1, 1_000, later(2 * 86_400)).await.granted, 400);
}

pub async fn a_rate_that_a_wrong_clock_counted_is_stored_as_the_right_one_says(world: World) {
    assert_eq!(take(&world, KEY, 0, 1, 20, later(3_600)).await.granted, 10);
    assert_eq!(take(&world, KEY, 0, 1, 20, NOW).await.granted, 0);
    assert_eq!(take(&world, KEY, 0, 1, 20, later(60)).await.granted, 10);
}

pub async fn of_all_limits_that_are_asked_for_or_of_none(world: World) {
    let one = |place: usize, least| Need {
        place,
        limit: limits().counted.as_slice()[place].clone(),
        wish: WantedSlice {
            least,
            want: least,
            back: None,
        },
    };
    let ask = async |rate, quota| {
        let request = SliceRequest {
            key: KEY,
            needs: vec![one(0, rate), one(1, quota)],
            now: NOW,
        };
        let given = world.store.take_slices(request).await.unwrap();
        given.iter().map(|slice| slice.granted).collect::<Vec<_>>()
    };
    assert_eq!(ask(4, 1_000).await, [4, 1_000]);
    assert_eq!(ask(1, 1).await, [0, 0], "the quota is used up");
    assert_eq!(
        take(&world, KEY, 0, 1, 20, NOW).await.granted,
        6,
        "and nothing of the rate was taken"
    );
    let counters = world.store.counters(KEY).await.unwrap();
    let quota = counters.iter().find(|(name, _)| name.as_str() == "q").unwrap();
    assert_eq!((counters.len(), quota.1.value), (2, 1_000));
    assert!(world.store.counters(OTHER).await.unwrap().is_empty());
}

pub async fn a_limit_that_was_set_back_or_taken_away_forgets_its_count(world: World) {
    let key = world.issue("user_1", "limited").await;
    let set = async |counted: &str| {
        let edit = Edit {
            counted: Some(Limits::from_joined(counted).unwrap().counted),
            ..Edit::default()
        };
        let change = world.change_request(key.id, move |key, policy| key.update(edit, policy, NOW));
        world.store.change(context(), change).await.unwrap();
    };
    let known = async || world.store.counters(key.id).await.unwrap().len();
    set(LIMITS).await;
    take(&world, key.id, 0, 1, 1, NOW).await;
    take(&world, key.id, 1, 1, 1, NOW).await;
    assert_eq!(known().await, 2);
    set("rate:r,20,60,10,hard quota:other,1000,day").await;
    assert_eq!(known().await, 1);
    let change = world.change_request(key.id, |key, _| key.reset_limits(NOW));
    let changed = world.store.change(context(), change).await.unwrap().record.unwrap();
    assert_eq!((changed.key.limits.resets, known().await), (1, 0));
}

pub async fn counters_go_with_their_key(world: World) {
    let key = world.issue("user_1", "limited").await;
    assert_eq!(take(&world, key.id, 1, 1, 1_000, NOW).await.granted, 1_000);
    let request = world.change_request(key.id, |key, _| Ok(key.delete()));
    world.store.change(context(), request).await.unwrap();
    assert_eq!(take(&world, key.id, 1, 1, 1_000, NOW).await.granted, 1_000);
}
