//! Rules about a key's siblings hold under concurrent changes.

use crate::world::{NOW, World, context, later, slug};
use keyreeve_core::lifecycle::Refusal;
use keyreeve_core::policy::{ExpiryWish, Names, Preset};
use keyreeve_store::WriteError;
use keyreeve_store::model::WriteContext;
use std::sync::Arc;

/// Moves the world to a tenant with three keys per user, as in Userplane.
async fn with_three_keys_a_user(mut world: World) -> World {
    world.make_tenant("three", Preset::Erase.policy()).await;
    world.tenant = slug("three");
    world
}

fn refusal<T>(result: Result<T, WriteError>) -> Option<Refusal> {
    match result {
        Err(WriteError::Refused { refusal, .. }) => Some(refusal),
        Ok(_) | Err(_) => None,
    }
}

pub async fn many_at_once_at_two_of_three_give_one_key(world: World) {
    let world = Arc::new(with_three_keys_a_user(world).await);
    world.issue("user_1", "one").await;
    world.issue("user_1", "two").await;
    let asked: Vec<_> = (0..50)
        .map(|number| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.try_issue("user_1", &format!("key {number}")).await })
        })
        .collect();
    let mut issued = 0;
    for ask in asked {
        match ask.await.unwrap() {
            Ok(_) => issued += 1,
            refused => assert_eq!(refusal(refused), Some(Refusal::LimitReached { max: 3, used: 3 })),
        }
    }
    assert_eq!(issued, 1);
    assert_eq!(world.count(world.query()).await, 3);
}

pub async fn a_batch_is_issued_whole_or_not_at_all(world: World) {
    let world = with_three_keys_a_user(world).await;
    let head = world.store.head().await.unwrap();
    let request = world.issue_request("user_1", &["a", "b", "c", "d"], ExpiryWish::Unsaid);
    let refused = world.store.issue(context(), request).await;
    assert!(matches!(
        refused,
        Err(WriteError::Refused {
            item: 3,
            refusal: Refusal::LimitReached { max: 3, used: 3 }
        })
    ));
    assert_eq!(world.store.head().await.unwrap(), head);
    assert_eq!(world.count(world.query()).await, 0);

    let request = world.issue_request("user_1", &["a", "b", "c"], ExpiryWish::Unsaid);
    let issued = world.store.issue(context(), request).await.unwrap();
    assert_eq!(issued.revision, head.revision + 3);
    assert_eq!(issued.keys.len(), 3);
}

pub async fn what_counts_toward_the_limit(world: World) {
    let world = with_three_keys_a_user(world).await;
    let revoked = world.issue("user_1", "revoked").await;
    let held = world.issue("user_1", "held").await;
    world.issue_expiring("user_1", "expired", 7 * 86_400).await;
    world.issue("user_2", "somebody else's").await;
    assert!(refusal(world.try_issue("user_1", "one more").await).is_some());
    // A disabled key counts: it can be re-activated.
    world.disable(held.id).await;
    assert!(refusal(world.try_issue("user_1", "one more").await).is_some());
    // Under this policy an expired key counts too, until it is removed.
    let in_eight_days = WriteContext {
        at: later(8 * 86_400),
        ..context()
    };
    let request = world.issue_request("user_1", &["one more"], ExpiryWish::Unsaid);
    assert!(refusal(world.store.issue(in_eight_days, request).await).is_some());
    // A revoked key does not count.
    world.revoke(revoked.id).await;
    assert!(world.try_issue("user_1", "one more").await.is_ok());
}

pub async fn a_name_is_taken_while_its_key_is_usable(mut world: World) {
    let mut policy = Preset::Standard.policy();
    policy.names = Names::Unique;
    world.make_tenant("unique", policy).await;
    world.tenant = slug("unique");
    let first = world.issue("user_1", "deploy").await;
    assert_eq!(
        refusal(world.try_issue("user_1", "deploy").await),
        Some(Refusal::NameTaken)
    );
    // Names are compared as they are, and only with the same owner's.
    world.issue("user_1", "Deploy").await;
    world.issue("user_2", "deploy").await;
    world.disable(first.id).await;
    assert_eq!(
        refusal(world.try_issue("user_1", "deploy").await),
        Some(Refusal::NameTaken)
    );
    world.revoke(first.id).await;
    let second = world.issue_expiring("user_1", "deploy", 60).await;
    let after_its_end = WriteContext {
        at: later(60),
        ..context()
    };
    let request = world.issue_request("user_1", &["deploy"], ExpiryWish::Unsaid);
    world.store.issue(after_its_end, request).await.unwrap();
    assert!(second.is_expired(later(60)) && !second.is_expired(NOW));
}
