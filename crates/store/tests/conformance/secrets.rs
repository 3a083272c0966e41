//! Secrets: the records that a verdict is computed from.

use crate::world::{NOW, World, context, later};
use keyreeve_core::lifecycle::{NewSecret, RotateOrder};
use keyreeve_core::policy::{ExpiryWish, OverlapWish};
use keyreeve_core::verdict::{KeyStanding, SecretStanding};
use keyreeve_core::{Digest, Key, Timestamp};
use keyreeve_store::model::{Credential, IssueRequest};
use keyreeve_store::{StoreError, WriteError};
use std::sync::Arc;

async fn credential(world: &World, digest: &Digest) -> Credential {
    world.store.find_credential(digest).await.unwrap().value.unwrap()
}

async fn rotate(world: &World, key: &Key, secret: NewSecret, overlap: OverlapWish, at: Timestamp) {
    world
        .change(key.id, move |key, policy| {
            let order = RotateOrder {
                secret,
                name: None,
                expiry: ExpiryWish::Unsaid,
                overlap,
            };
            key.rotate(order, policy, at)
        })
        .await
        .unwrap();
}

pub async fn a_secret_is_known_with_all_that_a_verdict_needs(world: World) {
    let key = world.issue_expiring("user_1", "one", 60).await;
    let found = world.store.find_credential(&key.secret.digest).await.unwrap();
    assert_eq!(found.revision, world.revision().await);
    let credential = found.value.unwrap();
    assert_eq!(credential.secret, SecretStanding::Live);
    assert_eq!((credential.key_id, credential.tenant), (key.id, world.tenant.clone()));
    let brief = credential.key.unwrap();
    assert_eq!(
        (&*brief.subject, &*brief.name, &*brief.scopes),
        ("user_1", "one", "read write")
    );
    assert_eq!(
        (brief.standing, brief.expires_at),
        (KeyStanding::Active, Some(later(60)))
    );
    world.disable(key.id).await;
    let held = self::credential(&world, &key.secret.digest).await.key.unwrap();
    assert_eq!(held.standing, KeyStanding::Disabled { finalize_at: None });
    world.revoke(key.id).await;
    let ended = self::credential(&world, &key.secret.digest).await.key.unwrap();
    assert_eq!(ended.standing, KeyStanding::Revoked);
}

pub async fn an_unknown_secret_is_stamped_too(world: World) {
    let found = world.store.find_credential(&Digest::of(b"nothing")).await.unwrap();
    assert_eq!((found.value, found.revision), (None, world.revision().await));
    let found = world.store.find_root_key(&Digest::of(b"nothing")).await.unwrap();
    assert_eq!((found.value, found.revision), (None, world.revision().await));
}

pub async fn a_rotation_retires_the_old_secret(world: World) {
    let key = world.issue("user_1", "one").await;
    let new = world.secret();
    world.seen.forget();
    rotate(&world, &key, new.clone(), OverlapWish::Unsaid, NOW).await;
    assert_eq!(
        credential(&world, &key.secret.digest).await.secret,
        SecretStanding::Retired
    );
    assert_eq!(credential(&world, &new.digest).await.secret, SecretStanding::Live);
    assert!(world.seen.knows(&key.secret.digest) && world.seen.knows(&new.digest));
}

pub async fn an_overlap_keeps_the_old_secret_until_its_end(world: World) {
    let key = world.issue("user_1", "one").await;
    let (second, third) = (world.secret(), world.secret());
    rotate(&world, &key, second.clone(), OverlapWish::Seconds(60), NOW).await;
    let retiring = SecretStanding::Retiring(later(60));
    assert_eq!(credential(&world, &key.secret.digest).await.secret, retiring);
    // Rotated again within the overlap: never more than two secrets.
    rotate(&world, &key, third.clone(), OverlapWish::Seconds(60), later(30)).await;
    assert_eq!(
        credential(&world, &key.secret.digest).await.secret,
        SecretStanding::Retired
    );
    let retiring = SecretStanding::Retiring(later(90));
    assert_eq!(credential(&world, &second.digest).await.secret, retiring);
    world.seen.forget();
    world
        .change(key.id, |key, _| Ok(key.finish_rotation(later(40))))
        .await
        .unwrap();
    assert_eq!(credential(&world, &second.digest).await.secret, SecretStanding::Retired);
    assert_eq!(credential(&world, &third.digest).await.secret, SecretStanding::Live);
    assert!(world.seen.knows(&second.digest));
}

pub async fn an_erased_secret_is_a_tombstone_for_ever(world: World) {
    let key = world.issue("user_1", "one").await;
    let new = world.secret();
    rotate(&world, &key, new.clone(), OverlapWish::Unsaid, NOW).await;
    world.seen.forget();
    world.delete(key.id).await;
    // Also the secret that was retired already: it may be remembered with the key's name.
    assert!(world.seen.knows(&key.secret.digest) && world.seen.knows(&new.digest));
    assert!(world.store.key(&world.tenant, key.id, NOW).await.unwrap().is_none());
    for digest in [key.secret.digest, new.digest] {
        let credential = credential(&world, &digest).await;
        assert_eq!(credential.secret, SecretStanding::Tombstone);
        assert_eq!((credential.key, credential.key_id), (None, key.id));
    }
}

/// Returns a request for one more key, with the secret of another key.
fn with_secret_of(world: &World, key: &Key, called: &str) -> IssueRequest {
    let mut order = world.order(&world.tenant, "user_1", called, ExpiryWish::Unsaid);
    order.secret = key.secret.clone();
    let mut request = world.issue_request("user_1", &[called], ExpiryWish::Unsaid);
    request.decide = Box::new(move |_, policy, facts| {
        let key = Key::issue(order.clone(), facts, policy, NOW)?;
        Ok((key, crate::world::draft(keyreeve_core::audit::Action::KeyCreated)))
    });
    request
}

pub async fn a_secret_is_never_issued_twice(world: World) {
    let key = world.issue("user_1", "one").await;
    world.delete(key.id).await;
    let head = world.store.head().await.unwrap();
    let request = with_secret_of(&world, &key, "two");
    let refused = world.store.issue(context(), request).await;
    assert!(
        matches!(refused, Err(WriteError::Store(StoreError::Corrupt(_)))),
        "{refused:?}"
    );
    assert_eq!(world.store.head().await.unwrap(), head);
    assert_eq!(world.count(world.query()).await, 0);
}

pub async fn who_shares_a_commit_with_a_change_that_fails_is_not_told_that_it_was_done(world: World) {
    let world = Arc::new(world);
    let taken = world.issue("user_1", "one").await;
    let asked: Vec<_> = (0..40)
        .map(|number| {
            let (world, taken) = (Arc::clone(&world), taken.clone());
            tokio::spawn(async move {
                let called = format!("key {number}");
                match number % 8 {
                    5 => {
                        world
                            .store
                            .issue(context(), with_secret_of(&world, &taken, &called))
                            .await
                    }
                    _ => world.try_issue("user_1", &called).await,
                }
            })
        })
        .collect();
    let mut issued = 1;
    for ask in asked {
        match ask.await.unwrap() {
            Ok(done) => {
                let key = done.keys.first().unwrap().key.id;
                assert!(world.store.key(&world.tenant, key, NOW).await.unwrap().is_some());
                issued += 1;
            }
            Err(error) => assert!(matches!(error, WriteError::Store(_)), "{error}"),
        }
    }
    assert_eq!(world.count(world.query()).await, issued);
}

pub async fn uses_move_forward_only_and_make_no_revision(world: World) {
    let key = world.issue("user_1", "one").await;
    let head = world.store.head().await.unwrap();
    let read = || world.store.key(&world.tenant, key.id, NOW);
    let before = read().await.unwrap().unwrap();
    assert_eq!((before.last_used_at, before.is_presented), (None, false));
    let digest = key.secret.digest;
    world.record_use(digest, later(60)).await;
    world.record_use(digest, later(30)).await;
    world.record_use(Digest::of(b"nobody's"), later(90)).await;
    let after = read().await.unwrap().unwrap();
    assert_eq!((after.last_used_at, after.is_presented), (Some(later(60)), true));
    assert_eq!(world.store.head().await.unwrap(), head);
    // The new secret was not presented yet, but the key was.
    rotate(&world, &key, world.secret(), OverlapWish::Unsaid, NOW).await;
    let rotated = read().await.unwrap().unwrap();
    assert_eq!((rotated.last_used_at, rotated.is_presented), (Some(later(60)), false));
}
