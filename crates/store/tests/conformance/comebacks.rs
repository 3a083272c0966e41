//! A key that works again is subject to the rules of a new one: its owner's limit, and the names of the owner's other
//! keys.

use crate::world::{World, context, later, slug};
use keyreeve_core::KeyId;
use keyreeve_core::lifecycle::{Edit, Refusal, RotateOrder};
use keyreeve_core::policy::{ExpiryWish, Names, OverlapWish, OwnerKeyLimit, Preset};
use keyreeve_store::WriteError;
use keyreeve_store::model::{Changed, WriteContext};

/// Moves the world to a tenant whose expired keys do not count toward the limit of their owner.
async fn with_a_limit(mut world: World, keys_per_subject: Option<u32>, names: Names) -> World {
    let mut policy = Preset::Keep.policy();
    policy.limit = OwnerKeyLimit {
        keys_per_subject,
        count_expired: false,
    };
    policy.names = names;
    policy.expiry.renew_expired = true;
    policy.expiry.editable = true;
    world.make_tenant("limited", policy).await;
    world.tenant = slug("limited");
    world
}

fn no_edit() -> Edit {
    Edit {
        name: None,
        description: None,
        subject: None,
        expiry: ExpiryWish::Unsaid,
        claims: None,
        scopes: None,
        networks: None,
        counted: None,
    }
}

/// Gives an expired key a new expiry, as of a minute later.
async fn renew(world: &World, id: KeyId) -> Result<Changed, WriteError> {
    let edit = Edit {
        expiry: ExpiryWish::InSeconds(3_600),
        ..no_edit()
    };
    let request = world.change_request(id, move |key, policy| key.update(edit, policy, later(60)));
    world.store.change(at_later(), request).await
}

async fn rotate_anew(world: &World, id: KeyId) -> Result<Changed, WriteError> {
    let order = RotateOrder {
        secret: world.secret(),
        name: None,
        expiry: ExpiryWish::InSeconds(3_600),
        overlap: OverlapWish::Seconds(0),
    };
    let request = world.change_request(id, move |key, policy| key.rotate(order, policy, later(60)));
    world.store.change(at_later(), request).await
}

fn at_later() -> WriteContext {
    WriteContext {
        at: later(60),
        ..context()
    }
}

pub async fn a_key_that_comes_back_is_counted_as_a_new_one(world: World) {
    let world = with_a_limit(world, Some(1), Names::Any).await;
    let first = world.issue_expiring("user_1", "one", 10).await;
    let second = world
        .store
        .issue(at_later(), world.issue_request("user_1", &["two"], ExpiryWish::Unsaid));
    let second = second.await.unwrap().keys.remove(0).key;
    let reached = Refusal::LimitReached { max: 1, used: 1 };
    for refused in [renew(&world, first.id).await, rotate_anew(&world, first.id).await] {
        assert!(matches!(refused, Err(WriteError::Refused { item: 0, refusal }) if refusal == reached));
    }
    assert!(
        rotate_anew(&world, second.id).await.is_ok(),
        "one that counts already takes no other place"
    );
    world.revoke(second.id).await;
    renew(&world, first.id).await.unwrap();
}

pub async fn a_key_that_comes_back_is_asked_for_its_name_again(world: World) {
    let world = with_a_limit(world, None, Names::Unique).await;
    let first = world.issue_expiring("user_2", "one", 10).await;
    let other = world.issue_request("user_2", &["one"], ExpiryWish::Unsaid);
    let other = world.store.issue(at_later(), other).await.unwrap().keys.remove(0).key;
    for refused in [renew(&world, first.id).await, rotate_anew(&world, first.id).await] {
        assert!(matches!(
            refused,
            Err(WriteError::Refused {
                item: 0,
                refusal: Refusal::NameTaken
            })
        ));
    }
    world.revoke(other.id).await;
    rotate_anew(&world, first.id).await.unwrap();
}
