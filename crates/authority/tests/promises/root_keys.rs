//! Root keys: their end by time, their rotation on several nodes, and what uses leave.

use crate::failover::catch_up;
use crate::nodes::among;
use crate::world::World;
use keyreeve_authority::root_keys::{RootKeyCommand, RootKeyWithSecret, RotateRootKeyCommand};
use keyreeve_authority::verifier::RootPass;
use keyreeve_authority::{Authority, Call, Failure};
use keyreeve_core::access::{Permissions, Reach};
use keyreeve_core::limits::Networks;
use keyreeve_core::policy::{ExpiryWish, Preset};
use keyreeve_core::text::Name;
use std::sync::atomic::Ordering;

async fn make(world: &World, change: impl FnOnce(&mut RootKeyCommand)) -> RootKeyWithSecret {
    let mut command = RootKeyCommand::new(Name::parse("root").unwrap(), Permissions::all(), Reach::Instance);
    change(&mut command);
    let call = world.call();
    world.authority.root_keys().create(&call, command).await.unwrap()
}

async fn rotate(
    world: &World,
    call: &Call,
    root_key: &RootKeyWithSecret,
    overlap_seconds: u64,
) -> Result<RootKeyWithSecret, Failure> {
    let command = RotateRootKeyCommand {
        overlap_seconds,
        expiry: ExpiryWish::Unsaid,
    };
    let root_keys = world.authority.root_keys();
    root_keys.rotate(call, None, root_key.root_key.id, command).await
}

async fn pass(authority: &Authority, root_key: &RootKeyWithSecret) -> Option<RootPass> {
    authority.root_key(root_key.secret.expose()).await.unwrap()
}

fn wait(world: &World, ms: i64) {
    world.clock.0.fetch_add(ms, Ordering::Relaxed);
}

#[tokio::test]
async fn a_root_key_is_good_until_the_instant_of_its_expiry_from_memory_and_from_the_store() {
    let world = World::under(Preset::Standard).await;
    let made = make(&world, |it| it.expiry = ExpiryWish::InSeconds(60)).await;
    let remembered = pass(&world.authority, &made).await.unwrap();
    wait(&world, 59_999);
    assert!(world.authority.is_still_good(&remembered));
    wait(&world, 1);
    assert!(!world.authority.is_still_good(&remembered));
    assert!(pass(&world.authority, &made).await.is_none());
    let (node, elsewhere) = among(&world);
    catch_up(&node).await;
    assert!(pass(&elsewhere, &made).await.is_none(), "read from the store");
}

#[tokio::test]
async fn an_expired_root_key_that_was_checked_before_changes_nothing() {
    let world = World::under(Preset::Standard).await;
    let made = make(&world, |it| it.expiry = ExpiryWish::InSeconds(60)).await;
    let caller = pass(&world.authority, &made).await.unwrap().caller();
    let call = world.call_of(caller);
    assert!(rotate(&world, &call, &made, 0).await.is_ok());
    let refused = rotate(&world, &call, &made, 0).await.err();
    assert!(
        matches!(refused, Some(Failure::CallerGone)),
        "its secret was replaced: {refused:?}"
    );
    let other = make(&world, |it| it.expiry = ExpiryWish::InSeconds(60)).await;
    let call = world.call_of(pass(&world.authority, &other).await.unwrap().caller());
    wait(&world, 60_000);
    let refused = rotate(&world, &call, &made, 0).await.err();
    assert!(matches!(refused, Some(Failure::CallerGone)), "{refused:?}");
}

#[tokio::test]
async fn a_replaced_secret_is_accepted_by_no_node_when_the_rotation_returns() {
    let world = World::under(Preset::Standard).await;
    let mut newest = make(&world, |_| {}).await;
    let (node, elsewhere) = among(&world);
    catch_up(&node).await;
    for overlap_seconds in [60, 0, 60, 60, 0] {
        assert!(pass(&elsewhere, &newest).await.is_some());
        assert!(pass(&world.authority, &newest).await.is_some());
        let rotated = rotate(&world, &world.call(), &newest, overlap_seconds).await.unwrap();
        catch_up(&node).await;
        for authority in [&world.authority, &elsewhere] {
            let old = pass(authority, &newest).await;
            assert_eq!(old.is_some(), overlap_seconds > 0, "overlap of {overlap_seconds} s");
            assert!(pass(authority, &rotated).await.is_some());
        }
        newest = rotated;
    }
}

#[tokio::test]
async fn an_overlap_ends_by_time_and_by_a_call_and_a_revocation_ends_both_secrets() {
    let world = World::under(Preset::Standard).await;
    let first = make(&world, |_| {}).await;
    let second = rotate(&world, &world.call(), &first, 60).await.unwrap();
    wait(&world, 59_999);
    assert!(pass(&world.authority, &first).await.is_some());
    wait(&world, 1);
    assert!(pass(&world.authority, &first).await.is_none());
    let third = rotate(&world, &world.call(), &second, 60).await.unwrap();
    let finish = world.authority.root_keys();
    finish
        .finish_rotation(&world.call(), None, first.root_key.id)
        .await
        .unwrap();
    assert!(pass(&world.authority, &second).await.is_none());
    let fourth = rotate(&world, &world.call(), &third, 60).await.unwrap();
    let (call, id) = (world.call(), first.root_key.id);
    world.authority.root_keys().revoke(&call, None, id).await.unwrap();
    for one in [&third, &fourth] {
        assert!(pass(&world.authority, one).await.is_none());
    }
}

#[tokio::test]
async fn a_replaced_secret_opens_nothing_when_the_database_lost_the_rotation() {
    let world = World::under(Preset::Standard).await;
    let made = make(&world, |_| {}).await;
    let (node, elsewhere) = among(&world);
    catch_up(&node).await;
    let standby = world.stage.inner.copy().unwrap();
    rotate(&world, &world.call(), &made, 0).await.unwrap();
    catch_up(&node).await;
    world.stage.inner.put_back(standby, true).unwrap();
    world.issue("two").await;
    let found = elsewhere.root_key(made.secret.expose()).await;
    assert!(matches!(found, Err(Failure::Unavailable(_))), "{found:?}");
}

#[tokio::test]
async fn the_last_use_is_written_and_at_most_once_a_minute() {
    let world = World::under(Preset::Standard).await;
    let made = make(&world, |_| {}).await;
    let known = pass(&world.authority, &made).await.unwrap();
    let last_use = async || {
        world.authority.flush_activity().await;
        let all = world.authority.root_keys().list(&world.call(), None).await.unwrap();
        all.into_iter()
            .find(|one| one.id == made.root_key.id)
            .unwrap()
            .last_used_at
    };
    assert_eq!(last_use().await, None);
    world.authority.note_root_key_use(&known);
    let first = world.authority.now();
    assert_eq!(last_use().await, Some(first));
    wait(&world, 59_000);
    world.authority.note_root_key_use(&known);
    assert_eq!(last_use().await, Some(first), "exact to a minute");
    wait(&world, 1_000);
    assert_eq!(last_use().await, Some(first));
    world.authority.note_root_key_use(&known);
    assert_eq!(last_use().await, Some(world.authority.now()));
}

#[tokio::test]
async fn what_a_retiring_secret_creates_ends_with_it_and_it_does_not_rotate_its_root_key_again() {
    let world = World::under(Preset::Standard).await;
    let own = make(&world, |_| {}).await;
    let rotated = rotate(&world, &world.call(), &own, 60).await.unwrap();
    let end = rotated.root_key.end_of(&own.secret.digest());
    let call = world.call_of(pass(&world.authority, &own).await.unwrap().caller());
    let with = async |expiry| {
        let mut command = RootKeyCommand::new(Name::parse("root").unwrap(), Permissions::all(), Reach::Instance);
        command.expiry = expiry;
        world.authority.root_keys().create(&call, command).await
    };
    assert_eq!(with(ExpiryWish::Unsaid).await.unwrap().root_key.expires_at, end);
    for expiry in [ExpiryWish::Never, ExpiryWish::InSeconds(61)] {
        let refused = with(expiry).await.err();
        assert!(matches!(refused, Some(Failure::Escalation)), "{expiry:?} {refused:?}");
    }
    let refused = rotate(&world, &call, &own, 60).await.err();
    assert!(matches!(refused, Some(Failure::Escalation)), "{refused:?}");
}

/// The client whose rotation was lost on the way has only the secret that is retiring now.
#[tokio::test]
async fn a_retry_of_its_own_rotation_with_a_secret_that_is_retiring_now_gets_another_one() {
    let world = World::under(Preset::Standard).await;
    let own = make(&world, |_| {}).await;
    let call = || async {
        Call {
            idempotency: world.marked("m").idempotency,
            ..world.call_of(pass(&world.authority, &own).await.unwrap().caller())
        }
    };
    rotate(&world, &call().await, &own, 60).await.unwrap();
    let again = rotate(&world, &call().await, &own, 60).await.unwrap();
    assert!(pass(&world.authority, &again).await.is_some());
}

#[tokio::test]
async fn what_a_root_key_creates_is_limited_like_itself() {
    let world = World::under(Preset::Standard).await;
    let networks = |text: &str| Networks::from_joined(text).unwrap();
    let own = make(&world, |it| {
        it.expiry = ExpiryWish::InSeconds(600);
        it.networks = Some(networks("10.0.0.0/8"));
    })
    .await;
    let call = world.call_of(pass(&world.authority, &own).await.unwrap().caller());
    let with = async |expiry, networks| {
        let mut command = RootKeyCommand::new(Name::parse("root").unwrap(), Permissions::all(), Reach::Instance);
        (command.expiry, command.networks) = (expiry, networks);
        world.authority.root_keys().create(&call, command).await
    };
    let inherited = with(ExpiryWish::Unsaid, None).await.unwrap().root_key;
    assert_eq!(inherited.expires_at, own.root_key.expires_at);
    assert_eq!(inherited.networks, own.root_key.networks);
    for (expiry, wanted) in [
        (ExpiryWish::Never, None),
        (ExpiryWish::InSeconds(601), None),
        (ExpiryWish::Unsaid, Some(Networks::default())),
        (ExpiryWish::Unsaid, Some(networks("10.0.0.0/8 192.0.2.1"))),
    ] {
        let refused = with(expiry, wanted.clone()).await.err();
        assert!(
            matches!(refused, Some(Failure::Escalation)),
            "{expiry:?} {wanted:?} {refused:?}"
        );
    }
}
