//! Users and tenants, and what is ended with them.

use crate::world::{NOW, World, context, later, name, slug};
use keyreeve_core::access::{Actor, Permissions, Reach, Role};
use keyreeve_core::policy::{ExpiryWish, Preset};
use keyreeve_core::user::{Email, PasswordDigest, Status, UserEdit};
use keyreeve_core::{Digest, User, UserId};
use keyreeve_store::WriteError;
use keyreeve_store::model::{Login, LoginKind, TenantEdit, UserChange, WriteContext};
use keyreeve_store::store::OwnerGate;

/// Returns a user of the case's tenant, not stored yet.
pub fn user(world: &World, email: &str, role: Role) -> User {
    User {
        id: UserId::from_bytes(u128::from(world.number()).to_be_bytes()),
        tenant: world.tenant.clone(),
        email: Email::parse(email).unwrap(),
        name: Some(name("Ada")),
        role,
        status: Status::Active,
        password: Some(PasswordDigest::new("$argon2id$v=19$…")),
        created_at: NOW,
        updated_at: NOW,
    }
}

/// The same, stored.
pub async fn made(world: &World, email: &str, role: Role) -> User {
    let user = user(world, email, role);
    world.store.create_user(context(), user.clone()).await.unwrap();
    user
}

fn change(user: &User, edit: UserEdit) -> UserChange {
    UserChange {
        tenant: user.tenant.clone(),
        id: user.id,
        edit,
        giver: Permissions::all(),
        is_forced: false,
    }
}

fn to(status: Status) -> UserEdit {
    UserEdit {
        status: Some(status),
        ..UserEdit::default()
    }
}

pub async fn a_user_comes_back_as_it_was_made(world: World) {
    let ada = made(&world, "ada@example.com", Role::Admin).await;
    assert_eq!(
        world.store.user(&world.tenant, ada.id).await.unwrap(),
        Some(ada.clone())
    );
    let bob = made(&world, "bob@example.com", Role::Member).await;
    let all = world.store.users(&world.tenant, None, 10).await.unwrap();
    assert_eq!(all, [ada.clone(), bob.clone()]);
    assert_eq!(world.store.users(&world.tenant, Some(ada.id), 10).await.unwrap(), [bob]);
    world.make_tenant("other", Preset::Standard.policy()).await;
    assert_eq!(world.store.user(&slug("other"), ada.id).await.unwrap(), None);
    assert!(world.store.users(&slug("other"), None, 10).await.unwrap().is_empty());
}

pub async fn an_address_is_one_users_until_it_is_removed(world: World) {
    let ada = made(&world, "ada@example.com", Role::Member).await;
    let again = world
        .store
        .create_user(context(), user(&world, "ADA@example.com", Role::Member))
        .await;
    assert!(matches!(again, Err(WriteError::EmailTaken)));
    world
        .store
        .change_user(context(), change(&ada, to(Status::Removed)))
        .await
        .unwrap();
    made(&world, "ada@example.com", Role::Member).await;
    let gone = world
        .store
        .change_user(context(), change(&ada, to(Status::Active)))
        .await;
    assert!(
        matches!(gone, Err(WriteError::NotFound)),
        "a removed user does not come back"
    );
}

pub async fn the_observer_hears_whose_keys_are_blocked(world: World) {
    let ada = made(&world, "ada@example.com", Role::Member).await;
    let gate = |is_blocked| OwnerGate {
        tenant: world.tenant.clone(),
        subject: ada.subject().unwrap(),
        is_blocked,
    };
    for (status, is_blocked) in [
        (Status::Suspended, true),
        (Status::Active, false),
        (Status::Removed, true),
    ] {
        world.seen.forget();
        let before = world.revision().await;
        let changed = world
            .store
            .change_user(context(), change(&ada, to(status)))
            .await
            .unwrap();
        assert_eq!((changed.user.status, changed.revision), (status, before + 1));
        let owners: Vec<_> = world
            .seen
            .0
            .lock()
            .unwrap()
            .iter()
            .flat_map(|one| one.owners.clone())
            .collect();
        assert_eq!(owners, [gate(is_blocked)]);
        let blocked = world.store.blocked_owners(&world.tenant).await.unwrap();
        assert_eq!(
            blocked,
            if is_blocked {
                vec![ada.subject().unwrap()]
            } else {
                Vec::new()
            }
        );
    }
}

pub async fn the_last_admin_stays_unless_it_is_forced(world: World) {
    let ada = made(&world, "ada@example.com", Role::Admin).await;
    let head = world.store.head().await.unwrap();
    let refused = world
        .store
        .change_user(context(), change(&ada, to(Status::Suspended)))
        .await;
    assert!(matches!(refused, Err(WriteError::LastAdmin)));
    assert_eq!(world.store.head().await.unwrap(), head);
    let forced = UserChange {
        is_forced: true,
        ..change(&ada, to(Status::Suspended))
    };
    world.store.change_user(context(), forced).await.unwrap();
    // A suspended admin does not count: the next admin is the last again.
    let bob = made(&world, "bob@example.com", Role::Admin).await;
    let refused = world
        .store
        .change_user(context(), change(&bob, to(Status::Removed)))
        .await;
    assert!(matches!(refused, Err(WriteError::LastAdmin)));
}

pub async fn a_role_beyond_the_caller_is_not_given(world: World) {
    let bob = made(&world, "bob@example.com", Role::Member).await;
    let head = world.store.head().await.unwrap();
    let promoted = UserEdit {
        role: Some(Role::Admin),
        ..UserEdit::default()
    };
    let by = |giver| UserChange {
        giver,
        ..change(&bob, promoted.clone())
    };
    let refused = world.store.change_user(context(), by(Role::Member.permissions())).await;
    assert!(matches!(refused, Err(WriteError::RoleBeyond(Role::Admin))));
    assert_eq!(world.store.head().await.unwrap(), head);
    world
        .store
        .change_user(context(), by(Role::Admin.permissions()))
        .await
        .unwrap();
}

pub async fn a_user_who_lost_role_or_place_meanwhile_changes_nothing(world: World) {
    let ada = made(&world, "ada@example.com", Role::Admin).await;
    made(&world, "bob@example.com", Role::Admin).await;
    let as_admin = WriteContext {
        actor: Actor::User(ada.id, Role::Admin),
        ..context()
    };
    let issue = || world.issue_request("user_1", &["one"], ExpiryWish::Unsaid);
    world.store.issue(as_admin.clone(), issue()).await.unwrap();
    let demoted = UserEdit {
        role: Some(Role::Member),
        ..UserEdit::default()
    };
    world.store.change_user(context(), change(&ada, demoted)).await.unwrap();
    let refused = world.store.issue(as_admin, issue()).await;
    assert!(matches!(refused, Err(WriteError::ActorGone)));
}

pub async fn a_tenants_policy_and_status_change_in_one_entry(world: World) {
    world.seen.forget();
    let before = world.revision().await;
    let edit = TenantEdit {
        policy: Some(Preset::Keep.policy()),
        status: Some(Status::Suspended),
        name: None,
    };
    let (changed, _) = world
        .store
        .change_tenant(context(), world.tenant.clone(), edit.clone())
        .await
        .unwrap();
    assert_eq!(
        (changed.policy.preset, changed.status),
        (Preset::Keep, Status::Suspended)
    );
    assert_eq!(world.store.tenant(&world.tenant).await.unwrap(), Some(changed.clone()));
    assert_eq!(world.revision().await, before + 1);
    assert_eq!(world.seen.0.lock().unwrap()[0].tenants, [changed]);
    world
        .store
        .change_tenant(context(), world.tenant.clone(), edit)
        .await
        .unwrap();
    assert_eq!(world.revision().await, before + 1, "no change is no entry");
}

pub async fn a_removed_tenant_takes_its_root_keys_along_and_does_not_come_back(world: World) {
    let root_key = world.root_key(Reach::Tenant(world.tenant.clone()));
    world.store.create_root_key(context(), root_key.clone()).await.unwrap();
    world.seen.forget();
    let edit = |status| TenantEdit {
        status: Some(status),
        ..TenantEdit::default()
    };
    world
        .store
        .change_tenant(context(), world.tenant.clone(), edit(Status::Removed))
        .await
        .unwrap();
    let told: Vec<_> = world
        .seen
        .0
        .lock()
        .unwrap()
        .iter()
        .flat_map(|one| one.root_keys.clone())
        .collect();
    assert!(
        told.contains(&root_key.digest) && told.len() == 2,
        "the first root key too"
    );
    let found = world
        .store
        .find_root_key(&root_key.digest)
        .await
        .unwrap()
        .value
        .unwrap();
    assert_eq!(found.revoked_at, Some(NOW));
    assert!(world.store.tenants(None, 10).await.unwrap().is_empty());
    let back = world
        .store
        .change_tenant(context(), world.tenant.clone(), edit(Status::Active))
        .await;
    assert!(matches!(back, Err(WriteError::NotFound)));
}

pub async fn the_last_root_key_that_makes_others_stays(world: World) {
    let first = world.root_key(Reach::Instance);
    world.store.create_root_key(context(), first.clone()).await.unwrap();
    let by_root_key = || WriteContext {
        actor: Actor::RootKey(first.id),
        ..context()
    };
    let refused = world.store.revoke_root_key(by_root_key(), None, first.id).await;
    assert!(matches!(refused, Err(WriteError::LastRootKey)));
    let second = world.root_key(Reach::Instance);
    world.store.create_root_key(context(), second.clone()).await.unwrap();
    world
        .store
        .revoke_root_key(by_root_key(), None, first.id)
        .await
        .unwrap();
    // On the machine itself even the last one can be revoked.
    world.store.revoke_root_key(context(), None, second.id).await.unwrap();
}

fn login(user: &User, number: u8, ends: u64) -> Login {
    Login {
        digest: Digest::from_bytes([number; 32]),
        kind: LoginKind::Session,
        tenant: user.tenant.clone(),
        user: Some(user.id),
        data: format!("{{\"n\":{number}}}"),
        expires_at: later(ends),
    }
}

pub async fn a_login_is_there_until_it_ends_or_is_taken(world: World) {
    let ada = made(&world, "ada@example.com", Role::Admin).await;
    let one = login(&ada, 1, 10);
    world.store.put_login(one.clone(), NOW).await.unwrap();
    assert_eq!(world.store.login(&one.digest, NOW).await.unwrap(), Some(one.clone()));
    assert_eq!(world.store.login(&one.digest, later(10)).await.unwrap(), None);
    let longer = Login {
        data: "{}".to_owned(),
        expires_at: later(20),
        ..one.clone()
    };
    world.store.put_login(longer.clone(), NOW).await.unwrap();
    assert_eq!(
        world.store.login(&one.digest, later(10)).await.unwrap(),
        Some(longer.clone())
    );
    assert_eq!(world.store.take_login(one.digest, NOW).await.unwrap(), Some(longer));
    assert_eq!(world.store.take_login(one.digest, NOW).await.unwrap(), None);
}

pub async fn whoever_goes_or_gets_another_password_is_signed_out(world: World) {
    let ada = made(&world, "ada@example.com", Role::Admin).await;
    made(&world, "eve@example.com", Role::Admin).await;
    let signed_in = async |number| world.store.login(&Digest::from_bytes([number; 32]), NOW).await.unwrap();
    for number in 1..=3 {
        world.store.put_login(login(&ada, number, 99), NOW).await.unwrap();
    }
    let kept = Digest::from_bytes([2; 32]);
    assert_eq!(world.store.end_logins(ada.id, Some(kept)).await.unwrap(), 2);
    assert!(signed_in(1).await.is_none() && signed_in(2).await.is_some());
    let password = UserEdit {
        password: Some(PasswordDigest::new("$argon2id$v=19$another")),
        ..UserEdit::default()
    };
    world
        .store
        .change_user(context(), change(&ada, password))
        .await
        .unwrap();
    assert!(signed_in(2).await.is_none());
    world.store.put_login(login(&ada, 4, 99), NOW).await.unwrap();
    let suspended = change(&ada, to(Status::Suspended));
    world.store.change_user(context(), suspended).await.unwrap();
    assert!(signed_in(4).await.is_none());
}

pub async fn a_person_is_found_in_every_tenant(world: World) {
    let ada = made(&world, "ada@example.com", Role::Admin).await;
    world.make_tenant("other", Preset::Standard.policy()).await;
    let there = User {
        tenant: slug("other"),
        ..user(&world, "ada@example.com", Role::Member)
    };
    world.store.create_user(context(), there.clone()).await.unwrap();
    let email = Email::parse("ADA@example.com").unwrap();
    let mut found = world.store.people(&email, 10).await.unwrap();
    found.sort_by_key(|user| user.id);
    assert_eq!(found, [ada, there]);
    assert_eq!(world.store.people(&email, 1).await.unwrap().len(), 1);
}
