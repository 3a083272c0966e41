//! Expiry, networks, last use and new secrets of root keys.

use crate::world::{NOW, World, context, later, marked, name};
use keyreeve_core::access::{Actor, Reach};
use keyreeve_core::audit::Action;
use keyreeve_core::lifecycle::{NewSecret, Refusal, Retiring};
use keyreeve_core::limits::Networks;
use keyreeve_core::{Digest, Timestamp};
use keyreeve_store::WriteError;
use keyreeve_store::model::{ActivityBatch, Replay, RootKey, RootKeyRotation, RotatedRootKey, WriteContext};

async fn make(world: &World, change: impl FnOnce(&mut RootKey)) -> RootKey {
    let mut root_key = world.root_key(Reach::Instance);
    change(&mut root_key);
    world.store.create_root_key(context(), root_key.clone()).await.unwrap();
    root_key
}

fn to(root_key: &RootKey, secret: &NewSecret, overlap_seconds: u64) -> RootKeyRotation {
    RootKeyRotation {
        tenant: None,
        id: root_key.id,
        digest: secret.digest,
        last_four: secret.last_four,
        overlap_seconds,
        expires_at: None,
        may_hold: Box::new(|_| true),
    }
}

async fn rotate(world: &World, root_key: &RootKey, overlap_seconds: u64) -> RotatedRootKey {
    let rotation = to(root_key, &world.secret(), overlap_seconds);
    world.store.rotate_root_key(context(), rotation).await.unwrap()
}

async fn find(world: &World, digest: &Digest) -> Option<RootKey> {
    world.store.find_root_key(digest).await.unwrap().value
}

/// The secrets of root keys that the memory was notified to forget, and those of verifiers to send away.
fn notified(world: &World) -> (Vec<Digest>, Vec<Digest>) {
    let seen = world.seen.0.lock().unwrap();
    let all = seen.iter().flat_map(|commit| commit.root_keys.clone()).collect();
    (
        all,
        seen.iter().flat_map(|commit| commit.ended_root_keys.clone()).collect(),
    )
}

/// The secrets that the memory was notified of as retiring.
fn rotated_away(world: &World) -> Vec<Digest> {
    let seen = world.seen.0.lock().unwrap();
    let all = seen.iter().flat_map(|commit| commit.rotated_root_secrets.clone());
    all.flat_map(|(_, secrets)| secrets).collect()
}

async fn use_of(world: &World, digest: Digest, at: Timestamp) {
    let activity = ActivityBatch {
        root_key_uses: vec![(digest, at)],
        ..ActivityBatch::default()
    };
    world.store.record_activity(activity).await.unwrap();
}

pub async fn a_rotated_root_key_has_both_secrets_until_its_overlap_is_over(world: World) {
    let made = make(&world, |it| {
        it.expires_at = Some(later(3_600));
        it.networks = Networks::from_joined("192.0.2.0/24 2001:db8::/32").unwrap();
    })
    .await;
    assert_eq!(find(&world, &made.digest).await.as_ref(), Some(&made));
    world.seen.forget();
    let rotated = rotate(&world, &made, 60).await;
    assert_eq!(rotated.replay, Replay::First);
    let old = Retiring {
        digest: made.digest,
        until: later(60),
    };
    assert_eq!(rotated.root_key.retiring, Some(old));
    assert_eq!(rotated.root_key.rotated_at, Some(NOW));
    for digest in [made.digest, rotated.root_key.digest] {
        assert_eq!(find(&world, &digest).await.as_ref(), Some(&rotated.root_key));
    }
    assert_eq!(rotated.root_key.end_of(&made.digest), Some(later(60)));
    assert_eq!(rotated.root_key.end_of(&rotated.root_key.digest), Some(later(3_600)));
    let (forgotten, ended) = notified(&world);
    assert!(forgotten.contains(&made.digest) && forgotten.contains(&rotated.root_key.digest));
    assert!(ended.is_empty());
    assert_eq!(rotated_away(&world), [made.digest]);
    let newest = world.store.audit_after(rotated.revision - 1, 1).await.unwrap();
    assert_eq!(newest[0].action, Action::RootKeyRotated.as_str());
    // An overlap does not extend a secret beyond its expiry.
    let again = rotate(&world, &rotated.root_key, 1_000_000).await;
    assert_eq!(again.root_key.overlap_until(NOW), Some(later(3_600)));
}

pub async fn without_an_overlap_the_old_secret_ends_and_memories_are_notified(world: World) {
    let made = make(&world, |_| {}).await;
    world.seen.forget();
    let rotated = rotate(&world, &made, 0).await;
    assert_eq!(find(&world, &made.digest).await, None);
    assert_eq!(find(&world, &rotated.root_key.digest).await, Some(rotated.root_key));
    let (forgotten, ended) = notified(&world);
    assert!(forgotten.contains(&made.digest));
    assert_eq!(ended, [made.digest]);
}

pub async fn a_second_rotation_ends_the_first_secret_and_memories_are_notified_of_all(world: World) {
    let made = make(&world, |_| {}).await;
    let first = rotate(&world, &made, 60).await.root_key;
    world.seen.forget();
    let second = rotate(&world, &first, 60).await.root_key;
    assert_eq!(find(&world, &made.digest).await, None);
    assert_eq!(find(&world, &first.digest).await.as_ref(), Some(&second));
    assert_eq!(notified(&world).1, [made.digest]);
    world.seen.forget();
    world.store.revoke_root_key(context(), None, made.id).await.unwrap();
    let (forgotten, ended) = notified(&world);
    for digest in [made.digest, first.digest, second.digest] {
        assert!(forgotten.contains(&digest) && ended.contains(&digest), "{digest:?}");
    }
}

pub async fn an_overlap_can_be_ended_before_its_time(world: World) {
    let made = make(&world, |_| {}).await;
    let rotated = rotate(&world, &made, 60).await;
    world.seen.forget();
    let finish = || world.store.finish_root_key_rotation(context(), None, made.id);
    let (finished, revision) = finish().await.unwrap();
    assert_eq!(revision, rotated.revision + 1);
    assert_eq!(
        (finished.retiring.clone(), finished.digest),
        (None, rotated.root_key.digest)
    );
    assert_eq!(find(&world, &made.digest).await, None);
    assert_eq!(notified(&world).1, [made.digest]);
    assert_eq!(finish().await.unwrap(), (finished, revision), "a repeat is no change");
}

pub async fn a_retry_of_a_rotation_replaces_only_a_secret_that_never_arrived(world: World) {
    let made = make(&world, |_| {}).await;
    let retry = async || {
        let rotation = to(&made, &world.secret(), 60);
        world.store.rotate_root_key(marked("m", 1), rotation).await.unwrap()
    };
    let (first, again) = (retry().await, retry().await);
    assert_eq!((first.replay, again.replay), (Replay::First, Replay::Replaced));
    assert_ne!(first.root_key.digest, again.root_key.digest);
    assert_eq!(find(&world, &first.root_key.digest).await, None, "the lost secret");
    assert_eq!(again.root_key.retiring, first.root_key.retiring, "the overlap goes on");
    use_of(&world, again.root_key.digest, NOW).await;
    let late = retry().await;
    assert_eq!((late.replay, late.revision), (Replay::Completed, again.revision));
    assert_eq!(late.root_key.digest, again.root_key.digest);
    let other = world
        .store
        .rotate_root_key(marked("m", 2), to(&made, &world.secret(), 60))
        .await;
    assert!(matches!(other, Err(WriteError::IdempotencyKeyReused)));
}

/// The secret of the later rotation may be in use already, although nothing has presented it yet.
pub async fn a_late_retry_does_not_replace_the_secret_of_a_later_rotation(world: World) {
    let made = make(&world, |_| {}).await;
    let rotation = || to(&made, &world.secret(), 60);
    world.store.rotate_root_key(marked("m", 1), rotation()).await.unwrap();
    let at = |seconds: u64| WriteContext {
        at: later(seconds),
        ..marked("m", 1)
    };
    // A retry that replaces a secret is itself replayed.
    for seconds in [1, 2] {
        let again = world.store.rotate_root_key(at(seconds), rotation()).await.unwrap();
        assert_eq!(again.replay, Replay::Replaced);
    }
    let another = WriteContext {
        at: later(3),
        ..context()
    };
    let second = world.store.rotate_root_key(another, rotation()).await.unwrap().root_key;
    let late = world.store.rotate_root_key(at(4), rotation()).await.unwrap();
    assert_eq!((late.replay, &late.root_key), (Replay::Completed, &second));
    assert_eq!(find(&world, &second.digest).await, Some(second));
}

pub async fn a_retiring_secret_does_not_rotate_its_root_key_but_gets_its_own_retry(world: World) {
    let made = make(&world, |_| {}).await;
    let by = |secret: Digest, mark: Option<&str>| WriteContext {
        actor: Actor::RootKey(made.id),
        secret: Some(secret),
        ..mark.map_or_else(context, |mark| marked(mark, 1))
    };
    let rotation = || to(&made, &world.secret(), 60);
    let first = world
        .store
        .rotate_root_key(by(made.digest, Some("m")), rotation())
        .await
        .unwrap();
    let refused = world.store.rotate_root_key(by(made.digest, None), rotation()).await;
    assert!(matches!(refused, Err(WriteError::RootKeyBeyond)), "{refused:?}");
    let refused = world
        .store
        .rotate_root_key(by(made.digest, Some("other")), rotation())
        .await;
    assert!(matches!(refused, Err(WriteError::RootKeyBeyond)), "{refused:?}");
    let beyond = RootKeyRotation {
        may_hold: Box::new(|_| false),
        ..rotation()
    };
    let again = world
        .store
        .rotate_root_key(by(made.digest, Some("m")), beyond)
        .await
        .unwrap();
    assert_eq!((first.replay, again.replay), (Replay::First, Replay::Replaced));
    let by_new = by(again.root_key.digest, None);
    world.store.rotate_root_key(by_new, rotation()).await.unwrap();
}

pub async fn a_rotation_does_not_end_the_last_root_key_that_makes_others(world: World) {
    let last = make(&world, |_| {}).await;
    let short = make(&world, |it| it.expires_at = Some(later(60))).await;
    let by = || WriteContext {
        actor: Actor::RootKey(last.id),
        ..context()
    };
    let ending = |root_key: &RootKey, end: Option<Timestamp>| RootKeyRotation {
        expires_at: Some(end),
        ..to(root_key, &world.secret(), 0)
    };
    let head = world.revision().await;
    let refused = world.store.rotate_root_key(by(), ending(&last, Some(later(90)))).await;
    assert!(matches!(refused, Err(WriteError::LastRootKey)), "{refused:?}");
    assert_eq!(world.revision().await, head);
    world.store.rotate_root_key(by(), ending(&last, None)).await.unwrap();
    // Another one that can create others is left.
    world
        .store
        .rotate_root_key(by(), ending(&short, Some(later(30))))
        .await
        .unwrap();
    // The operator can create another one.
    world
        .store
        .rotate_root_key(context(), ending(&last, Some(later(90))))
        .await
        .unwrap();
    world.store.revoke_root_key(context(), None, short.id).await.unwrap();
    let refused = world.store.rotate_root_key(by(), ending(&last, Some(later(89)))).await;
    assert!(matches!(refused, Err(WriteError::LastRootKey)), "{refused:?}");
    world
        .store
        .rotate_root_key(by(), ending(&last, Some(later(91))))
        .await
        .unwrap();
}

pub async fn a_revoked_or_expired_root_key_is_not_rotated(world: World) {
    let expired = make(&world, |it| it.expires_at = Some(NOW)).await;
    let refused = world
        .store
        .rotate_root_key(context(), to(&expired, &world.secret(), 0))
        .await;
    let Err(WriteError::Refused { refusal, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(refusal, Refusal::ExpiryPast);
    let renewal = RootKeyRotation {
        expires_at: Some(Some(later(60))),
        ..to(&expired, &world.secret(), 60)
    };
    let renewed = world.store.rotate_root_key(context(), renewal).await.unwrap().root_key;
    assert_eq!((renewed.expires_at, renewed.retiring), (Some(later(60)), None));
    assert_eq!(
        find(&world, &expired.digest).await,
        None,
        "an overlap revives no expired secret"
    );
    world.store.revoke_root_key(context(), None, expired.id).await.unwrap();
    let refused = world
        .store
        .rotate_root_key(context(), to(&expired, &world.secret(), 0))
        .await;
    assert!(matches!(refused, Err(WriteError::Refused { .. })), "{refused:?}");
}

pub async fn a_caller_gets_no_root_key_beyond_its_own(world: World) {
    let made = make(&world, |_| {}).await;
    let head = world.revision().await;
    let rotation = RootKeyRotation {
        may_hold: Box::new(|_| false),
        ..to(&made, &world.secret(), 0)
    };
    let refused = world.store.rotate_root_key(context(), rotation).await;
    assert!(matches!(refused, Err(WriteError::RootKeyBeyond)));
    assert_eq!(world.revision().await, head);
    assert_eq!(find(&world, &made.digest).await, Some(made));
}

pub async fn a_replaced_or_expired_secret_changes_nothing(world: World) {
    let made = make(&world, |it| it.expires_at = Some(later(100))).await;
    let rotated = rotate(&world, &made, 60).await.root_key;
    let by = |secret: Digest, seconds: u64| WriteContext {
        at: later(seconds),
        actor: Actor::RootKey(made.id),
        secret: Some(secret),
        ..context()
    };
    let stranger = world.secret().digest;
    for (secret, seconds, expected) in [
        (made.digest, 59, true),
        (made.digest, 60, false),
        (rotated.digest, 99, true),
        (rotated.digest, 100, false),
        (stranger, 0, false),
    ] {
        let another = world.root_key(Reach::Instance);
        let made = world.store.create_root_key(by(secret, seconds), another).await;
        assert_eq!(made.is_ok(), expected, "{seconds} {made:?}");
        assert!(expected || matches!(made, Err(WriteError::ActorGone)), "{made:?}");
    }
}

pub async fn a_root_key_that_expires_does_not_replace_the_last_that_does_not(world: World) {
    let lasting = make(&world, |it| it.name = name("lasting")).await;
    let expiring = make(&world, |it| it.expires_at = Some(later(60))).await;
    let second = make(&world, |it| it.expires_at = Some(later(90))).await;
    let by = |at: Timestamp| WriteContext {
        at,
        actor: Actor::RootKey(lasting.id),
        ..context()
    };
    let refused = world.store.revoke_root_key(by(NOW), None, lasting.id).await;
    assert!(matches!(refused, Err(WriteError::LastRootKey)), "{refused:?}");
    for id in [expiring.id, second.id] {
        world.store.revoke_root_key(by(NOW), None, id).await.unwrap();
    }
    let another = make(&world, |_| {}).await;
    world
        .store
        .revoke_root_key(by(later(1)), None, another.id)
        .await
        .unwrap();
}

pub async fn a_use_of_a_root_key_moves_its_last_use_forward_only(world: World) {
    let made = make(&world, |_| {}).await;
    let rotated = rotate(&world, &made, 60).await.root_key;
    let head = world.revision().await;
    for (digest, at, expected) in [
        (made.digest, 5, (5, false)),
        (made.digest, 3, (5, false)),
        (rotated.digest, 4, (5, true)),
        (rotated.digest, 9, (9, true)),
    ] {
        use_of(&world, digest, later(at)).await;
        let found = find(&world, &rotated.digest).await.unwrap();
        assert_eq!(
            (found.last_used_at, found.is_presented),
            (Some(later(expected.0)), expected.1)
        );
    }
    use_of(&world, world.secret().digest, later(10)).await;
    assert_eq!(world.revision().await, head, "a use is no change");
}

pub async fn a_census_counts_the_usable_root_keys_that_expire_soon(world: World) {
    const DAY: u64 = 86_400;
    let before = world.store.census(NOW).await.unwrap().root_keys_expiring;
    make(&world, |_| {}).await;
    make(&world, |it| it.expires_at = Some(NOW)).await;
    make(&world, |it| it.expires_at = Some(later(14 * DAY + 1))).await;
    make(&world, |it| it.expires_at = Some(later(14 * DAY))).await;
    let revoked = make(&world, |it| it.expires_at = Some(later(1))).await;
    world.store.revoke_root_key(context(), None, revoked.id).await.unwrap();
    assert_eq!(world.store.census(NOW).await.unwrap().root_keys_expiring, before + 1);
}
