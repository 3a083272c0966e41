//! Idempotency keys: a lost answer never costs the caller the key, and never leaves two keys.

use crate::world::{NOW, World, context, draft, later, marked};
use keyreeve_core::KeyId;
use keyreeve_core::access::{Actor, Reach};
use keyreeve_core::audit::Action;
use keyreeve_core::lifecycle::{Refusal, RotateOrder};
use keyreeve_core::policy::{ExpiryWish, OverlapWish};
use keyreeve_core::verdict::SecretStanding;
use keyreeve_store::WriteError;
use keyreeve_store::model::{ChangeRequest, Issued, Replay, WriteContext};

async fn issue(world: &World, context: WriteContext, called: &str) -> Result<Issued, WriteError> {
    let request = world.issue_request("user_1", &[called], ExpiryWish::Unsaid);
    world.store.issue(context, request).await
}

async fn total(world: &World) -> u64 {
    world.count(world.query()).await
}

pub async fn a_retry_whose_secret_never_arrived_gets_another(world: World) {
    let first = issue(&world, marked("m", 1), "one").await.unwrap();
    let again = issue(&world, marked("m", 1), "one").await.unwrap();
    assert_eq!((first.replay, again.replay), (Replay::First, Replay::Replaced));
    let (old, new) = (&first.keys[0].key, &again.keys[0].key);
    assert_eq!(old.id, new.id);
    assert_ne!(old.secret.digest, new.secret.digest);
    assert_eq!(total(&world).await, 1);
    let standing = |digest| world.store.find_credential(digest);
    let retired = standing(&old.secret.digest).await.unwrap().value.unwrap();
    assert_eq!(retired.secret, SecretStanding::Retired);
    let live = standing(&new.secret.digest).await.unwrap().value.unwrap();
    assert_eq!(live.secret, SecretStanding::Live);
    assert!(world.seen.knows(&old.secret.digest));
}

pub async fn a_retry_whose_secret_was_presented_is_complete(world: World) {
    let first = issue(&world, marked("m", 1), "one").await.unwrap();
    let digest = first.keys[0].key.secret.digest;
    world.record_use(digest, NOW).await;
    let again = issue(&world, marked("m", 1), "one").await.unwrap();
    assert_eq!(again.replay, Replay::Completed);
    assert_eq!(again.revision, first.revision);
    assert_eq!(again.keys[0].key.secret.digest, digest);
    assert_eq!(total(&world).await, 1);
}

pub async fn a_mark_on_another_request_is_refused(world: World) {
    issue(&world, marked("m", 1), "one").await.unwrap();
    let reused = issue(&world, marked("m", 2), "two").await;
    assert!(matches!(reused, Err(WriteError::IdempotencyKeyReused)));
    assert_eq!(total(&world).await, 1);
}

pub async fn a_mark_is_the_callers_own(world: World) {
    let root_key = world.root_key(Reach::Instance);
    world.store.create_root_key(context(), root_key.clone()).await.unwrap();
    issue(&world, marked("m", 1), "one").await.unwrap();
    let another = WriteContext {
        actor: Actor::RootKey(root_key.id),
        ..marked("m", 1)
    };
    assert_eq!(issue(&world, another, "one").await.unwrap().replay, Replay::First);
    assert_eq!(total(&world).await, 2);
}

pub async fn a_mark_is_forgotten_after_a_day(world: World) {
    issue(&world, marked("m", 1), "one").await.unwrap();
    let at = |seconds, fingerprint| WriteContext {
        at: later(seconds),
        ..marked("m", fingerprint)
    };
    let reused = issue(&world, at(86_399, 2), "two").await;
    assert!(matches!(reused, Err(WriteError::IdempotencyKeyReused)));
    assert_eq!(issue(&world, at(86_400, 2), "two").await.unwrap().replay, Replay::First);
}

pub async fn a_refused_request_leaves_no_mark(world: World) {
    let id = KeyId::from_bytes([9; 16]);
    let request = || world.change_request(id, |key, _| Ok(key.delete()));
    let refused = world.store.change(marked("m", 1), request()).await;
    assert!(matches!(refused, Err(WriteError::NotFound)));
    // The caller may correct the request and use the same idempotency key.
    assert_eq!(
        issue(&world, marked("m", 2), "one").await.unwrap().replay,
        Replay::First
    );
}

fn rotation(world: &World, id: KeyId) -> ChangeRequest {
    let (secret, fresh) = (world.secret(), world.secret());
    ChangeRequest {
        replace: Some(Box::new(move |_, key| {
            Ok((key.replace_undelivered(fresh.clone(), NOW)?, draft(Action::KeyRotated)))
        })),
        ..world.change_request(id, move |key, policy| {
            let order = RotateOrder {
                secret,
                name: None,
                expiry: ExpiryWish::Unsaid,
                overlap: OverlapWish::Unsaid,
            };
            key.rotate(order, policy, NOW)
        })
    }
}

pub async fn a_rotation_is_replayed_once_delivered_or_not(world: World) {
    let key = world.issue("user_1", "one").await;
    let rotate = || world.store.change(marked("r", 1), rotation(&world, key.id));
    let first = rotate().await.unwrap();
    let again = rotate().await.unwrap();
    assert_eq!((first.replay, again.replay), (Replay::First, Replay::Replaced));
    let live = again.record.unwrap().key.secret.digest;
    let lost = first.record.unwrap().key.secret.digest;
    assert_ne!(live, lost);
    world.record_use(live, NOW).await;
    let third = rotate().await.unwrap();
    assert_eq!((third.replay, third.revision), (Replay::Completed, again.revision));
    assert_eq!(third.record.unwrap().key.secret.digest, live);
    // A key that has changed since is not touched either.
    world.revoke(key.id).await;
    let fourth = rotate().await.unwrap();
    assert_eq!(fourth.replay, Replay::Completed);
    let refused = world.store.change(context(), rotation(&world, key.id)).await;
    assert!(matches!(
        refused,
        Err(WriteError::Refused {
            refusal: Refusal::InvalidTransition { .. },
            ..
        })
    ));
}
