use super::*;
use crate::coherence::holding::{ChangeScope, Span};
use crate::text::Slug;

const OWN: SessionId = [0; 16];

fn at(ms: u64) -> Moment {
    Moment::default().plus_ms(1_000 + ms)
}

fn seen(number: u8, acked: u64, renewals: u64) -> SeenNode {
    SeenNode {
        session: [number; 16],
        acked,
        renewals,
        holding: Holding::default(),
        leases: 0,
    }
}

fn reading(ms: u64, sessions: Vec<SeenNode>) -> Reading {
    Reading {
        began: at(ms),
        answered: at(ms),
        sessions,
        era: Era::default(),
    }
}

fn pending() -> Pending {
    Pending {
        change: Awaited::one(&Slug::parse("acme").unwrap(), 7),
        committed: at(0),
    }
}

fn own(applied: u64) -> Own {
    Own {
        session: OWN,
        applied,
        is_held: false,
    }
}

fn buried(dead: Vec<SeenNode>) -> Vec<([u8; 16], u64)> {
    dead.into_iter().map(|seen| (seen.session, seen.renewals)).collect()
}

#[test]
fn a_change_is_effective_when_all_have_it_by_a_reading_after_the_commit() {
    let grantor = Grantor::new(2_000);
    let all = vec![seen(0, 3, 1), seen(1, 7, 1), seen(2, 9, 1)];
    let reached = |reading: &Reading, now| grantor.reached(&pending(), Some(&own(7)), reading, now);
    assert_eq!(
        reached(&reading(1, all.clone()), at(1)),
        Some(Reached::Acknowledged { verifiers: 3 })
    );
    let before = Reading {
        began: Moment::default().plus_ms(999),
        answered: at(1),
        sessions: Vec::new(),
        era: Era::default(),
    };
    assert_eq!(reached(&before, at(1)), None, "a session may have come since");
    let mut one_missing = all;
    one_missing.push(seen(3, 6, 1));
    assert_eq!(reached(&reading(1, one_missing.clone()), at(2_999)), None);
    assert_eq!(
        reached(&reading(1, one_missing), at(3_000)),
        Some(Reached::Outwaited { verifiers: 3 })
    );
}

/// Found by the simulator: a node disabled a key before it had applied that the key was rotated on another node,
/// and kept accepting the old secret.
#[test]
fn whoever_asks_must_have_applied_everything_before_it_too() {
    let grantor = Grantor::new(2_000);
    let all = reading(1, vec![seen(0, 3, 1), seen(1, 7, 1)]);
    assert_eq!(grantor.reached(&pending(), Some(&own(6)), &all, at(1)), None);
    assert_eq!(grantor.reached(&pending(), None, &all, at(1)), None);
    assert!(grantor.reached(&pending(), Some(&own(7)), &all, at(1)).is_some());
}

#[test]
fn a_change_waits_for_a_child_that_was_told_of_it_and_for_no_other() {
    let grantor = Grantor::new(2_000);
    let holds = |tenant: &str, revision| {
        let mut holding = Holding::default();
        holding.add(
            Some(&ChangeScope::Tenant(Slug::parse(tenant).unwrap())),
            Span::one(revision),
        );
        let there = SeenNode {
            holding,
            ..seen(1, 9, 1)
        };
        let all = reading(1, vec![seen(0, 9, 1), there]);
        grantor.reached(&pending(), Some(&own(9)), &all, at(1)).is_none()
    };
    assert!(holds("acme", 7));
    assert!(!holds("acme", 6) && !holds("acme", 8), "an earlier or later change");
    assert!(!holds("other", 7), "another tenant");
    let held = Own {
        is_held: true,
        ..own(9)
    };
    let all = reading(1, vec![seen(0, 9, 1)]);
    assert_eq!(
        grantor.reached(&pending(), Some(&held), &all, at(1)),
        None,
        "a child here"
    );
}

#[test]
fn an_effect_before_all_have_it_and_a_burial_before_the_wait_are_reported() {
    let grantor = Grantor::new(2_000);
    let invariant = |result: InvariantResult| result.unwrap_err().invariant;
    assert_eq!(grantor.check(), Ok(()));
    let acknowledged = Some(Reached::Acknowledged { verifiers: 1 });
    let outwaited = Some(Reached::Outwaited { verifiers: 1 });
    let before = Reading {
        began: Moment::default().plus_ms(999),
        ..reading(1, Vec::new())
    };
    let after = reading(0, Vec::new());
    let check = |reached, reading: &Reading, now| grantor.check_reached(reached, &pending(), reading, now);
    assert_eq!(check(None, &before, at(0)), Ok(()));
    assert_eq!(check(acknowledged, &after, at(0)), Ok(()));
    assert_eq!(check(outwaited, &before, at(3_000)), Ok(()));
    assert_eq!(
        invariant(check(acknowledged, &before, at(9_000))),
        Invariant::EffectiveChange
    );
    assert_eq!(
        invariant(check(outwaited, &after, at(2_999))),
        Invariant::EffectiveChange
    );

    let mut grantor = Grantor::new(2_000);
    assert_eq!(grantor.to_bury(&reading(0, vec![seen(1, 0, 4)])), []);
    let (early, late) = (reading(2_999, Vec::new()), reading(3_000, Vec::new()));
    assert_eq!(grantor.check_dead(&[seen(1, 0, 4)], &late), Ok(()));
    for (dead, reading) in [(seen(1, 0, 4), &early), (seen(1, 0, 5), &late), (seen(2, 0, 4), &late)] {
        assert_eq!(invariant(grantor.check_dead(&[dead], reading)), Invariant::DeadSession);
    }
}

#[test]
fn the_wait_counts_by_the_slower_clock() {
    let grantor = Grantor::new(2_000);
    let now = Moment {
        boot: at(9_000).boot,
        raw: at(10).raw,
    };
    assert!(!grantor.is_outwaited(&pending(), now));
}

#[test]
fn a_session_is_buried_when_it_has_not_moved_for_the_whole_wait() {
    let mut grantor = Grantor::new(2_000);
    assert_eq!(buried(grantor.to_bury(&reading(0, vec![seen(1, 0, 4)]))), []);
    assert_eq!(buried(grantor.to_bury(&reading(2_999, vec![seen(1, 0, 4)]))), []);
    assert_eq!(
        buried(grantor.to_bury(&reading(3_000, vec![seen(1, 0, 4)]))),
        [([1; 16], 4)]
    );
    assert_eq!(buried(grantor.to_bury(&reading(3_001, vec![seen(1, 0, 5)]))), []);
    assert_eq!(buried(grantor.to_bury(&reading(6_000, vec![seen(1, 0, 5)]))), []);
    assert_eq!(
        buried(grantor.to_bury(&reading(6_001, vec![seen(1, 0, 5)]))),
        [([1; 16], 5)]
    );
}

/// Found by the simulator: a process that pauses between reading the clock and sending takes a new count for an old
/// one.
#[test]
fn a_reading_that_was_held_up_does_not_make_a_living_session_look_dead() {
    let mut grantor = Grantor::new(2_000);
    let held_up = Reading {
        began: at(0),
        answered: at(5_000),
        sessions: vec![seen(1, 0, 9)],
        era: Era::default(),
    };
    assert_eq!(buried(grantor.to_bury(&held_up)), []);
    assert_eq!(buried(grantor.to_bury(&reading(5_100, vec![seen(1, 0, 9)]))), []);
    assert_eq!(
        buried(grantor.to_bury(&reading(8_000, vec![seen(1, 0, 9)]))),
        [([1; 16], 9)]
    );
}

fn reading_of(era: Era, ms: u64, sessions: Vec<SeenNode>) -> Reading {
    Reading {
        era,
        ..reading(ms, sessions)
    }
}

const ERA: Era = Era {
    line: 1,
    start: 1,
    written: 500,
    is_replicated: false,
};

/// A crash takes the count of polls back to an earlier one; the count of leases stays.
#[test]
fn a_session_whose_count_came_back_after_a_crash_is_not_buried() {
    let mut grantor = Grantor::new(2_000);
    let living = |leases| SeenNode {
        leases,
        ..seen(1, 0, 7)
    };
    assert_eq!(grantor.to_bury(&reading_of(ERA, 0, vec![living(3)])), []);
    assert_eq!(grantor.to_bury(&reading_of(ERA, 3_000, vec![living(4)])), []);
}

#[test]
fn nothing_is_timed_across_a_restart_a_failover_or_an_older_copy_of_the_database() {
    let others = [
        Era { start: 2, ..ERA },
        Era { line: 2, ..ERA },
        Era { written: 499, ..ERA },
    ];
    for other in others {
        let mut grantor = Grantor::new(2_000);
        assert_eq!(grantor.to_bury(&reading_of(ERA, 0, vec![seen(1, 0, 7)])), []);
        assert_eq!(grantor.to_bury(&reading_of(other, 2_900, vec![seen(1, 0, 7)])), []);
        assert_eq!(grantor.to_bury(&reading_of(other, 5_899, vec![seen(1, 0, 7)])), []);
        let dead = grantor.to_bury(&reading_of(other, 5_900, vec![seen(1, 0, 7)]));
        assert_eq!(buried(dead), [([1; 16], 7)], "{other:?}");
    }
}

/// A node whose registration was lost answers until its lease ends, and no reading shows it.
#[test]
fn where_registrations_may_be_lost_only_the_full_wait_counts() {
    let all = vec![seen(0, 7, 1)];
    let cases = [
        (Era { line: 2, ..ERA }, false, false),
        (Era { line: 2, ..ERA }, true, true),
        (Era { written: 499, ..ERA }, true, false),
        (Era { start: 2, ..ERA }, false, true),
    ];
    for (after, is_replicated, is_enough) in cases {
        let mut grantor = Grantor::new(2_000);
        let before = Era { is_replicated, ..ERA };
        assert_eq!(grantor.to_bury(&reading_of(before, 0, all.clone())), []);
        let reading = reading_of(after, 1, all.clone());
        assert_eq!(grantor.to_bury(&reading), []);
        let acknowledged = grantor.reached(&pending(), Some(&own(7)), &reading, at(2));
        assert_eq!(acknowledged.is_some(), is_enough, "{after:?} {is_replicated}");
        let reading = reading_of(after, 3_001, all.clone());
        let later = Pending {
            committed: at(3_001),
            ..pending()
        };
        assert!(grantor.reached(&later, Some(&own(7)), &reading, at(3_001)).is_some());
    }
}

/// Readings overlap, and an earlier request may be answered later.
#[test]
fn a_reading_that_comes_late_is_no_older_copy() {
    let mut grantor = Grantor::new(2_000);
    let late = Reading {
        answered: at(9),
        ..reading_of(Era { written: 400, ..ERA }, 1, vec![seen(0, 7, 1)])
    };
    assert_eq!(grantor.to_bury(&reading_of(ERA, 5, vec![seen(0, 7, 1)])), []);
    assert_eq!(grantor.to_bury(&late), []);
    let reached = grantor.reached(&pending(), Some(&own(7)), &late, at(9));
    assert!(reached.is_some());
}
