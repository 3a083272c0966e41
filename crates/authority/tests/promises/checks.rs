//! Check policies for gateways: from memory, and never an old one after a change was answered.

use crate::world::{World, slug};
use futures_util::FutureExt as _;
use keyreeve_authority::Failure;
use keyreeve_core::CheckPolicy;
use keyreeve_core::check::CheckPolicyEdit;
use keyreeve_core::policy::Preset;
use keyreeve_core::scope::Scopes;
use keyreeve_core::text::CheckPolicyName;
use keyreeve_core::user::Status;
use keyreeve_store::model::TenantEdit;
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn called(name: &str) -> CheckPolicyName {
    CheckPolicyName::parse(name).unwrap()
}

fn wanting(scope: &str) -> CheckPolicyEdit {
    CheckPolicyEdit {
        scopes: Some(Scopes::parse([scope]).unwrap()),
        ..CheckPolicyEdit::default()
    }
}

/// Returns the scopes that a gateway's policy requires.
async fn asked(world: &World, name: &str) -> Result<String, Failure> {
    let policy = world.authority.check_policy_named(&world.tenant, &called(name)).await;
    policy.map(|policy| policy.scopes.joined())
}

#[tokio::test]
async fn every_tenant_has_the_policy_default_and_no_other_until_it_is_made() {
    let world = World::under(Preset::Standard).await;
    assert_eq!(asked(&world, "default").await.unwrap(), "");
    assert!(matches!(asked(&world, "orders").await, Err(Failure::NotFound)));
    let (nowhere, default) = (slug("nowhere"), called("default"));
    let found = world.authority.check_policy_named(&nowhere, &default).await;
    assert!(matches!(found, Err(Failure::NotFound)));
    let policy = CheckPolicy::any(called("orders")).edited(wanting("orders:read"));
    world
        .authority
        .check_policies()
        .create(&world.call(), policy)
        .await
        .unwrap();
    assert_eq!(asked(&world, "orders").await.unwrap(), "orders:read");
    let listed = world.authority.check_policies().list(&world.call()).await.unwrap();
    let names: Vec<_> = listed.iter().map(|one| one.policy.name.as_str()).collect();
    assert_eq!(names, ["default", "orders"]);
    assert!(listed[0].times.is_none() && listed[1].times.is_some());
}

#[tokio::test]
async fn a_change_is_in_force_when_it_is_answered_and_costs_one_reading() {
    let world = World::under(Preset::Standard).await;
    assert_eq!(asked(&world, "default").await.unwrap(), "");
    let before = world.look_ups();
    assert_eq!(asked(&world, "default").await.unwrap(), "");
    assert_eq!(world.look_ups(), before, "from memory");
    let (call, authority) = (world.call(), &world.authority);
    let changed = authority
        .check_policies()
        .change(&call, called("default"), wanting("a"));
    changed.await.unwrap();
    assert_eq!(asked(&world, "default").await.unwrap(), "a");
    assert_eq!(asked(&world, "default").await.unwrap(), "a");
    assert_eq!(world.look_ups(), before + 1);
    authority
        .check_policies()
        .remove(&call, called("default"))
        .await
        .unwrap();
    assert_eq!(asked(&world, "default").await.unwrap(), "");
}

/// R5: the reading has a policy without a scope, then a scope is required and that is answered, and only then does the
/// reading arrive. It must not be used.
#[tokio::test]
async fn a_reading_that_a_change_has_overtaken_is_not_believed() {
    let world = World::under(Preset::Standard).await;
    let (authority, call) = (Arc::clone(&world.authority), world.call());
    *world.stage.meanwhile.lock().unwrap() = Some(Box::new(move || {
        Box::pin(async move {
            let changed = authority
                .check_policies()
                .change(&call, called("default"), wanting("a"));
            changed.await.unwrap();
        })
    }));
    assert_eq!(asked(&world, "default").await.unwrap(), "a");
}

#[tokio::test]
async fn what_cannot_be_read_is_unavailable_and_what_is_known_is_answered() {
    let world = World::under(Preset::Standard).await;
    assert_eq!(asked(&world, "default").await.unwrap(), "");
    world.stage.is_away.store(true, Ordering::Relaxed);
    assert_eq!(asked(&world, "default").now_or_never().unwrap().unwrap(), "");
    world.authority.verifier().forget_everything();
    assert!(matches!(asked(&world, "default").await, Err(Failure::Unavailable(_))));
    world.stage.is_away.store(false, Ordering::Relaxed);
    assert_eq!(asked(&world, "default").await.unwrap(), "");
}

#[tokio::test]
async fn a_removed_tenant_has_no_policy_that_is_read_anew() {
    let world = World::under(Preset::Standard).await;
    world.make_tenant("other", Preset::Standard).await;
    let edit = TenantEdit {
        status: Some(Status::Removed),
        ..TenantEdit::default()
    };
    let call = world.call();
    world
        .authority
        .tenants()
        .change(&call, slug("other"), edit)
        .await
        .unwrap();
    let (other, default) = (slug("other"), called("default"));
    let found = world.authority.check_policy_named(&other, &default).await;
    assert!(matches!(found, Err(Failure::NotFound)));
}
