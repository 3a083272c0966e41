//! What ends with a user or a tenant, and what verification records.

use crate::world::{World, revocation, rotation, slug, wish};
use keyreeve_authority::users::UserCommand;
use keyreeve_authority::{AuditFilter, Failure};
use keyreeve_core::User;
use keyreeve_core::access::Role;
use keyreeve_core::audit::Action;
use keyreeve_core::lifecycle::ReasonCode;
use keyreeve_core::policy::{OverlapWish, Preset, Undo};
use keyreeve_core::text::Subject;
use keyreeve_core::user::{Email, Status, UserEdit};
use keyreeve_store::model::TenantEdit;
use std::sync::Arc;
use std::sync::atomic::Ordering;

async fn person(world: &World) -> User {
    let command = UserCommand {
        email: Email::parse(&format!("{}@example.com", world.new_name().replace(' ', ""))).unwrap(),
        name: None,
        role: Role::Member,
        password: None,
    };
    world.authority.users().create(&world.call(), command).await.unwrap()
}

fn to(status: Status) -> UserEdit {
    UserEdit {
        status: Some(status),
        ..UserEdit::default()
    }
}

async fn key_of(world: &World, user: &User) -> String {
    let mut command = wish(&world.new_name());
    command.subject = Subject::parse(&user.id.to_string()).unwrap();
    let issued = world
        .authority
        .keys()
        .issue(&world.call(), vec![command])
        .await
        .unwrap();
    issued.keys[0].secret.expose().to_owned()
}

#[tokio::test]
async fn a_suspended_owners_keys_are_denied_when_the_call_returns_without_a_look_up() {
    let world = World::under(Preset::Standard).await;
    let (owner, other) = (person(&world).await, person(&world).await);
    let (key, bystander) = (key_of(&world, &owner).await, key_of(&world, &other).await);
    for secret in [&key, &bystander] {
        assert_eq!(world.outcome(secret).await, "valid");
    }
    let look_ups = world.look_ups();
    for (status, expected) in [
        (Status::Suspended, "owner_blocked"),
        (Status::Active, "valid"),
        (Status::Removed, "owner_blocked"),
    ] {
        world
            .authority
            .users()
            .change(&world.call(), owner.id, to(status))
            .await
            .unwrap();
        assert_eq!(world.outcome(&key).await, expected);
        assert_eq!(world.outcome(&bystander).await, "valid");
    }
    assert_eq!(world.look_ups(), look_ups);
}

/// R5 for gates: blocked owners are read, then one is suspended and that is answered, and only then does the reading
/// arrive. It must not be used.
#[tokio::test]
async fn a_reading_of_a_tenant_that_a_suspension_has_overtaken_is_not_believed() {
    let world = World::under(Preset::Standard).await;
    let owner = person(&world).await;
    let key = key_of(&world, &owner).await;
    let (authority, call, id) = (Arc::clone(&world.authority), world.call(), owner.id);
    *world.stage.meanwhile_owners.lock().unwrap() = Some(Box::new(move || {
        Box::pin(async move {
            authority
                .users()
                .change(&call, id, to(Status::Suspended))
                .await
                .unwrap();
        })
    }));
    assert_eq!(world.outcome(&key).await, "owner_blocked");
}

#[tokio::test]
async fn a_process_that_starts_later_knows_who_is_blocked() {
    let world = World::under(Preset::Standard).await;
    let owner = person(&world).await;
    let key = key_of(&world, &owner).await;
    world
        .authority
        .users()
        .change(&world.call(), owner.id, to(Status::Removed))
        .await
        .unwrap();
    let verdict = crate::world::ask(&world.cold(), &key, &keyreeve_core::access::Reach::Instance).await;
    assert_eq!(crate::world::word(&verdict), "owner_blocked");
}

#[tokio::test]
async fn a_suspended_tenants_keys_are_denied_and_judged_again_when_it_opens() {
    let world = World::under(Preset::Standard).await;
    let key = world.issue("one").await;
    let set = async |status| {
        let edit = TenantEdit {
            status: Some(status),
            ..TenantEdit::default()
        };
        world
            .authority
            .tenants()
            .change(&world.call(), slug("acme"), edit)
            .await
    };
    assert_eq!(world.outcome(key.secret.expose()).await, "valid");
    set(Status::Suspended).await.unwrap();
    assert_eq!(world.outcome(key.secret.expose()).await, "owner_blocked");
    set(Status::Active).await.unwrap();
    assert_eq!(world.outcome(key.secret.expose()).await, "valid");
    set(Status::Removed).await.unwrap();
    assert_eq!(world.outcome(key.secret.expose()).await, "owner_blocked");
    assert!(!world.authority.tenants().exists(&slug("acme")).await.unwrap());
    assert!(matches!(set(Status::Active).await, Err(Failure::NotFound)));
}

#[tokio::test]
async fn a_change_of_what_denials_reveal_holds_at_once() {
    let world = World::under(Preset::Standard).await;
    let key = world.issue("one").await;
    world
        .authority
        .keys()
        .disable(&world.call(), key.record.key.id, None)
        .await
        .unwrap();
    let outer = async || world.verify(key.secret.expose()).await.outer().unwrap().as_str();
    assert_eq!(outer().await, "API_KEY_DISABLED");
    world
        .authority
        .policy()
        .set(&world.call(), Preset::Hold.policy())
        .await
        .unwrap();
    assert_eq!(outer().await, "API_KEY_INVALID");
}

#[tokio::test]
async fn counts_wait_for_a_store_that_is_away_and_lose_nothing() {
    let world = World::under(Preset::Standard).await;
    let key = world.issue("one").await;
    let id = key.record.key.id;
    for _ in 0..3 {
        world.outcome(key.secret.expose()).await;
    }
    world.stage.is_away.store(true, Ordering::Relaxed);
    world.authority.flush_activity().await;
    for _ in 0..4 {
        world.outcome(key.secret.expose()).await;
    }
    world.authority.flush_activity().await;
    world.stage.is_away.store(false, Ordering::Relaxed);
    assert_eq!(world.counts(id).await, [("valid".to_owned(), 7)]);
    let record = world.authority.keys().get(&world.call(), id).await.unwrap();
    assert_eq!(record.last_used_at, Some(world.authority.now()));
}

#[tokio::test]
async fn a_replaced_secret_is_reported_once_an_hour() {
    let world = World::under(Preset::Standard).await;
    let key = world.issue("one").await;
    let order = rotation(OverlapWish::Unsaid);
    world
        .authority
        .keys()
        .rotate(&world.call(), key.record.key.id, order)
        .await
        .unwrap();
    let reported = async || {
        world.authority.flush_activity().await;
        let filter = AuditFilter {
            action: Some(Action::KeySecretReused.as_str().to_owned()),
            limit: 100,
            ..AuditFilter::default()
        };
        world
            .authority
            .audit()
            .events(&world.call(), filter)
            .await
            .unwrap()
            .len()
    };
    for _ in 0..5 {
        assert_eq!(world.outcome(key.secret.expose()).await, "rotated");
    }
    assert_eq!(reported().await, 1);
    world.pass(3_599);
    world.outcome(key.secret.expose()).await;
    assert_eq!(reported().await, 1);
    world.pass(1);
    world.outcome(key.secret.expose()).await;
    assert_eq!(reported().await, 2);
}

#[tokio::test]
async fn a_window_that_is_over_is_written_down_once_and_erased_where_the_policy_says_so() {
    for (preset, expected) in [(Preset::Standard, "revoked"), (Preset::Erase, "erased")] {
        let world = World::under(preset).await;
        let mut policy = preset.policy();
        policy.revoke.undo = Undo::Seconds(60);
        world.authority.policy().set(&world.call(), policy).await.unwrap();
        let key = world.issue("one").await;
        let code = revocation(ReasonCode::Unspecified);
        world
            .authority
            .keys()
            .revoke(&world.call(), key.record.key.id, code)
            .await
            .unwrap();
        world.authority.keys().write_down_lapsed().await.unwrap();
        assert_eq!(world.outcome(key.secret.expose()).await, "disabled");
        world.pass(60);
        assert_eq!(
            world.outcome(key.secret.expose()).await,
            "revoked",
            "without anybody writing it down"
        );
        let head = world.authority.audit().head().await.unwrap().revision;
        world.authority.keys().write_down_lapsed().await.unwrap();
        world.authority.keys().write_down_lapsed().await.unwrap();
        assert_eq!(world.outcome(key.secret.expose()).await, expected);
        assert_eq!(world.authority.audit().head().await.unwrap().revision, head + 1);
    }
}

#[tokio::test]
async fn addresses_of_the_last_second_are_known_too() {
    let world = World::under(Preset::Standard).await;
    let key = world.issue("used").await;
    let question = keyreeve_authority::verify::Question {
        via: keyreeve_authority::verify::Via::Api,
        reach: &keyreeve_core::access::Reach::Instance,
        scopes: &[],
        now: world.authority.now(),
        address: "192.0.2.1".parse().ok(),
        cost: Some(1),
    };
    world.authority.verify(key.secret.expose(), &question).await;
    let traces = world
        .authority
        .keys()
        .traces(&world.call(), key.record.key.id)
        .await
        .unwrap();
    let seen: Vec<_> = traces
        .iter()
        .map(|trace| (trace.address.as_str(), trace.count))
        .collect();
    assert_eq!(seen, [("192.0.2.1", 1)]);
}
