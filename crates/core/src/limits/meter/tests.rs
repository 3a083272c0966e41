use super::super::Period;
use super::super::counter::slice;
use super::*;
use crate::text::LimitName;
use proptest::prelude::*;
use std::collections::HashMap;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn later(ms: i64) -> Timestamp {
    Timestamp::from_millis(NOW.millis() + ms)
}

/// The store: one counter a limit.
#[derive(Default)]
struct Store {
    counters: HashMap<LimitName, Counter>,
    asked: u32,
}

impl Store {
    fn give(&mut self, needs: &[Need], now: Timestamp) -> Vec<Supply> {
        self.asked += 1;
        let one = |need: &Need| {
            let counter = self.counters.get(&need.limit.name).copied();
            let slice = slice(&need.limit.bound, counter, need.wish, now);
            self.counters.insert(need.limit.name.clone(), slice.counter);
            Supply {
                need: need.clone(),
                asked: now,
                slice,
            }
        };
        needs.iter().map(one).collect()
    }
}

/// A use as a node makes it: it asks the store as often as it must.
fn used(meter: &mut Meter, store: &mut Store, cost: u64, now: Timestamp) -> Taken {
    let mut supplied = Vec::new();
    for _ in 0..8 {
        match meter.take(cost, now, &supplied) {
            Taken::Ask(needs) => supplied = store.give(&needs, now),
            answer => return answer,
        }
    }
    panic!("the store is asked for ever")
}

fn meter(joined: &str) -> Meter {
    Meter::new(joined, NOW).unwrap()
}

fn is_no(taken: &Taken, retry: Option<u64>) -> bool {
    *taken == Taken::No { retry_seconds: retry }
}

#[test]
fn a_soft_rate_asks_nobody_and_says_when_to_come_again() {
    let (mut meter, mut store) = (meter("rate:r,60,60,2,soft"), Store::default());
    for remaining in [1, 0] {
        assert_eq!(used(&mut meter, &mut store, 1, NOW), Taken::Yes);
        assert_eq!(meter.standings(NOW)[0].remaining, remaining);
    }
    assert!(is_no(&used(&mut meter, &mut store, 1, NOW), Some(1)));
    assert!(is_no(&used(&mut meter, &mut store, 3, NOW), None));
    assert_eq!(used(&mut meter, &mut store, 1, later(1_000)), Taken::Yes);
    assert_eq!((store.asked, meter.is_at_rest(later(1_000))), (0, false));
    assert!(meter.is_at_rest(later(10_000)));
}

#[test]
fn a_hard_rate_of_a_few_lets_all_of_them_through_and_is_then_refused_without_asking() {
    let (mut meter, mut store) = (meter("rate:r,5,60,5,hard"), Store::default());
    for _ in 0..5 {
        assert_eq!(used(&mut meter, &mut store, 1, NOW), Taken::Yes);
    }
    let asked = store.asked;
    for _ in 0..100 {
        assert!(is_no(&used(&mut meter, &mut store, 1, NOW), Some(12)));
    }
    assert!(store.asked <= asked + 1);
}

#[test]
fn a_quota_is_used_up_and_begins_again_with_its_period() {
    let (mut meter, mut store) = (meter("quota:d,1000,day"), Store::default());
    for _ in 0..1_000 {
        assert_eq!(used(&mut meter, &mut store, 1, NOW), Taken::Yes);
    }
    // A slice is a hundredth of it at most.
    assert!((100..200).contains(&store.asked), "{}", store.asked);
    let end = Period::Day.end(NOW).unwrap();
    let left = end.millis_since(NOW).div_ceil(1_000);
    assert!(is_no(&used(&mut meter, &mut store, 1, NOW), Some(left)));
    let standing = &meter.standings(NOW)[0];
    assert_eq!((standing.remaining, standing.reset_seconds), (0, Some(left)));
    assert_eq!(used(&mut meter, &mut store, 1, end), Taken::Yes);
    assert_eq!(meter.standings(end)[0].remaining, 999);
}

#[test]
fn what_was_not_used_of_a_quota_goes_back_to_the_others() {
    let (mut one, mut other, mut store) = (
        meter("quota:t,1000,total"),
        meter("quota:t,1000,total"),
        Store::default(),
    );
    for _ in 0..20 {
        assert_eq!(used(&mut one, &mut store, 1, NOW), Taken::Yes);
    }
    let mut of_other = 0;
    while used(&mut other, &mut store, 1, NOW) == Taken::Yes {
        of_other += 1;
    }
    assert!(of_other < 980);
    let back = one.hand_back();
    store.give(&back, NOW);
    let soon = later(2_000);
    while used(&mut other, &mut store, 1, soon) == Taken::Yes {
        of_other += 1;
    }
    assert_eq!(of_other, 980);
    assert_eq!(one.hand_back(), []);
}

#[test]
fn a_use_that_one_limit_refuses_is_counted_by_none() {
    let (mut meter, mut store) = (meter("rate:a,1,60,1,soft quota:b,5,total"), Store::default());
    assert_eq!(used(&mut meter, &mut store, 1, NOW), Taken::Yes);
    for _ in 0..10 {
        assert!(is_no(&used(&mut meter, &mut store, 1, NOW), Some(60)));
    }
    assert_eq!(meter.standings(NOW)[1].remaining, 4);
}

#[test]
fn a_new_meter_goes_on_where_the_limits_are_the_same() {
    let (mut old, mut store) = (meter("rate:a,1,60,1,soft"), Store::default());
    assert_eq!(used(&mut old, &mut store, 1, NOW), Taken::Yes);
    let mut new = meter("rate:a,1,60,1,soft quota:b,5,total");
    new.inherit(old);
    assert!(is_no(&used(&mut new, &mut store, 1, NOW), Some(60)));
}

#[test]
fn a_use_of_nothing_is_never_refused() {
    let (mut meter, mut store) = (meter("rate:a,1,60,1,hard quota:b,1,total"), Store::default());
    assert_eq!(used(&mut meter, &mut store, 1, NOW), Taken::Yes);
    assert_eq!(used(&mut meter, &mut store, 0, NOW), Taken::Yes);
}

#[derive(Clone, Debug)]
struct Step {
    node: usize,
    ms: i64,
    cost: u64,
    /// The node forgets everything, as after a crash.
    crashes: bool,
    /// The answer of the store comes so much later.
    delay: i64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (
        0_usize..4,
        0_i64..300,
        1_u64..3,
        prop::bool::weighted(0.02),
        prop_oneof![9 => Just(0_i64), 1 => 0_i64..50],
    );
    let step = step.prop_map(|(node, ms, cost, crashes, delay)| Step {
        node,
        ms,
        cost,
        crashes,
        delay,
    });
    prop::collection::vec(step, 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However uses are spread over nodes, and whatever is lost with one of them: not one more than the limit.
    #[test]
    fn hard_limits_are_never_exceeded_by_several_nodes(
        limit in 1_u32..2_000, seconds in 1_u32..60, burst in 1_u32..200, quota in 1_u64..500, steps in steps(),
    ) {
        let burst = burst.min(limit);
        let joined = format!("rate:r,{limit},{seconds},{burst},hard quota:q,{quota},total");
        let mut nodes: Vec<_> = (0..4).map(|_| meter(&joined)).collect();
        let (mut store, mut at, mut taken) = (Store::default(), 0, Vec::new());
        for step in steps {
            at += step.ms;
            if step.crashes {
                nodes[step.node] = meter(&joined);
            }
            let node = &mut nodes[step.node];
            let answer = match node.take(step.cost, later(at), &[]) {
                Taken::Ask(needs) => {
                    let supplied = store.give(&needs, later(at));
                    at += step.delay;
                    node.take(step.cost, later(at), &supplied)
                }
                answer => answer,
            };
            if answer == Taken::Yes {
                taken.push((at, step.cost));
            }
        }
        let all: u64 = taken.iter().map(|(_, cost)| cost).sum();
        prop_assert!(all <= quota);
        for (place, (begun, _)) in taken.iter().enumerate() {
            let mut sum = 0;
            for (at, cost) in &taken[place..] {
                sum += cost;
                // What waited for its answer came later than it was counted.
                let ms = u64::try_from(at - begun + 50).unwrap();
                let most = u64::from(burst) + u64::from(limit) * ms / (u64::from(seconds) * 1_000);
                prop_assert!(sum <= most, "{sum} in {ms} ms, {most} are allowed");
            }
        }
    }
}
