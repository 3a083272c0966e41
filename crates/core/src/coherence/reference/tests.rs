use super::*;
use proptest::prelude::*;

const START: i64 = 1_700_000_000_000;
const HOUR: i64 = 3_600_000;
const LEASE: i64 = 15_000;
const WAIT: i64 = 19_250;

/// A reference clock that the test steps, and that is read once a second.
struct World {
    reference: Reference,
    at: i64,
    /// The reference's error.
    error: i64,
    /// The error of the machine's wall clock, where it is a witness.
    witness: Option<i64>,
    news: Vec<News>,
}

impl World {
    fn new(witness: Option<i64>) -> Self {
        let terms = Terms {
            lease_ms: LEASE,
            wait_ms: WAIT,
            slack_permille: 100,
        };
        let mut world = Self {
            reference: Reference::new(terms, START + 12 * HOUR, 0),
            at: 0,
            error: 0,
            witness,
            news: Vec::new(),
        };
        world.tell();
        world.pass(5);
        world
    }

    fn tell(&mut self) {
        let telling = Telling {
            time: START + self.at + self.error,
            asked_at: self.at,
            heard_at: self.at + 2,
            witness: self.witness.map(|error| START + error),
        };
        self.news.extend(self.reference.told(telling));
    }

    /// Lets this many seconds pass, with a reading each.
    fn pass(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.at += 1_000;
            let before = self.latest();
            self.tell();
            if !matches!(self.news.last(), Some(News::Followed(_))) {
                assert!(self.latest() >= before, "time never goes back");
            }
        }
    }

    fn step(&mut self, error: i64, seconds: i64) {
        self.error = error;
        self.pass(seconds);
    }

    fn latest(&self) -> i64 {
        self.reference.course().latest(self.at + 2)
    }

    /// Returns how far the time that expiry is decided by is ahead of the true one.
    fn ahead(&self) -> i64 {
        self.latest() - START - self.at
    }

    /// Returns how far the stored time is ahead of the true one.
    fn written_ahead(&self) -> i64 {
        self.reference.course().earliest(self.at + 2) - START - self.at
    }
}

fn is_about(ms: i64, expected: i64) -> bool {
    (ms - expected).abs() <= 1_000
}

#[test]
fn time_never_stands_still_while_the_reference_is_behind() {
    let mut world = World::new(None);
    world.step(-HOUR, 1);
    for _ in 0..100 {
        let before = world.latest();
        world.pass(1);
        let passed = world.latest() - before;
        assert!((500..=1_200).contains(&passed), "{passed}");
    }
    assert_eq!(
        world.reference.behind(world.at).map(|ms| ms / 10_000),
        Some(HOUR / 10_000)
    );
    assert!(
        matches!(world.news.as_slice(), [News::Behind(_)]),
        "told once: {:?}",
        world.news
    );
}

#[test]
fn a_step_of_an_hour_that_lasted_three_seconds_is_over_after_a_wait() {
    let mut world = World::new(None);
    world.step(HOUR, 3);
    assert!(is_about(world.ahead(), HOUR), "judged by the later time");
    assert!(is_about(world.written_ahead(), 0), "written down by the earlier time");
    world.step(0, 19);
    assert!(is_about(world.ahead(), HOUR) && is_about(world.written_ahead(), 0));
    assert!(world.reference.behind(world.at).is_some());
    world.pass(2);
    assert!(
        is_about(world.ahead(), 0) && is_about(world.written_ahead(), 0),
        "{}",
        world.ahead()
    );
    assert_eq!(world.reference.behind(world.at), None);
    assert!(
        matches!(
            world.news.as_slice(),
            [News::Ahead(_), News::Behind(_), News::Followed(_)]
        ),
        "{:?}",
        world.news
    );
}

#[test]
fn a_step_ahead_that_lasts_is_the_time_after_a_wait() {
    let mut world = World::new(None);
    world.step(HOUR, 19);
    assert!(is_about(world.written_ahead(), 0));
    world.pass(2);
    assert!(is_about(world.written_ahead(), HOUR));
    // It can still be corrected: the time before the step agrees.
    world.step(0, 22);
    assert!(is_about(world.ahead(), 0));
}

#[test]
fn a_step_ahead_that_the_machine_agrees_with_is_the_time_at_once() {
    let mut world = World::new(Some(HOUR));
    world.step(HOUR, 1);
    assert!(is_about(world.written_ahead(), HOUR));
}

#[test]
fn a_lower_time_that_nothing_agrees_with_is_never_followed() {
    for witness in [None, Some(0), Some(HOUR)] {
        let mut world = World::new(witness);
        world.step(-HOUR, 10_000);
        assert!(is_about(world.ahead(), 0), "{witness:?}: {}", world.ahead());
        assert!(is_about(world.written_ahead(), -HOUR));
        assert!(world.reference.behind(world.at).is_some());
        world.step(0, 1);
        assert_eq!(
            (world.reference.behind(world.at), world.news.last()),
            (None, Some(&News::Settled))
        );
        assert!(is_about(world.written_ahead(), 0));
    }
}

#[test]
fn a_lower_time_that_the_machine_agrees_with_is_followed_after_a_wait() {
    let mut world = World::new(Some(-HOUR));
    world.step(-HOUR, 19);
    assert!(is_about(world.ahead(), 0));
    world.pass(3);
    assert!(is_about(world.ahead(), -HOUR));
}

#[test]
fn a_lower_time_that_is_told_with_interruptions_is_not_followed() {
    let mut world = World::new(Some(-HOUR));
    for _ in 0..20 {
        world.step(-HOUR, 15);
        world.step(0, 1);
    }
    // No reading for longer than a lease.
    for _ in 0..20 {
        world.step(-HOUR, 10);
        world.at += LEASE + 1;
    }
    // Another earlier time in each round.
    for hours in 2..20 {
        world.step(-hours * HOUR, 10);
    }
    assert!(
        !world.news.iter().any(|news| matches!(news, News::Followed(_))),
        "{:?}",
        world.news
    );
}

#[test]
fn a_clock_that_creeps_back_is_noticed_when_it_is_a_lease_behind() {
    let mut world = World::new(None);
    for step in 1..60 {
        world.step(-step * 2_000, 1);
    }
    assert!(matches!(world.news.as_slice(), [News::Behind(_)]), "{:?}", world.news);
    assert!(world.ahead() > -2 * LEASE, "{}", world.ahead());
}

#[test]
fn at_a_start_the_newest_entry_of_the_log_has_been_reached() {
    let mut world = World::new(None);
    let (at, time) = (world.at, START + world.at + HOUR);
    assert_eq!(world.reference.reached(START + at - 1, at), None);
    assert!(matches!(world.reference.reached(time, at), Some(News::Behind(_))));
    world.pass(100);
    assert!(is_about(world.ahead(), HOUR) && world.reference.behind(world.at).is_some());
    assert!(is_about(world.written_ahead(), 0));

    let mut world = World::new(Some(0));
    assert!(world.reference.reached(time, at).is_some());
    world.pass(22);
    assert!(is_about(world.ahead(), 0), "the machine agrees with the database");

    let mut world = World::new(None);
    assert_eq!(
        world.reference.reached(START + at + LEASE / 2, at),
        None,
        "within a lease"
    );
    world.pass(30);
    assert!(is_about(world.ahead(), 0));
}

#[test]
fn a_time_that_goes_back_and_a_doubt_that_stores_the_later_time_are_reported() {
    let mut world = World::new(None);
    let invariant = |result: InvariantResult| result.unwrap_err().invariant;
    let (before, at) = (world.reference.course(), world.at);
    world.reference.course.offset -= 1;
    world.reference.course.floor = i64::MIN;
    assert_eq!(world.reference.check_forward(&before, true, at), Ok(()));
    let backwards = world.reference.check_forward(&before, false, at);
    assert_eq!(invariant(backwards), Invariant::TimeForward);

    world.step(HOUR, 1);
    assert_eq!(world.reference.check(), Ok(()));
    world.reference.course.earlier = Course::CERTAIN;
    assert_eq!(invariant(world.reference.check()), Invariant::EarlierTime);
}

proptest! {
    /// Whatever the reference reads: time goes back only where the rules allow it, and the stored time is never later
    /// than the one that expiry is decided by.
    #[test]
    fn time_goes_back_only_where_it_is_told(
        steps in prop::collection::vec((-2_i64..3, -20_000_i64..20_000, 1_i64..40), 1..60),
        witness in prop::option::of(-HOUR..HOUR),
    ) {
        let mut world = World::new(witness);
        for (hours, ms, seconds) in steps {
            world.error = hours * HOUR + ms;
            for _ in 0..seconds {
                world.pass(1);
                let course = world.reference.course();
                prop_assert!(course.earliest(world.at + 2) <= course.latest(world.at + 2));
                prop_assert!(world.latest() >= START + world.at + world.error - 2 || world.reference.behind(world.at).is_some());
            }
        }
    }
}
