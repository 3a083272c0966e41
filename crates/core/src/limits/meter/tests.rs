use super::super::Period;
use super::super::counter::{rate, slice};
use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn later(ms: i64) -> Timestamp {
    Timestamp::from_millis(NOW.millis() + ms)
}

/// With both clocks in step.
fn at(time: Timestamp) -> At {
    at_both(time, time.millis())
}

/// With a boot clock that differs from the time.
fn at_both(time: Timestamp, boot_ms: i64) -> At {
    At::new(time, Moment::default().plus_ms(boot_ms.unsigned_abs()))
}

/// The store: one counter for each limit.
#[derive(Default)]
struct Store {
    counters: HashMap<LimitName, Counter>,
    asked: u32,
}

impl Store {
    fn give(&mut self, needs: &[Need], now: At) -> Vec<Supply> {
        self.asked += 1;
        let one = |need: &Need| {
            let counter = self.counters.get(&need.limit.name).copied();
            let slice = slice(&need.limit.bound, counter, need.wish, now.time);
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

/// A use on a node, with as many requests to the store as it needs.
fn used(meter: &mut Meter, store: &mut Store, cost: u64, now: Timestamp) -> Taken {
    used_at(meter, store, cost, at(now))
}

fn used_at(meter: &mut Meter, store: &mut Store, cost: u64, now: At) -> Taken {
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
    Meter::new(joined).unwrap()
}

fn is_no(taken: &Taken, retry: Option<u64>) -> bool {
    *taken == Taken::No { retry_seconds: retry }
}

#[test]
fn a_soft_rate_asks_nobody_and_says_when_to_come_again() {
    let (mut meter, mut store) = (meter("rate:r,60,60,2,soft"), Store::default());
    for remaining in [1, 0] {
        assert_eq!(used(&mut meter, &mut store, 1, NOW), Taken::Yes);
        assert_eq!(meter.standings(at(NOW))[0].remaining, remaining);
    }
    assert!(is_no(&used(&mut meter, &mut store, 1, NOW), Some(1)));
    assert!(is_no(&used(&mut meter, &mut store, 3, NOW), None));
    assert_eq!(used(&mut meter, &mut store, 1, later(1_000)), Taken::Yes);
    assert_eq!((store.asked, meter.is_at_rest(at(later(1_000)))), (0, false));
    assert!(meter.is_at_rest(at(later(10_000))));
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
    // A slice is a hundredth of the quota at most.
    assert!((100..200).contains(&store.asked), "{}", store.asked);
    let end = Period::Day.end(NOW).unwrap();
    let left = end.millis_since(NOW).div_ceil(1_000);
    assert!(is_no(&used(&mut meter, &mut store, 1, NOW), Some(left)));
    let standing = &meter.standings(at(NOW))[0];
    assert_eq!((standing.remaining, standing.reset_seconds), (0, Some(left)));
    assert_eq!(used(&mut meter, &mut store, 1, end), Taken::Yes);
    assert_eq!(meter.standings(at(end))[0].remaining, 999);
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
    store.give(&back, at(NOW));
    let soon = later(2_000);
    while used(&mut other, &mut store, 1, soon) == Taken::Yes {
        of_other += 1;
    }
    assert_eq!(of_other, 980);
    assert_eq!(one.hand_back(), []);
}

#[test]
fn a_slice_whose_answer_comes_after_the_turn_is_not_used_in_the_next_period() {
    let (mut meter, mut store) = (meter("quota:q,100,hour"), Store::default());
    let end = Period::Hour.end(NOW).unwrap();
    let before = Timestamp::from_millis(end.millis() - 1);
    let Taken::Ask(needs) = meter.take(1, at(before), &[]) else {
        panic!("a new meter has no slice");
    };
    let supplied = store.give(&needs, at(before));
    assert!(matches!(meter.take(1, at(end), &supplied), Taken::Ask(_)));
    let mut valid = 0;
    while used(&mut meter, &mut store, 1, end) == Taken::Yes {
        valid += 1;
    }
    assert_eq!(valid, 100);
}

#[test]
fn a_use_that_one_limit_refuses_is_counted_by_none() {
    let (mut meter, mut store) = (meter("rate:a,1,60,1,soft quota:b,5,total"), Store::default());
    assert_eq!(used(&mut meter, &mut store, 1, NOW), Taken::Yes);
    for _ in 0..10 {
        assert!(is_no(&used(&mut meter, &mut store, 1, NOW), Some(60)));
    }
    assert_eq!(meter.standings(at(NOW))[1].remaining, 4);
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
    /// The node loses its state, as in a crash.
    crashes: bool,
    /// The delay of the store's answer.
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

    /// However uses are spread over nodes, and whatever is lost with one of them: never more uses than the limit.
    #[test]
    fn hard_limits_are_never_exceeded_by_several_nodes(
        limit in 1_u32..2_000, seconds in 1_u32..60, burst in 1_u32..200, quota in 1_u64..500, steps in steps(),
    ) {
        let burst = burst.min(limit);
        let joined = format!("rate:r,{limit},{seconds},{burst},hard quota:q,{quota},total");
        let mut nodes: Vec<_> = (0..4).map(|_| meter(&joined)).collect();
        let (mut store, mut ms, mut taken) = (Store::default(), 0, Vec::new());
        for step in steps {
            ms += step.ms;
            if step.crashes {
                nodes[step.node] = meter(&joined);
            }
            let node = &mut nodes[step.node];
            let answer = match node.take(step.cost, at(later(ms)), &[]) {
                Taken::Ask(needs) => {
                    let supplied = store.give(&needs, at(later(ms)));
                    ms += step.delay;
                    node.take(step.cost, at(later(ms)), &supplied)
                }
                answer => answer,
            };
            if answer == Taken::Yes {
                taken.push((ms, step.cost));
            }
        }
        let all: u64 = taken.iter().map(|(_, cost)| cost).sum();
        prop_assert!(all <= quota);
        for (place, (begun, _)) in taken.iter().enumerate() {
            let mut sum = 0;
            for (at, cost) in &taken[place..] {
                sum += cost;
                // The use is later than the slice was counted, by the time that the answer took.
                let ms = u64::try_from(at - begun + 50).unwrap();
                let most = u64::from(burst) + u64::from(limit) * ms / (u64::from(seconds) * 1_000);
                prop_assert!(sum <= most, "{sum} in {ms} ms, {most} are allowed");
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Turning {
    node: usize,
    /// The time until this step, in ms.
    ms: i64,
    cost: u64,
    /// The node returns what is left instead of using more; the store receives that after this delay, in ms.
    gives_back: Option<i64>,
    /// The delay of the store's answer, in ms.
    delay: i64,
}

fn turning() -> impl Strategy<Value = Vec<Turning>> {
    let step = (
        0_usize..4,
        0_i64..200,
        1_u64..4,
        prop::option::weighted(0.15, 0_i64..5_000),
        prop_oneof![5 => Just(0_i64), 1 => 0_i64..2_000],
    );
    let step = step.prop_map(|(node, ms, cost, gives_back, delay)| Turning {
        node,
        ms,
        cost,
        gives_back,
        delay,
    });
    prop::collection::vec(step, 50..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Nodes use a quota across the end of its period, with clocks that differ, late answers, and parts of slices that
    /// are returned when their period is over: no period has more uses than its own quota.
    #[test]
    fn no_period_sees_more_than_its_own_quota_whatever_comes_back_late(
        quota in 100_u64..400, period in 0_usize..3, clocks in prop::array::uniform4(-3_000_i64..3_000),
        steps in turning(),
    ) {
        let period = [Period::Hour, Period::Day, Period::Month][period];
        let joined = format!("quota:q,{quota},{}", period.as_str());
        let mut nodes: Vec<_> = (0..4).map(|_| meter(&joined)).collect();
        // As many steps before the end as after it.
        let whole: i64 = steps.iter().map(|step| step.ms + step.delay).sum();
        let begun = period.end(NOW).unwrap().millis() - whole / 2;
        let (mut store, mut at, mut used) = (Store::default(), begun, HashMap::new());
        let mut on_the_way: Vec<(i64, Vec<Need>, At)> = Vec::new();
        for step in steps {
            at += step.ms;
            let time = |at: i64| at_both(Timestamp::from_millis(at + clocks[step.node]), at);
            let (now_due, later): (Vec<_>, _) = on_the_way.into_iter().partition(|(due, ..)| *due <= at);
            on_the_way = later;
            for (_, needs, sent) in now_due {
                store.give(&needs, sent);
            }
            let node = &mut nodes[step.node];
            if let Some(delay) = step.gives_back {
                on_the_way.push((at + delay, node.hand_back(), time(at)));
                continue;
            }
            let (mut answer, mut supplied) = (node.take(step.cost, time(at), &[]), Vec::new());
            for _ in 0..3 {
                if let Taken::Ask(needs) = answer {
                    supplied = store.give(&needs, time(at));
                    at += step.delay;
                    answer = node.take(step.cost, time(at), &supplied);
                }
            }
            drop(supplied);
            if answer == Taken::Yes {
                *used.entry(period.start(time(at).time).millis()).or_insert(0) += step.cost;
            }
        }
        // A node whose clock is behind uses slices of the next period before its own clock reaches that.
        let next = used.get(&period.end(NOW).unwrap().millis()).copied().unwrap_or(0);
        let both: u64 = used.values().sum();
        prop_assert!(next <= quota && both <= 2 * quota, "{used:?} of {quota}");
    }
}

#[test]
fn a_soft_rate_does_not_care_what_the_time_of_day_is() {
    for step in [-3_600_000, 3_600_000, 86_400_000 * 365] {
        let (mut meter, mut store) = (meter("rate:r,60,60,2,soft"), Store::default());
        let mut use_at = |wall: i64, boot: i64| used_at(&mut meter, &mut store, 1, at_both(later(wall), boot));
        assert_eq!([use_at(0, 10_000), use_at(0, 10_000)], [Taken::Yes, Taken::Yes]);
        assert!(is_no(&use_at(step, 10_000), Some(1)), "a step opens nothing");
        assert_eq!(use_at(step, 11_000), Taken::Yes, "and closes nothing");
        assert_eq!(use_at(0, 12_000), Taken::Yes);
    }
}

#[test]
fn a_hard_rate_that_a_wrong_clock_counted_is_open_again_after_a_burst() {
    let mut store = Store::default();
    let hour = 3_600_000;
    let mut node = meter("rate:r,60,60,5,hard");
    for _ in 0..5 {
        assert_eq!(
            used_at(&mut node, &mut store, 1, at_both(later(hour), 10_000)),
            Taken::Yes
        );
    }
    // The clock is corrected, for this node and for one that was restarted.
    for mut node in [node, meter("rate:r,60,60,5,hard")] {
        assert!(matches!(
            used_at(&mut node, &mut store, 1, at_both(NOW, 10_000)),
            Taken::No { .. }
        ));
        let mut valid = 0;
        for second in 0..60_i64 {
            let now = at_both(later(second * 1_000), 10_000 + second * 1_000);
            valid += u32::from(used_at(&mut node, &mut store, 1, now) == Taken::Yes);
        }
        assert!((50..=60).contains(&valid), "{valid}");
        store
            .counters
            .insert(LimitName::parse("r").unwrap(), rate(nanos(later(hour)) + 5_000_000_000));
    }
}

#[test]
fn a_quota_is_answered_whatever_the_clock_of_the_node_does() {
    let (mut node, mut store) = (meter("quota:q,100,hour"), Store::default());
    let mut boot = 10_000;
    let mut valid = HashMap::new();
    for hours in [0, 1, 0, 1, 2, 1, 2] {
        let time = later(hours * 3_600_000);
        for _ in 0..150 {
            boot += 100;
            let answer = used_at(&mut node, &mut store, 1, at_both(time, boot));
            *valid.entry(hours).or_insert(0) += u32::from(answer == Taken::Yes);
        }
    }
    assert!(valid.values().all(|valid| *valid <= 100), "{valid:?}");
    assert_eq!((valid[&0], valid[&1], valid[&2]), (100, 100, 100));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Nodes whose clocks differ by up to two seconds use a quota across the end of its period, evenly or as fast as
    /// they can. By the true time no period has more uses than its quota, except for what the clocks differ by before
    /// the end, and that is missing after it. If the clock of one node is set back for a while, that node may use what
    /// was left of the period before the end, and both periods together still have no more uses than both quotas.
    #[test]
    fn no_pace_and_no_clock_that_is_set_back_gives_more_than_a_quota_a_period(
        quota in 50_u64..300, period in 0_usize..3, clocks in prop::array::uniform3(-1_000_i64..1_000),
        pace_ms in prop_oneof![Just(0_i64), 1_i64..200], set_back in prop::option::of(1_i64..40), order in any::<u64>(),
    ) {
        let period = [Period::Hour, Period::Day, Period::Month][period];
        let joined = format!("quota:q,{quota},{}", period.as_str());
        let mut nodes: Vec<_> = (0..3).map(|_| meter(&joined)).collect();
        let turn = period.end(NOW).unwrap().millis();
        let (mut store, mut used, mut order) = (Store::default(), [0_u64; 2], order);
        // At full speed there are many uses in every millisecond.
        let (step_ms, uses) = if pace_ms == 0 { (20, quota / 5 + 2) } else { (pace_ms, 1) };
        for step in -150..150_i64 {
            for _ in 0..uses {
                order = order.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let node = usize::try_from(order >> 33).unwrap() % 3;
                let now = turn + step * step_ms;
                let wrong = match set_back {
                    Some(hours) if node == 0 && (50..100).contains(&step) => -hours * 3_600_000,
                    _ => clocks[node],
                };
                let time = at_both(Timestamp::from_millis(now + wrong), now);
                let is_before = usize::from(now + clocks[node] >= turn);
                let answer = used_at(&mut nodes[node], &mut store, 1, time);
                used[is_before] += u64::from(answer == Taken::Yes);
            }
        }
        let is_within = used[1] <= quota || set_back.is_some();
        prop_assert!(is_within && used[0] + used[1] <= 2 * quota, "{used:?} of {quota}");
    }
}

#[test]
fn uses_that_the_store_has_not_counted_are_reported() {
    for (joined, count) in [
        ("quota:q,10,day", 1),
        ("rate:r,10,1,10,hard", 1),
        ("rate:r,10,1,10,soft", 1),
    ] {
        let mut meter = meter(joined);
        assert_eq!(meter.check(), Ok(()));
        meter.gauges[0].tokens = count;
        assert_eq!(meter.check().unwrap_err().found, count, "{joined}");
    }
}
