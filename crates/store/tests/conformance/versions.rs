//! A change is made only of a version that its caller has seen.

use crate::people::made;
use crate::world::{NOW, World, context, name, revoke_order};
use keyreeve_core::access::{Permissions, Reach, Role};
use keyreeve_core::check::{CheckPolicyEdit, DEFAULT_CHECK_POLICY};
use keyreeve_core::lifecycle::{Edit, State};
use keyreeve_core::policy::{Preset, Undo};
use keyreeve_core::text::CheckPolicyName;
use keyreeve_core::user::UserEdit;
use keyreeve_core::{CheckPolicy, Key, KeyId, Timestamp};
use keyreeve_store::WriteError;
use keyreeve_store::model::{Changed, CheckPolicyChange, TenantEdit, UserChange, WriteContext};
use keyreeve_store::version::{Condition, Version};
use std::sync::Arc;

fn only(version: Version) -> WriteContext {
    WriteContext {
        only_if: Some(Condition::OneOf(vec![version])),
        ..context()
    }
}

async fn stored(world: &World, id: KeyId) -> Key {
    world.store.key(&world.tenant, id, NOW).await.unwrap().unwrap().key
}

async fn rename(world: &World, context: WriteContext, id: KeyId, to: &str) -> Result<Changed, WriteError> {
    let edit = Edit {
        name: Some(name(to)),
        ..Edit::default()
    };
    let request = world.change_request(id, |key, policy| key.update(edit, policy, NOW));
    world.store.change(context, request).await
}

/// Whether it was refused because the caller's version is outdated, and `now` is the present one.
fn is_outdated<T>(answer: &Result<T, WriteError>, now: Version) -> bool {
    matches!(answer, Err(WriteError::Outdated { present }) if *present == now)
}

pub async fn a_key_is_changed_only_in_the_version_that_was_seen(world: World) {
    let key = world.issue("user_1", "first").await;
    let seen = Version::of_key(&stored(&world, key.id).await);
    rename(&world, only(seen), key.id, "second").await.unwrap();
    let now = Version::of_key(&stored(&world, key.id).await);
    assert!(!now.is_same(&seen));
    let before = world.revision().await;
    let refused = rename(&world, only(seen), key.id, "third").await;
    assert!(is_outdated(&refused, now), "{refused:?}");
    assert_eq!(world.revision().await, before, "nothing is written");
    assert_eq!(stored(&world, key.id).await.name.as_str(), "second");
    let any = WriteContext {
        only_if: Some(Condition::Any),
        ..context()
    };
    rename(&world, any, key.id, "fourth").await.unwrap();
    rename(&world, context(), key.id, "fifth").await.unwrap();
    let unknown = rename(&world, only(now), KeyId::from_bytes([9; 16]), "x").await;
    assert!(matches!(unknown, Err(WriteError::NotFound)), "{unknown:?}");
}

pub async fn of_many_changes_of_one_version_at_once_one_is_made(world: World) {
    let world = Arc::new(world);
    let key = world.issue("user_1", "raced").await;
    let seen = Version::of_key(&stored(&world, key.id).await);
    let racers = (0..20).map(|number| {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            rename(&world, only(seen), key.id, &format!("by {number}"))
                .await
                .is_ok()
        })
    });
    let mut made = 0;
    for racer in racers.collect::<Vec<_>>() {
        made += u32::from(racer.await.unwrap());
    }
    assert_eq!(made, 1);
}

pub async fn use_of_a_key_and_time_alone_make_no_other_version(world: World) {
    let key = world.issue("user_1", "used").await;
    let seen = Version::of_key(&stored(&world, key.id).await);
    world.record_use(key.secret.digest, NOW.plus_seconds(5)).await;
    assert_eq!(Version::of_key(&stored(&world, key.id).await), seen);
    let revoked = world
        .change(key.id, |key, policy| {
            let mut policy = policy.clone();
            policy.revoke.undo = Undo::Seconds(60);
            key.revoke(revoke_order(), &policy, NOW)
        })
        .await
        .unwrap();
    let ending = stored(&world, key.id).await;
    assert_eq!(ending, revoked.record.unwrap().key);
    assert!(matches!(ending.state, State::Disabled(_)), "{:?}", ending.state);
    let ended = ending.clone().settled(NOW.plus_seconds(61));
    assert!(matches!(ended.state, State::Revoked(_)), "{:?}", ended.state);
    assert!(Version::of_key(&ended).is_same(&Version::of_key(&ending)));
    let mut overlapping = key.clone();
    overlapping.retiring = Some(keyreeve_core::lifecycle::Retiring {
        digest: world.secret().digest,
        until: NOW.plus_seconds(60),
    });
    let over = overlapping.clone().settled(NOW.plus_seconds(61));
    assert!(Version::of_key(&over).is_same(&Version::of_key(&overlapping)));
}

pub async fn people_are_changed_only_in_the_version_that_was_seen(world: World) {
    let user = made(&world, "ada@example.com", Role::Member).await;
    let change = |called: &str| UserChange {
        tenant: user.tenant.clone(),
        id: user.id,
        edit: UserEdit {
            name: Some(Some(name(called))),
            ..UserEdit::default()
        },
        giver: Permissions::all(),
        is_forced: false,
    };
    let seen = Version::of_user(&user);
    let changed = world.store.change_user(only(seen), change("Eve")).await.unwrap().user;
    let now = Version::of_user(&changed);
    let refused = world.store.change_user(only(seen), change("Bob")).await;
    assert!(is_outdated(&refused, now), "{refused:?}");
    let read = world.store.user(&world.tenant, user.id).await.unwrap().unwrap();
    assert_eq!((&read, Version::of_user(&read)), (&changed, now));
}

pub async fn a_tenant_and_its_policy_are_two_records(world: World) {
    let tenant = world.store.tenant(&world.tenant).await.unwrap().unwrap();
    let (policy, itself) = (
        Version::of_policy(&tenant.slug, &tenant.policy),
        Version::of_tenant(&tenant),
    );
    let renamed = || TenantEdit {
        name: Some(name("Another")),
        ..TenantEdit::default()
    };
    let held = || TenantEdit {
        policy: Some(Preset::Keep.policy()),
        ..TenantEdit::default()
    };
    let change = |version, edit| world.store.change_tenant(only(version), tenant.slug.clone(), edit);
    let (changed, _) = change(itself, renamed()).await.unwrap();
    let now = Version::of_tenant(&changed);
    let refused = change(itself, renamed()).await;
    assert!(is_outdated(&refused, now), "{refused:?}");
    let (changed, _) = change(policy, held()).await.unwrap();
    let refused = change(policy, held()).await;
    let now = Version::of_policy(&tenant.slug, &changed.policy);
    assert!(is_outdated(&refused, now), "{refused:?}");
}

pub async fn check_policies_are_changed_only_in_the_version_that_was_seen(world: World) {
    let called = |text| CheckPolicyName::parse(text).unwrap();
    let change = |context, change| world.store.change_check_policy(context, world.tenant.clone(), change);
    let with_meta = |text, meta| {
        let edit = CheckPolicyEdit {
            meta: Some(meta),
            ..CheckPolicyEdit::default()
        };
        CheckPolicyChange::Update(called(text), edit)
    };
    let orders = CheckPolicyChange::Create(CheckPolicy::any(called("orders")));
    let made = change(context(), orders).await.unwrap().record.unwrap();
    let built_in = Version::of_check(&world.tenant, &CheckPolicy::any(called(DEFAULT_CHECK_POLICY)), None);
    for (text, seen) in [
        ("orders", Version::of_check_policy(&made)),
        (DEFAULT_CHECK_POLICY, built_in),
    ] {
        let changed = change(only(seen), with_meta(text, true)).await.unwrap();
        let now = Version::of_check_policy(&changed.record.unwrap());
        for stale in [with_meta(text, false), CheckPolicyChange::Remove(called(text))] {
            let refused = change(only(seen), stale).await;
            assert!(is_outdated(&refused, now), "{refused:?}");
        }
        change(only(now), CheckPolicyChange::Remove(called(text)))
            .await
            .unwrap();
    }
    let gone = change(only(built_in), with_meta("orders", true)).await;
    assert!(matches!(gone, Err(WriteError::NotFound)), "{gone:?}");
}

pub async fn a_root_key_is_revoked_only_in_the_version_that_was_seen(world: World) {
    let root_key = world.root_key(Reach::Tenant(world.tenant.clone()));
    world.store.create_root_key(context(), root_key.clone()).await.unwrap();
    let seen = Version::of_root_key(&root_key);
    let revoke = |context| world.store.revoke_root_key(context, None, root_key.id);
    let (revoked, _) = revoke(only(seen)).await.unwrap();
    assert_eq!(revoked.revoked_at.map(Timestamp::millis), Some(NOW.millis()));
    let refused = revoke(only(seen)).await;
    assert!(is_outdated(&refused, Version::of_root_key(&revoked)), "{refused:?}");
}
