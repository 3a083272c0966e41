//! How downstream verifiers end, and what they report.

use super::*;
use keyreeve_authority::children::Presence;
use keyreeve_core::Timestamp;
use keyreeve_store::model::UsageCount;

#[tokio::test]
async fn a_child_that_never_acknowledges_is_closed_gets_no_lease_and_is_listed_while_changes_wait() {
    let world = World::under(Preset::Standard).await;
    let key = world.issue("one").await;
    let child = hang_on(&world).await;
    assert!(world.authority.verifiers().grant(child.id).await.is_some());
    tell(&world, &child, &key).await;
    let moment = || keyreeve_authority::env::Clock::moment(&*world.clock);
    let first = world.authority.children().connected_list(moment()).remove(0);
    assert_eq!((first.id, first.keys, first.oldest_order), (child.id, 1, None));
    assert_eq!(&*first.peer, "192.0.2.1:443");
    let pending = keyreeve_authority::Call {
        is_awaited: false,
        ..world.call()
    };
    let command = revocation(ReasonCode::Unspecified);
    let revoked = world
        .authority
        .keys()
        .revoke(&pending, key.record.key.id, command)
        .await
        .unwrap();
    for _ in 0..12 {
        world.authority.verifiers().sweep();
        world.clock.0.fetch_add(250, std::sync::atomic::Ordering::Relaxed);
        let list = world.authority.children().connected_list(moment());
        let order = list.first().and_then(|child| child.oldest_order);
        assert!(order.is_none_or(|order| order.revision == revoked.effect.revision));
    }
    assert!(child.heard.is_closed());
    assert_eq!(world.authority.verifiers().grant(child.id).await, None);
    let counts = world.authority.verifiers().counts();
    assert_eq!((counts.connected, counts.overdue, counts.orders_outstanding), (0, 1, 1));
    // The change still waits for its lease, so it is still shown.
    let shown = world.authority.children().connected_list(moment()).remove(0);
    assert_eq!((shown.id, shown.presence), (child.id, Presence::Disconnected));
    assert_eq!(shown.oldest_order.unwrap().revision, revoked.effect.revision);
    let target = "vf_0123456789abcdef_1".to_owned();
    let again = world
        .authority
        .verifiers()
        .disconnect(&world.call(), None, child.id, target)
        .await;
    assert!(matches!(again, Err(Failure::NotFound)), "{again:?}");
    world.pass(20);
    assert_eq!(world.authority.children().connected_list(moment()), []);
    assert_eq!(world.authority.verifiers().counts().orders_outstanding, 0);
}

#[tokio::test]
async fn a_root_key_whose_verifiers_are_overdue_again_and_again_is_refused_the_stream() {
    let world = World::under(Preset::Standard).await;
    let (_, pass) = childs_root_key(&world).await;
    let reach = Reach::Tenant(world.tenant.clone());
    for _ in 0..3 {
        let key = world.issue(&world.new_name()).await;
        let child = hang_on_with(&world, reach.clone(), pass.clone()).await;
        assert!(world.authority.verifiers().grant(child.id).await.is_some());
        tell(&world, &child, &key).await;
        let pending = keyreeve_authority::Call {
            is_awaited: false,
            ..world.call()
        };
        let command = revocation(ReasonCode::Unspecified);
        world
            .authority
            .keys()
            .revoke(&pending, key.record.key.id, command)
            .await
            .unwrap();
        while !child.heard.is_closed() {
            world.authority.verifiers().sweep();
            world.clock.0.fetch_add(250, std::sync::atomic::Ordering::Relaxed);
        }
        world.authority.children().lost(child.id);
    }
    let refused = world
        .authority
        .verifiers()
        .may_connect(pass.as_ref(), &reach)
        .unwrap_err();
    assert!(
        matches!(
            refused,
            Failure::VerifiersOverdue {
                retry_after_seconds: 590..=600
            }
        ),
        "{refused}"
    );
    let line = Arc::new(Heard::default());
    assert!(
        world
            .authority
            .verifiers()
            .register(newcomer(reach.clone(), pass.clone()), line)
            .await
            .is_err()
    );
    assert!(world.authority.verifiers().may_connect(None, &Reach::Instance).is_ok());
    world.pass(601);
    assert!(world.authority.verifiers().may_connect(pass.as_ref(), &reach).is_ok());
}

#[tokio::test]
async fn whose_root_key_was_revoked_while_it_came_is_not_taken_in() {
    let world = World::under(Preset::Standard).await;
    let (root_key, pass) = childs_root_key(&world).await;
    world
        .authority
        .root_keys()
        .revoke(&world.call(), None, root_key)
        .await
        .unwrap();
    let line = Arc::new(Heard::default());
    let newcomer = newcomer(Reach::Tenant(world.tenant.clone()), pass);
    let refused = world.authority.verifiers().register(newcomer, line).await.unwrap_err();
    assert!(matches!(refused, Failure::PermissionDenied(_)), "{refused}");
    assert!(world.authority.children().is_empty());
}

#[tokio::test]
async fn one_that_was_sent_away_may_still_acknowledge_whatever_it_asks_meanwhile() {
    let world = World::under(Preset::Standard).await;
    let (root_key, pass) = childs_root_key(&world).await;
    let key = world.issue("one").await;
    let child = hang_on_with(&world, Reach::Tenant(world.tenant.clone()), pass).await;
    assert!(world.authority.verifiers().grant(child.id).await.is_some());
    tell(&world, &child, &key).await;
    let children = world.authority.children();
    assert!(!children.is_leaving(child.id));
    let asks_and_says_so = async {
        while child.heard.newest().is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.authority.verifiers().grant(child.id).await, None);
        assert!(
            world
                .authority
                .verifiers()
                .answer_fetch(child.id, key.secret.digest())
                .await
                .is_err()
        );
        world.authority.verifiers().sweep();
        assert!(children.is_leaving(child.id), "its connection stays");
        assert!(!child.heard.is_closed());
        children.acknowledged(child.id, 1);
    };
    let began = world.authority.now();
    let call = world.call();
    let (revoked, ()) = tokio::join!(
        world.authority.root_keys().revoke(&call, None, root_key),
        asks_and_says_so
    );
    revoked.unwrap();
    assert!(world.authority.now().millis_since(began) < 500);
    assert!(child.heard.is_closed() && !children.is_leaving(child.id));
}

#[tokio::test]
async fn one_that_was_sent_away_and_says_nothing_is_closed_after_its_time() {
    let world = World::under(Preset::Standard).await;
    let child = hang_on(&world).await;
    assert!(world.authority.verifiers().grant(child.id).await.is_some());
    assert!(world.authority.children().disconnect(child.id));
    let mut stayed_ms = 0;
    while world.authority.children().is_leaving(child.id) {
        world.authority.verifiers().sweep();
        world.clock.0.fetch_add(250, std::sync::atomic::Ordering::Relaxed);
        stayed_ms += 250;
        assert!(stayed_ms <= 2_000);
    }
    assert!(stayed_ms >= 500 && child.heard.is_closed());
    assert_eq!(world.authority.verifiers().grant(child.id).await, None);
}

#[tokio::test]
async fn the_children_of_a_process_that_was_killed_are_minded_by_the_next() {
    let world = World::under(Preset::Standard).await;
    let key = world.issue("one").await;
    world.authority.verifiers().await_former_leases(CHILD_LEASE_MS);
    let effect = revoke(&world, &key).await;
    assert!(effect.waited_ms() >= wait_ms(CHILD_LEASE_MS), "{effect:?}");
    let next = world.issue("two").await;
    assert_eq!(revoke(&world, &next).await.waited_ms(), 0);
}

#[tokio::test]
async fn children_are_sent_away_at_the_end_and_waited_for_a_while() {
    let world = World::under(Preset::Standard).await;
    assert!(world.authority.verifiers().dismiss_all(100).await, "there are none");
    let child = hang_on(&world).await;
    assert!(world.authority.verifiers().grant(child.id).await.is_some());
    assert!(
        !world.authority.verifiers().dismiss_all(100).await,
        "this one does not go"
    );
    assert!(child.heard.newest().unwrap().2);
    world.authority.children().left(child.id);
    assert!(world.authority.verifiers().dismiss_all(100).await);
}

pub(super) fn report(digest: Digest, denial: Option<Denial>, count: u32, world: &World) -> Reported {
    Reported {
        digest,
        denial,
        count,
        extra_cost: 0,
        last_at: world.authority.now(),
    }
}

#[tokio::test]
async fn what_a_child_has_seen_counts_as_if_the_node_had_seen_it() {
    let world = World::under(Preset::Standard).await;
    let key = world.issue("one").await;
    let digest = key.secret.digest();
    let costly = Reported {
        extra_cost: 6,
        ..report(digest, None, 5, &world)
    };
    let seen = [
        costly,
        report(digest, Some(Denial::Scope), 2, &world),
        report(Digest::of(b"nobody's"), None, 9, &world),
    ];
    let child = hang_on(&world).await;
    world.authority.verifiers().report(child.id, &seen).await;
    let id = key.record.key.id;
    let record = world.authority.keys().get(&world.call(), id).await.unwrap();
    assert_eq!(record.last_used_at, Some(world.authority.now()));
    assert_eq!(
        world.counts(id).await,
        [("scope".to_owned(), 2), ("valid".to_owned(), 5)]
    );
    let call = world.call();
    let usage = world
        .authority
        .keys()
        .usage(&call, id, Timestamp::from_millis(0), Timestamp::from_millis(i64::MAX));
    let costs: u64 = usage.await.unwrap().iter().map(UsageCount::cost).sum();
    assert_eq!(costs, 11);
}

/// Three changes in one commit, as when several wait for the disk together: each causes its own orders.
#[tokio::test]
async fn of_changes_that_are_committed_together_only_what_the_child_knew_waits() {
    let world = World::under(Preset::Standard).await;
    let key = world.issue("one").await;
    let child = hang_on(&world).await;
    assert!(world.authority.verifiers().grant(child.id).await.is_some());
    tell(&world, &child, &key).await;
    let revision = world.authority.verifier().applied() + 3;
    let commit = keyreeve_store::Commit {
        revision,
        tenant: Some(world.tenant.clone()),
        secrets: vec![key.secret.digest()],
        ..keyreeve_store::Commit::default()
    };
    keyreeve_store::CommitObserver::committed(&**world.authority.verifier(), &commit);
    let moment = || keyreeve_authority::env::Clock::moment(&*world.clock);
    let order = world
        .authority
        .children()
        .connected_list(moment())
        .remove(0)
        .oldest_order;
    assert_eq!(order.map(|order| order.revision), Some(revision));
    world.authority.children().acknowledged(child.id, 1);
    assert_eq!(world.authority.verifiers().counts().orders_outstanding, 0);
}
