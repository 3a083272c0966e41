//! Bounds of verifiers, and what is not known of them.

use super::*;

#[test]
fn whoever_asks_for_more_than_it_can_hold_begins_anew() {
    let mut downstream = DownstreamLeases::default();
    let id = join(&mut downstream, 1);
    assert!(downstream.grant(id, 2_000, at(0)));
    for number in 0..4 {
        answer(&mut downstream, id, number, &acme());
    }
    let (hold, order) = downstream.hold(id, digest(4), 5).unwrap();
    let order = order.unwrap().order;
    assert_eq!(order.what, Forget::Everything);
    downstream.settle(id, &digest(4), hold, &acme(), key(4));
    assert_eq!(touched(&mut downstream, 6, &[digest(0)]), [], "it was told");
    assert!(waits(&mut downstream, 6, at(1)), "and has not said so");
    downstream.acknowledged(id, order.number);
    assert!(!waits(&mut downstream, 6, at(1)));
    assert_eq!(touched(&mut downstream, 6, &[digest(0)]), []);
    assert_eq!(touched(&mut downstream, 6, &[digest(4)]).len(), 1);
}

#[test]
fn whoever_never_says_that_it_forgot_is_told_no_more_than_twice_what_it_can_hold() {
    let mut downstream = DownstreamLeases::default();
    let id = join(&mut downstream, 1);
    let sent: Vec<_> = (0..100).map(|number| downstream.hold(id, digest(number), 5)).collect();
    assert_eq!(sent.iter().filter(|sent| sent.is_ok()).count(), 8);
    let orders = sent.iter().filter(|sent| matches!(sent, Ok((_, Some(_)))));
    assert_eq!(orders.count(), 1);
}

#[test]
fn what_nobody_knows_is_not_held() {
    let mut downstream = DownstreamLeases::default();
    let id = join(&mut downstream, 1);
    for number in 0..=255 {
        let (hold, order) = downstream.hold(id, digest(number), 5).unwrap();
        assert_eq!(order, None, "junk never makes it forget");
        downstream.release_hold(id, &digest(number), hold);
    }
    assert_eq!(touched(&mut downstream, 6, &[digest(7)]), []);
}

#[test]
fn one_question_that_finds_nothing_lets_go_of_nothing_that_another_one_found() {
    let mut downstream = DownstreamLeases::default();
    let id = join(&mut downstream, 1);
    assert!(downstream.grant(id, 2_000, at(0)));
    let ((early, _), (late, _)) = (
        downstream.hold(id, digest(1), 5).unwrap(),
        downstream.hold(id, digest(1), 5).unwrap(),
    );
    // The key was created in between: only the later look-up finds it.
    downstream.settle(id, &digest(1), late, &acme(), key(1));
    downstream.release_hold(id, &digest(1), early);
    assert_eq!(touched(&mut downstream, 6, &[digest(1)]).len(), 1);
    // The same after a change.
    let (early, _) = downstream.hold(id, digest(1), 6).unwrap();
    touched(&mut downstream, 7, &[digest(1)]);
    let (late, _) = downstream.hold(id, digest(1), 7).unwrap();
    downstream.settle(id, &digest(1), early, &acme(), key(1));
    downstream.settle(id, &digest(1), late, &acme(), key(1));
    downstream.acknowledged(id, 2);
    assert_eq!(touched(&mut downstream, 8, &[digest(1)]).len(), 1);
}

#[test]
fn asking_again_and_again_for_one_secret_holds_it_once() {
    let mut downstream = DownstreamLeases::default();
    let id = join(&mut downstream, 1);
    for _ in 0..100 {
        answer(&mut downstream, id, 1, &acme());
    }
    assert_eq!(downstream.holds.count(id), 1);
}

#[test]
fn what_nobody_knows_holds_back_what_it_may_be_and_only_where_a_child_knows_something() {
    let (mut downstream, id) = downstream();
    let ignorant = join(&mut downstream, 10);
    let orders = downstream.everything_touched(Span::from(9), 8);
    assert_eq!(orders.iter().map(|sent| sent.child).collect::<Vec<_>>(), [id]);
    assert!(!waits(&mut downstream, 8, at(1)) && waits(&mut downstream, 9, at(1)) && waits(&mut downstream, 99, at(1)));
    downstream.known_to(10);
    assert!(waits(&mut downstream, 10, at(1)) && !waits(&mut downstream, 11, at(1)));
    downstream.acknowledged(id, 1);
    assert!(!waits(&mut downstream, 10, at(1)));
    assert_eq!(downstream.holds.count(id) + downstream.holds.count(ignorant), 0);
}

#[test]
fn whoever_is_gone_gets_no_lease_and_is_told_nothing() {
    let (mut downstream, id) = downstream();
    downstream.lost(id);
    assert!(!downstream.grant(id, 2_000, at(1)));
    assert_eq!(downstream.hold(id, digest(3), 5), Err(NoHold::Gone));
    touched(&mut downstream, 7, &[digest(1)]);
    assert!(
        waits(&mut downstream, 7, at(2_999)),
        "it is waited for as before, and no longer"
    );
    assert!(!waits(&mut downstream, 7, at(3_000)));
    assert!(!downstream.grant(id, 2_000, at(3_001)), "nor when it is forgotten");
    assert_eq!(downstream.hold(id, digest(3), 5), Err(NoHold::Gone));
}

#[test]
fn one_root_key_and_one_tenant_leave_room_for_others() {
    let mut downstream = DownstreamLeases::default();
    let of = |tenant: &str, number: u8| joining(10, Reach::Tenant(slug(tenant)), Some(root_key(number)));
    for _ in 0..CHILDREN_MAX.root_key {
        downstream.join(&of("acme", 1), at(0)).unwrap();
    }
    let full = downstream.join(&of("acme", 1), at(0)).unwrap_err();
    assert_eq!(full.max, CHILDREN_MAX.root_key);
    for number in 2..=4 {
        for _ in 0..CHILDREN_MAX.root_key {
            downstream.join(&of("acme", number), at(0)).unwrap();
        }
    }
    assert_eq!(
        downstream.join(&of("acme", 5), at(0)).unwrap_err().max,
        CHILDREN_MAX.tenant
    );
    assert!(downstream.join(&of("other", 6), at(0)).is_ok());
    assert!(
        downstream.join(&joining(10, Reach::Instance, None), at(0)).is_ok(),
        "on the machine itself"
    );
}

#[test]
fn look_ups_of_one_root_key_leave_room_for_others() {
    let mut downstream = DownstreamLeases::default();
    let id = join(&mut downstream, 10_000);
    let other = joining(10, Reach::Tenant(slug("other")), Some(root_key(2)));
    let other = downstream.join(&other, at(0)).unwrap();
    let mut holds = Vec::new();
    for number in 0..LOOK_UPS_MAX.root_key {
        let digest = Digest::of(&number.to_le_bytes());
        holds.push((digest, downstream.hold(id, digest, 5).unwrap().0));
    }
    assert_eq!(downstream.hold(id, digest(1), 5), Err(NoHold::Busy));
    assert!(downstream.hold(other, digest(1), 5).is_ok());
    let (digest, number) = holds[0];
    downstream.release_hold(id, &digest, number);
    assert!(downstream.hold(id, digest, 5).is_ok());
}

/// A verifier that learns the secret 1 from a time on, in milliseconds.
fn informed(downstream: &mut DownstreamLeases, now: u64) -> ChildId {
    let id = join(downstream, 10);
    assert!(downstream.grant(id, 2_000, at(now)));
    answer(downstream, id, 1, &acme());
    id
}

/// An order that was sent after the end is not counted against the root key: the verifier cannot know of it.
#[test]
fn a_connection_that_ends_before_the_acknowledgement_counts_as_overdue() {
    for is_ended_first in [false, true] {
        let mut downstream = DownstreamLeases::default();
        let mut now = 0;
        for time in 0..STRIKES_MAX {
            assert_eq!(
                downstream.refused_ms(root_key(1), at(now)),
                None,
                "{is_ended_first} {time}"
            );
            let id = informed(&mut downstream, now);
            if is_ended_first {
                downstream.lost(id);
            }
            touched(&mut downstream, 7, &[digest(1)]);
            if !is_ended_first {
                downstream.lost(id);
            }
            for _ in 0..3 {
                assert_eq!(downstream.sweep(at(now + LOOK_MS)), []);
            }
            assert_eq!(downstream.overdue(), u64::try_from(time).unwrap() + 1);
            now += ENDED_TOGETHER_MS + LOOK_MS;
        }
        assert_eq!(
            downstream.refused_ms(root_key(1), at(now)).is_some(),
            !is_ended_first,
            "{is_ended_first}"
        );
        assert_eq!(downstream.refused_ms(root_key(2), at(now)), None, "another one's");
    }
}

#[test]
fn an_application_of_many_verifiers_that_is_restarted_twice_is_not_refused() {
    let mut downstream = DownstreamLeases::default();
    for restarted in [0, ENDED_TOGETHER_MS] {
        let many: Vec<_> = (0..20).map(|_| informed(&mut downstream, restarted)).collect();
        for id in &many {
            downstream.lost(*id);
        }
        touched(&mut downstream, 7, &[digest(1)]);
        downstream.sweep(at(restarted + LOOK_MS));
        assert_eq!(downstream.refused_ms(root_key(1), at(restarted + LOOK_MS)), None);
    }
    assert_eq!(downstream.overdue(), 40);
}

#[test]
fn a_connection_that_ends_while_no_change_waits_for_it_does_not_count() {
    let mut downstream = DownstreamLeases::default();
    let sent_away = informed(&mut downstream, 0);
    touched(&mut downstream, 7, &[digest(1)]);
    downstream.send_away(sent_away, None);
    let idle = informed(&mut downstream, 0);
    for id in [sent_away, idle] {
        downstream.lost(id);
    }
    downstream.sweep(at(LOOK_MS));
    let late = informed(&mut downstream, 0);
    downstream.lost(late);
    downstream.sweep(at(3_000));
    touched(&mut downstream, 8, &[digest(1)]);
    downstream.sweep(at(3_000 + LOOK_MS));
    assert_eq!(downstream.overdue(), 0);
}

#[test]
fn a_disconnected_verifier_is_shown_with_its_orders_until_its_lease_is_over() {
    let mut downstream = DownstreamLeases::default();
    let id = informed(&mut downstream, 0);
    assert_eq!(downstream.standing(id, at(0)).unwrap().presence, Presence::Connected);
    downstream.lost(id);
    let shown = downstream.standing(id, at(0)).unwrap();
    assert_eq!((shown.presence, shown.oldest_order), (Presence::Disconnected, None));
    touched(&mut downstream, 7, &[digest(1)]);
    let shown = downstream.standing(id, at(2_999)).unwrap();
    assert!(shown.lease_left_ms <= 1 && shown.held == 1);
    assert_eq!(shown.oldest_order, Some((0, 7)));
    assert_eq!(downstream.orders_outstanding(at(2_999)), 1);
    assert_eq!(downstream.standing(id, at(3_000)), None);
    assert_eq!(downstream.orders_outstanding(at(3_000)), 0);
}

#[test]
fn a_verifier_that_was_sent_away_is_shown_as_dismissed() {
    let mut downstream = DownstreamLeases::default();
    let id = informed(&mut downstream, 0);
    downstream.send_away(id, None);
    assert_eq!(downstream.standing(id, at(1)).unwrap().presence, Presence::Dismissed);
    assert_eq!(downstream.orders_outstanding(at(1)), 1);
}
