//! Keys of a suspended or removed user, and of a suspended tenant: they are reported as blocked, and none is
//! re-activated, renewed or issued.

use crate::people::made;
use crate::world::{NOW, World, context, later, marked, name};
use keyreeve_core::access::{Permissions, Rank, Role};
use keyreeve_core::lifecycle::{Edit, Refusal, RotateOrder, Standing};
use keyreeve_core::policy::{ExpiryWish, OverlapWish};
use keyreeve_core::user::{Status, UserEdit};
use keyreeve_core::{Key, User};
use keyreeve_store::WriteError;
use keyreeve_store::model::{ChangedUser, KeyQuery, TenantEdit, UserChange, WriteContext};
use std::fmt::Debug;

async fn member(world: &World) -> User {
    made(world, &format!("p{}@example.com", world.number()), Role::Member).await
}

async fn set(world: &World, user: &User, status: Status) -> ChangedUser {
    let change = UserChange {
        tenant: user.tenant.clone(),
        id: user.id,
        edit: UserEdit {
            status: Some(status),
            ..UserEdit::default()
        },
        giver: Permissions::all(),
        is_forced: false,
    };
    world.store.change_user(context(), change).await.unwrap()
}

/// Suspends or re-activates the case's tenant.
pub async fn set_tenant(world: &World, status: Status) {
    let edit = TenantEdit {
        status: Some(status),
        ..TenantEdit::default()
    };
    world
        .store
        .change_tenant(context(), world.tenant.clone(), edit)
        .await
        .unwrap();
}

async fn is_blocked(world: &World, key: &Key) -> bool {
    let record = world.store.key(&world.tenant, key.id, NOW).await.unwrap();
    record.unwrap().owner_blocked
}

fn assert_refused<T: Debug>(answer: &Result<T, WriteError>, what: &str) {
    let is_it = matches!(
        answer,
        Err(WriteError::Refused {
            refusal: Refusal::OwnerBlocked,
            ..
        })
    );
    assert!(is_it, "{what}: {answer:?}");
}

/// Tries everything that gives an owner a secret or makes one of its keys work again.
async fn assert_nothing_comes_back(world: &World, owner: &str, active: &Key, held: &Key, expired: &Key) {
    assert_refused(&world.try_issue(owner, "new").await, "issue");
    let mixed = world.issue_request(owner, &["a", "b", "c", "d", "e", "f"], ExpiryWish::Unsaid);
    assert_refused(&world.store.issue(context(), mixed).await, "batch");
    let order = RotateOrder {
        secret: world.secret(),
        name: None,
        expiry: ExpiryWish::Unsaid,
        overlap: OverlapWish::Unsaid,
    };
    let rotated = world.change(active.id, move |key, policy| key.rotate(order, policy, NOW));
    assert_refused(&rotated.await, "rotate");
    let lifted = world.change(held.id, |key, _| key.reactivate(Rank::Admin, NOW));
    assert_refused(&lifted.await, "re-activate");
    let renewed = world.change_request(expired.id, |key, policy| {
        let mut policy = policy.clone();
        policy.expiry.renew_expired = true;
        let edit = Edit {
            expiry: ExpiryWish::InSeconds(3_600),
            ..Edit::default()
        };
        key.update(edit, &policy, later(60))
    });
    let at_later = WriteContext {
        at: later(60),
        ..context()
    };
    assert_refused(&world.store.change(at_later, renewed).await, "renew");
}

pub async fn a_key_says_that_its_owner_is_blocked(world: World) {
    let (ada, bob) = (member(&world).await, member(&world).await);
    let (owner, other) = (ada.id.to_string(), bob.id.to_string());
    let (key, bystander) = (world.issue(&owner, "one").await, world.issue(&other, "two").await);
    let stranger = world.issue("org_1", "three").await;
    let held = world.issue(&owner, "held").await;
    world.disable(held.id).await;
    for (status, expected) in [
        (Status::Suspended, true),
        (Status::Active, false),
        (Status::Removed, true),
    ] {
        set(&world, &ada, status).await;
        assert_eq!(is_blocked(&world, &key).await, expected, "{status}");
        assert_eq!(is_blocked(&world, &held).await, expected, "{status}");
        assert!(!is_blocked(&world, &bystander).await && !is_blocked(&world, &stranger).await);
        let asked = |owner_blocked, standing| KeyQuery {
            owner_blocked,
            standing,
            ..world.query()
        };
        let blocked = world.names(asked(Some(true), None)).await;
        assert_eq!(blocked, if expected { vec!["held", "one"] } else { Vec::new() });
        let working = world.names(asked(Some(false), Some(Standing::Active))).await;
        assert_eq!(
            working,
            if expected {
                vec!["three", "two"]
            } else {
                vec!["three", "two", "one"]
            }
        );
        assert_eq!(world.count(asked(Some(true), None)).await, blocked.len() as u64);
        assert_eq!(world.names(asked(None, None)).await.len(), 4, "both, if it is not said");
    }
    set_tenant(&world, Status::Suspended).await;
    assert!(is_blocked(&world, &bystander).await && is_blocked(&world, &stranger).await);
}

pub async fn a_user_of_another_tenant_blocks_no_keys_here(world: World) {
    let ada = member(&world).await;
    set(&world, &ada, Status::Suspended).await;
    let mut elsewhere = world;
    elsewhere
        .make_tenant("other", keyreeve_core::policy::Preset::Standard.policy())
        .await;
    elsewhere.tenant = crate::world::slug("other");
    let key = elsewhere.issue(&ada.id.to_string(), "one").await;
    assert!(!is_blocked(&elsewhere, &key).await);
}

pub async fn nothing_of_a_blocked_owner_is_made_or_comes_back(world: World) {
    let ada = member(&world).await;
    let owner = ada.id.to_string();
    let active = world.issue(&owner, "active").await;
    let held = world.issue(&owner, "held").await;
    let expired = world.issue_expiring(&owner, "expired", 10).await;
    world.disable(held.id).await;
    set(&world, &ada, Status::Suspended).await;
    let head = world.store.head().await.unwrap();
    assert_nothing_comes_back(&world, &owner, &active, &held, &expired).await;
    assert_eq!(world.store.head().await.unwrap(), head);
    // Ending a key, or only renaming it, is allowed.
    let renamed = world.change(active.id, |key, policy| {
        let edit = Edit {
            name: Some(name("renamed")),
            ..Edit::default()
        };
        key.update(edit, policy, NOW)
    });
    let renamed = renamed.await.unwrap().record.unwrap();
    assert!(renamed.owner_blocked && renamed.key.name == name("renamed"));
    set(&world, &ada, Status::Active).await;
    world
        .change(held.id, |key, _| key.reactivate(Rank::Admin, NOW))
        .await
        .unwrap();
    set(&world, &ada, Status::Removed).await;
    world.disable(held.id).await;
    assert_nothing_comes_back(&world, &owner, &active, &held, &expired).await;
    world.revoke(active.id).await;
}

pub async fn nothing_is_made_or_comes_back_in_a_suspended_tenant(world: World) {
    let active = world.issue("org_1", "active").await;
    let held = world.issue("org_1", "held").await;
    let expired = world.issue_expiring("org_1", "expired", 10).await;
    world.disable(held.id).await;
    set_tenant(&world, Status::Suspended).await;
    assert_nothing_comes_back(&world, "org_1", &active, &held, &expired).await;
    set_tenant(&world, Status::Active).await;
    world.issue("org_1", "new").await;
}

pub async fn a_retry_gives_a_blocked_owner_no_other_secret(world: World) {
    let ada = member(&world).await;
    let owner = ada.id.to_string();
    let request = || world.issue_request(&owner, &["one"], ExpiryWish::Unsaid);
    world.store.issue(marked("m", 1), request()).await.unwrap();
    set(&world, &ada, Status::Suspended).await;
    assert_refused(&world.store.issue(marked("m", 1), request()).await, "retry");
}

pub async fn a_change_of_a_user_says_how_many_keys_stop_or_work_again(world: World) {
    let ada = member(&world).await;
    let owner = ada.id.to_string();
    world.issue(&owner, "one").await;
    world.issue(&owner, "two").await;
    world.issue("org_1", "another's").await;
    let held = world.issue(&owner, "held").await;
    let revoked = world.issue(&owner, "revoked").await;
    world.disable(held.id).await;
    world.revoke(revoked.id).await;
    assert_eq!(set(&world, &ada, Status::Suspended).await.keys, 2);
    assert_eq!(set(&world, &ada, Status::Suspended).await.keys, 0, "they had stopped");
    assert_eq!(set(&world, &ada, Status::Active).await.keys, 2);
    set(&world, &ada, Status::Suspended).await;
    assert_eq!(set(&world, &ada, Status::Removed).await.keys, 0, "they had stopped");
}
