use super::bounds::{CHILDREN_MAX, ENDED_TOGETHER_MS, LOOK_UPS_MAX, OVERDUE_MS, STRIKES_MAX, STRIKES_MS};
use super::looks::NoHold;
use super::*;
use crate::access::Reach;
use crate::id::RootKeyId;

mod bounds;

pub(super) fn at(ms: u64) -> Moment {
    Moment::default().plus_ms(1_000 + ms)
}

pub(super) fn digest(number: u8) -> Digest {
    Digest::from_bytes([number; 32])
}

pub(super) fn slug(text: &str) -> Slug {
    Slug::parse(text).unwrap()
}

pub(super) fn acme() -> Slug {
    slug("acme")
}

fn key(number: u8) -> KeyId {
    KeyId::new(
        crate::Timestamp::from_millis(1),
        0,
        [number; crate::id::ID_ENTROPY_BYTES],
    )
}

fn root_key(number: u8) -> RootKeyId {
    RootKeyId::new(
        crate::Timestamp::from_millis(1),
        0,
        [number; crate::id::ID_ENTROPY_BYTES],
    )
}

fn joining(capacity: usize, reach: Reach, root_key: Option<RootKeyId>) -> Joining {
    Joining {
        capacity,
        reach,
        root_key,
    }
}

fn join(downstream: &mut DownstreamLeases, capacity: usize) -> ChildId {
    let joining = joining(capacity, Reach::Tenant(acme()), Some(root_key(1)));
    downstream.join(&joining, at(0)).unwrap()
}

/// Lets a verifier look up a secret of a tenant.
fn answer(downstream: &mut DownstreamLeases, id: ChildId, number: u8, tenant: &Slug) {
    let (hold, order) = downstream.hold(id, digest(number), 5).unwrap();
    assert_eq!(order, None);
    downstream.settle(id, &digest(number), hold, tenant, key(number));
}

/// A verifier with a lease of two seconds from now, that may remember the secrets 1 and 2.
pub(super) fn downstream() -> (DownstreamLeases, ChildId) {
    let mut downstream = DownstreamLeases::default();
    let id = join(&mut downstream, 10);
    assert!(downstream.grant(id, 2_000, at(0)));
    for number in [1, 2] {
        answer(&mut downstream, id, number, &acme());
    }
    (downstream, id)
}

fn scope() -> ChangeScope {
    ChangeScope::Tenant(acme())
}

/// About no key.
static NO_KEYS: std::sync::LazyLock<HashSet<KeyId>> = std::sync::LazyLock::new(HashSet::new);

fn touch(scope: &ChangeScope, revision: u64) -> Touch<'_> {
    Touch {
        scope,
        span: Span::one(revision),
        keys: &NO_KEYS,
        sent_as: revision,
    }
}

/// A change of key 1 that touches some secrets.
pub(super) fn changed(downstream: &mut DownstreamLeases, revision: u64, digests: &[Digest]) -> Vec<Invalidation> {
    let (scope, keys) = (scope(), HashSet::from([key(1)]));
    let touch = Touch {
        keys: &keys,
        ..touch(&scope, revision)
    };
    downstream.touched(&touch, digests, &HashSet::new())
}

fn touched(downstream: &mut DownstreamLeases, revision: u64, digests: &[Digest]) -> Vec<Invalidation> {
    downstream.touched(&touch(&scope(), revision), digests, &HashSet::new())
}

fn tenant_touched(downstream: &mut DownstreamLeases, slug: &Slug, revision: u64) -> Vec<Invalidation> {
    let scope = ChangeScope::Tenant(slug.clone());
    downstream.tenant_touched(slug, &touch(&scope, revision))
}

/// Whether a change of the tenant `acme` waits.
fn waits(downstream: &mut DownstreamLeases, revision: u64, now: Moment) -> bool {
    let waits = downstream.covers(&Awaited::one(&acme(), revision), now);
    assert_eq!(downstream.holding(now).covers(&Awaited::one(&acme(), revision)), waits);
    waits
}

#[test]
fn a_change_of_a_key_waits_for_the_secret_that_an_earlier_change_took_from_it() {
    // Rotated at 7, revoked at 8: the revocation touches the new secret only, and a verifier may still know the old
    // one.
    let (mut downstream, id) = downstream();
    assert_eq!(changed(&mut downstream, 7, &[digest(1)]).len(), 1);
    assert_eq!(changed(&mut downstream, 8, &[digest(9)]), []);
    assert!(waits(&mut downstream, 7, at(1)) && waits(&mut downstream, 8, at(1)));
    assert_eq!(touched(&mut downstream, 9, &[digest(9)]), []);
    assert!(!waits(&mut downstream, 9, at(1)), "another key's");
    downstream.acknowledged(id, 1);
    assert!(!waits(&mut downstream, 7, at(1)) && !waits(&mut downstream, 8, at(1)));
}

#[test]
fn a_change_that_came_early_waits_for_no_change_after_it() {
    let (mut downstream, id) = downstream();
    downstream.came_early(Span::one(8), &HashSet::from([key(1)]), 6);
    assert_eq!(changed(&mut downstream, 7, &[digest(1)]).len(), 1);
    downstream.acknowledged(id, 1);
    answer(&mut downstream, id, 1, &acme());
    assert_eq!(changed(&mut downstream, 9, &[digest(1)]).len(), 1);
    assert!(waits(&mut downstream, 9, at(1)) && !waits(&mut downstream, 8, at(1)));
}

#[test]
fn an_order_keeps_the_keys_that_its_child_holds_however_many_a_change_is_about() {
    let (mut downstream, id) = downstream();
    let (scope, keys): (_, HashSet<_>) = (scope(), (0..=200).map(key).collect());
    let touch = Touch {
        keys: &keys,
        ..touch(&scope, 7)
    };
    assert_eq!(
        downstream
            .touched(&touch, &[digest(1), digest(2)], &HashSet::new())
            .len(),
        1
    );
    let order = downstream.children[&id].orders.oldest().unwrap();
    assert_eq!(order.keys, HashSet::from([key(1), key(2)]));
}

#[test]
fn a_change_that_came_before_an_earlier_one_of_its_key_waits_for_that_as_well() {
    // This node's revocation at 8 arrives before another node's rotation at 7.
    let (mut downstream, id) = downstream();
    let keys = HashSet::from([key(1)]);
    downstream.came_early(Span::one(8), &keys, 6);
    assert_eq!(changed(&mut downstream, 8, &[digest(9)]), []);
    assert!(!waits(&mut downstream, 8, at(1)), "it waits for the node itself");
    assert_eq!(changed(&mut downstream, 7, &[digest(1)]).len(), 1);
    assert!(waits(&mut downstream, 7, at(1)) && waits(&mut downstream, 8, at(1)));
    downstream.acknowledged(id, 1);
    assert!(!waits(&mut downstream, 8, at(1)));
}

#[test]
fn a_change_of_what_a_child_holds_waits_for_its_word_and_no_other_change_does() {
    let (mut downstream, id) = downstream();
    let orders = touched(&mut downstream, 7, &[digest(1), digest(9)]);
    let order = Order {
        number: 1,
        revision: 7,
        what: Forget::Secrets(vec![digest(1)]),
    };
    let one = Invalidation {
        child: id,
        order,
        ended: Vec::new(),
    };
    assert_eq!(orders, [one]);
    assert!(waits(&mut downstream, 7, at(1)));
    assert!(!waits(&mut downstream, 6, at(1)) && !waits(&mut downstream, 8, at(1)));
    assert!(!downstream.covers(&Awaited::one(&slug("other"), 7), at(1)));
    downstream.acknowledged(id, 1);
    assert!(!waits(&mut downstream, 7, at(1)));
}

#[test]
fn a_later_change_of_the_same_secret_waits_for_the_same_word() {
    let (mut downstream, id) = downstream();
    touched(&mut downstream, 7, &[digest(1)]);
    assert_eq!(
        touched(&mut downstream, 9, &[digest(1)]),
        [],
        "it was told to forget it already"
    );
    assert!(waits(&mut downstream, 9, at(1)) && !waits(&mut downstream, 8, at(1)));
    // Also for an earlier change of another node that arrives later.
    assert_eq!(touched(&mut downstream, 6, &[digest(1)]), []);
    assert!(waits(&mut downstream, 6, at(1)));
    downstream.acknowledged(id, 1);
    assert!(!waits(&mut downstream, 6, at(1)) && !waits(&mut downstream, 9, at(1)));
    assert_eq!(
        touched(&mut downstream, 10, &[digest(1)]),
        [],
        "it holds nothing of it any more"
    );
}

#[test]
fn whoever_asks_again_before_it_said_so_is_told_again() {
    let (mut downstream, id) = downstream();
    touched(&mut downstream, 7, &[digest(1)]);
    answer(&mut downstream, id, 1, &acme());
    assert_eq!(touched(&mut downstream, 8, &[digest(1)]).len(), 1);
    downstream.acknowledged(id, 1);
    assert!(!waits(&mut downstream, 7, at(1)));
    assert!(
        waits(&mut downstream, 8, at(1)),
        "the first word says nothing of the second"
    );
    downstream.acknowledged(id, 2);
    assert!(!waits(&mut downstream, 8, at(1)));
}

#[test]
fn nobody_waits_for_a_child_that_holds_nothing_of_it() {
    let (mut downstream, _) = downstream();
    assert_eq!(touched(&mut downstream, 7, &[digest(3)]), []);
    assert!(!waits(&mut downstream, 7, at(1)));
}

#[test]
fn a_child_that_is_silent_is_waited_for_until_its_lease_is_surely_over() {
    let (mut downstream, id) = downstream();
    touched(&mut downstream, 7, &[digest(1)]);
    downstream.lost(id);
    assert!(waits(&mut downstream, 7, at(2_999)));
    assert!(!waits(&mut downstream, 7, at(3_000)));
    assert!(downstream.is_empty());
}

/// A grant after an order comes behind it on the same connection.
#[test]
fn what_is_waited_for_is_the_lease_that_was_given_before_the_order() {
    let (mut downstream, id) = downstream();
    touched(&mut downstream, 7, &[digest(1)]);
    assert!(downstream.grant(id, 2_000, at(1_500)));
    assert!(waits(&mut downstream, 7, at(2_999)));
    assert!(!waits(&mut downstream, 7, at(3_000)));
    touched(&mut downstream, 8, &[digest(2)]);
    assert!(waits(&mut downstream, 8, at(4_499)) && !waits(&mut downstream, 8, at(4_500)));
}

#[test]
fn a_lost_child_still_counts_for_changes_that_come_after() {
    let (mut downstream, id) = downstream();
    downstream.lost(id);
    assert_eq!(downstream.len(), 0);
    touched(&mut downstream, 7, &[digest(2)]);
    touched(&mut downstream, 8, &[digest(9)]);
    assert!(waits(&mut downstream, 7, at(10)) && !waits(&mut downstream, 8, at(10)));
    assert!(!waits(&mut downstream, 7, at(3_000)));
}

#[test]
fn a_child_that_leaves_is_not_waited_for() {
    let (mut downstream, id) = downstream();
    touched(&mut downstream, 7, &[digest(1)]);
    downstream.left(id);
    assert!(!waits(&mut downstream, 7, at(1)));
    assert_eq!(touched(&mut downstream, 8, &[digest(2)]), []);
}

#[test]
fn an_order_that_is_not_acknowledged_ends_grants_and_the_connection_and_nothing_is_waited_for_twice() {
    let (mut downstream, id) = downstream();
    let mut now = 0;
    touched(&mut downstream, 7, &[digest(1)]);
    while now < OVERDUE_MS {
        assert!(downstream.sweep(at(now)).is_empty(), "{now}");
        assert!(downstream.grant(id, 2_000, at(now)));
        now += LOOK_MS;
    }
    assert!(downstream.sweep(at(now)).is_empty());
    now += LOOK_MS;
    assert_eq!(downstream.sweep(at(now)), [id]);
    assert!(!downstream.grant(id, 2_000, at(now)));
    assert_eq!((downstream.overdue(), downstream.len()), (1, 0));
    assert!(
        !waits(&mut downstream, 7, at(3_000)),
        "the lease of before the order is over"
    );
}

#[test]
fn a_child_is_not_blamed_while_its_node_stood_still() {
    let (mut downstream, id) = downstream();
    assert!(downstream.sweep(at(0)).is_empty());
    touched(&mut downstream, 7, &[digest(1)]);
    assert!(downstream.sweep(at(60_000)).is_empty());
    downstream.acknowledged(id, 1);
    assert!(downstream.grant(id, 2_000, at(60_001)));
}

#[test]
fn a_root_key_whose_children_were_overdue_too_often_is_refused_for_a_while() {
    let mut downstream = DownstreamLeases::default();
    let mut now = 0;
    for time in 0..STRIKES_MAX {
        assert_eq!(downstream.refused_ms(root_key(1), at(now)), None, "{time}");
        let id = join(&mut downstream, 10);
        assert!(downstream.grant(id, 2_000, at(now)));
        answer(&mut downstream, id, 1, &acme());
        touched(&mut downstream, 7, &[digest(1)]);
        let mut closed = Vec::new();
        while closed.is_empty() {
            closed = downstream.sweep(at(now));
            now += LOOK_MS;
        }
        assert_eq!(closed, [id]);
    }
    let left = downstream.refused_ms(root_key(1), at(now)).unwrap();
    assert!(left <= STRIKES_MS && left > STRIKES_MS - 10_000);
    assert_eq!(downstream.refused_ms(root_key(2), at(now)), None, "another one's");
    assert_eq!(downstream.refused_ms(root_key(1), at(now + STRIKES_MS)), None);
}

#[test]
fn a_tenant_is_told_to_those_that_may_know_a_key_of_it_and_to_nobody_else() {
    let mut downstream = DownstreamLeases::default();
    let everywhere = downstream
        .join(&joining(10, Reach::Instance, Some(root_key(2))), at(0))
        .unwrap();
    let own = join(&mut downstream, 10);
    let ignorant = join(&mut downstream, 10);
    let foreign = joining(10, Reach::Tenant(slug("other")), Some(root_key(3)));
    let foreign = downstream.join(&foreign, at(0)).unwrap();
    for id in [everywhere, own, ignorant, foreign] {
        assert!(downstream.grant(id, 2_000, at(0)));
    }
    answer(&mut downstream, everywhere, 1, &acme());
    answer(&mut downstream, everywhere, 2, &slug("other"));
    answer(&mut downstream, own, 1, &acme());
    answer(&mut downstream, foreign, 2, &slug("other"));
    let orders = tenant_touched(&mut downstream, &acme(), 7);
    let sent: Vec<_> = orders
        .iter()
        .map(|sent| (sent.child, sent.order.what.clone()))
        .collect();
    assert_eq!(sent, [everywhere, own].map(|id| (id, Forget::Tenant(acme()))));
    downstream.acknowledged(everywhere, 1);
    downstream.acknowledged(own, 1);
    assert!(!waits(&mut downstream, 7, at(1)));
    assert_eq!(
        touched(&mut downstream, 8, &[digest(1)]),
        [],
        "they forgot it with the tenant"
    );
    assert_eq!(touched(&mut downstream, 8, &[digest(2)]).len(), 2, "and nothing else");
}

#[test]
fn what_is_being_asked_for_is_perhaps_the_tenants_and_not_one_that_the_child_does_not_reach() {
    let (mut downstream, id) = downstream();
    tenant_touched(&mut downstream, &acme(), 6);
    downstream.acknowledged(id, 1);
    downstream.hold(id, digest(3), 6).unwrap();
    assert_eq!(tenant_touched(&mut downstream, &slug("other"), 7), []);
    assert_eq!(tenant_touched(&mut downstream, &acme(), 8).len(), 1);
    assert!(waits(&mut downstream, 8, at(1)) && !waits(&mut downstream, 7, at(1)));
}

#[test]
fn the_keys_that_ended_are_told_only_to_those_that_know_them() {
    let (mut downstream, _) = downstream();
    let stranger = join(&mut downstream, 10);
    answer(&mut downstream, stranger, 3, &acme());
    let ended: HashSet<_> = [key(1), key(3), key(9)].into_iter().collect();
    let orders = downstream.touched(&touch(&scope(), 7), &[digest(1), digest(2), digest(3)], &ended);
    let ended: Vec<_> = orders.into_iter().map(|sent| sent.ended).collect();
    assert_eq!(ended, [vec![key(1)], vec![key(3)]]);
}

#[test]
fn a_child_that_was_sent_away_keeps_what_it_knew_until_its_lease_is_over() {
    let (mut downstream, id) = downstream();
    let order = downstream.send_away(id, Some((&scope(), Span::one(7)))).unwrap().order;
    assert_eq!(order.what, Forget::Everything);
    assert!(!downstream.grant(id, 2_000, at(1)));
    assert_eq!(downstream.hold(id, digest(3), 7), Err(NoHold::Gone));
    assert_eq!(touched(&mut downstream, 8, &[digest(1)]), []);
    assert_eq!(touched(&mut downstream, 9, &[digest(9)]), []);
    assert!(waits(&mut downstream, 7, at(2_999)) && waits(&mut downstream, 8, at(2_999)));
    assert!(!waits(&mut downstream, 9, at(1)), "it never knew this one");
    assert!(!waits(&mut downstream, 7, at(3_000)) && !waits(&mut downstream, 8, at(3_000)));
}

#[test]
fn one_that_says_that_it_went_is_waited_for_no_longer_also_when_the_log_tells_of_it_again() {
    let (mut downstream, id) = downstream();
    let order = downstream.send_away(id, Some((&scope(), Span::one(7)))).unwrap().order;
    downstream.acknowledged(id, order.number);
    assert!(!downstream.knows(id));
    downstream.send_away(id, Some((&scope(), Span::one(7))));
    assert!(!waits(&mut downstream, 7, at(1)));
}

#[test]
fn one_that_was_sent_away_is_closed_soon_whatever_it_says_and_that_is_no_strike() {
    let (mut downstream, id) = downstream();
    assert!(downstream.sweep(at(0)).is_empty());
    downstream.send_away(id, None);
    assert!(downstream.sweep(at(250)).is_empty());
    let closed: Vec<_> = (2..=4).flat_map(|step| downstream.sweep(at(step * LOOK_MS))).collect();
    assert_eq!(closed, [id]);
    assert_eq!(downstream.overdue(), 0);
}

#[test]
fn one_that_is_lost_when_its_root_key_ends_is_waited_for_too() {
    let (mut downstream, id) = downstream();
    downstream.lost(id);
    assert_eq!(downstream.send_away(id, Some((&scope(), Span::one(7)))), None);
    assert!(waits(&mut downstream, 7, at(2_999)) && !waits(&mut downstream, 7, at(3_000)));
}
