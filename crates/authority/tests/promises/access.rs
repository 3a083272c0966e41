//! Permissions: one for each use case, and never across tenants.

use crate::world::{World, ask, revocation, rotation, slug, wish, word};
use futures_util::FutureExt as _;
use keyreeve_authority::keys::{Listing, ShownKeys};
use keyreeve_authority::root_keys::{RootKeyCommand, RotateRootKeyCommand};
use keyreeve_authority::verify::{Question, Via};
use keyreeve_authority::{Authority, Call, Caller, Failure};
use keyreeve_core::RootKeyId;
use keyreeve_core::access::{Permission, Permissions, Reach};
use keyreeve_core::check::{CheckPolicyEdit, DEFAULT_CHECK_POLICY};
use keyreeve_core::lifecycle::{Edit, ReasonCode};
use keyreeve_core::policy::{ExpiryWish, OverlapWish, Preset};
use keyreeve_core::text::{CheckPolicyName, Name};

async fn root_key(world: &World, reach: Reach, permissions: &[Permission]) -> Caller {
    let command = RootKeyCommand {
        name: Name::parse("root").unwrap(),
        permissions: permissions.iter().copied().collect(),
        reach,
        expiry: ExpiryWish::Unsaid,
        networks: None,
    };
    let made = world
        .authority
        .root_keys()
        .create(&world.call(), command)
        .await
        .unwrap();
    Caller::root_key(made.root_key.id, made.root_key.reach, made.root_key.permissions)
}

fn default() -> CheckPolicyName {
    CheckPolicyName::parse(DEFAULT_CHECK_POLICY).unwrap()
}

fn listing() -> Listing {
    Listing::first(ShownKeys::All, 10)
}

type Tried = (Permission, &'static str, Option<Failure>);

async fn try_check_policies(authority: &Authority, call: &Call) -> Vec<Tried> {
    vec![
        (
            Permission::PolicyRead,
            "check policies",
            authority.check_policies().list(call).await.err(),
        ),
        (
            Permission::PolicyWrite,
            "change a check policy",
            authority
                .check_policies()
                .change(call, default(), CheckPolicyEdit::default())
                .await
                .err(),
        ),
        (
            Permission::PolicyWrite,
            "remove a check policy",
            authority.check_policies().remove(call, default()).await.err(),
        ),
    ]
}

async fn try_root_keys(authority: &Authority, call: &Call) -> Vec<Tried> {
    let unknown = RootKeyId::from_bytes([0; 16]);
    let rotation = RotateRootKeyCommand {
        overlap_seconds: 0,
        expiry: ExpiryWish::Unsaid,
    };
    vec![
        (
            Permission::RootKeysWrite,
            "root keys",
            authority.root_keys().list(call, None).await.err(),
        ),
        (
            Permission::RootKeysWrite,
            "rotate a root key",
            authority.root_keys().rotate(call, None, unknown, rotation).await.err(),
        ),
        (
            Permission::RootKeysWrite,
            "finish the rotation of a root key",
            authority.root_keys().finish_rotation(call, None, unknown).await.err(),
        ),
    ]
}

/// Calls every use case; returns each with its permission and its answer.
async fn try_everything(world: &World, call: &Call) -> Vec<Tried> {
    let id = world.issue(&world.new_name()).await.record.key.id;
    let code = || revocation(ReasonCode::Unspecified);
    let authority = &world.authority;
    let order = rotation(OverlapWish::Unsaid);
    let mut tried = try_check_policies(authority, call).await;
    tried.extend(try_root_keys(authority, call).await);
    tried.extend([
        (
            Permission::KeysWrite,
            "issue",
            authority.keys().issue(call, vec![wish(&world.new_name())]).await.err(),
        ),
        (Permission::KeysRead, "get", authority.keys().get(call, id).await.err()),
        (
            Permission::KeysRead,
            "list",
            authority.keys().list(call, listing()).await.err(),
        ),
        (
            Permission::KeysWrite,
            "update",
            authority.keys().update(call, id, Edit::default()).await.err(),
        ),
        (
            Permission::KeysWrite,
            "rotate",
            authority.keys().rotate(call, id, order).await.err(),
        ),
        (
            Permission::KeysWrite,
            "finish",
            authority.keys().finish_rotation(call, id).await.err(),
        ),
        (
            Permission::KeysWrite,
            "disable",
            authority.keys().disable(call, id, None).await.err(),
        ),
        (
            Permission::KeysWrite,
            "reactivate",
            authority.keys().reactivate(call, id, None).await.err(),
        ),
        (
            Permission::KeysWrite,
            "revoke",
            authority.keys().revoke(call, id, code()).await.err(),
        ),
        (
            Permission::KeysWrite,
            "delete",
            authority.keys().delete(call, id, None).await.err(),
        ),
    ]);
    tried
}

#[tokio::test]
async fn each_use_case_takes_its_permission_and_no_other_will_do() {
    let world = World::under(Preset::Standard).await;
    for &held in Permission::ALL {
        let caller = root_key(&world, Reach::Instance, &[held]).await;
        for (needed, verb, failure) in try_everything(&world, &world.call_of(caller.clone())).await {
            let is_denied = matches!(failure, Some(Failure::PermissionDenied(_)));
            assert_eq!(is_denied, needed != held, "{verb} with {held}: {failure:?}");
        }
    }
}

#[tokio::test]
async fn a_root_key_of_another_tenant_may_nothing_here() {
    let world = World::under(Preset::Standard).await;
    world.make_tenant("other", Preset::Standard).await;
    let caller = root_key(&world, Reach::Tenant(slug("other")), Permission::ALL).await;
    for (_, verb, failure) in try_everything(&world, &world.call_of(caller)).await {
        assert!(
            matches!(failure, Some(Failure::PermissionDenied(_))),
            "{verb}: {failure:?}"
        );
    }
}

#[tokio::test]
async fn another_tenants_key_is_as_unknown_as_none() {
    let world = World::under(Preset::Standard).await;
    world.make_tenant("other", Preset::Standard).await;
    let key = world.issue("one").await;
    let mut call = world.call();
    call.tenant = slug("other");
    let failure = world.authority.keys().get(&call, key.record.key.id).await.err();
    assert!(matches!(failure, Some(Failure::NotFound)));
    let there = ask(&world.authority, key.secret.expose(), &Reach::Tenant(slug("other"))).await;
    assert_eq!(word(&there), "unknown");
    assert!(there.entry.is_none());
    let here = ask(&world.authority, key.secret.expose(), &Reach::Tenant(slug("acme"))).await;
    assert_eq!(word(&here), "valid");
}

#[tokio::test]
async fn a_root_key_gives_no_more_than_it_has() {
    let world = World::under(Preset::Standard).await;
    let caller = root_key(
        &world,
        Reach::Instance,
        &[Permission::RootKeysWrite, Permission::KeysRead],
    )
    .await;
    let wanted = |permissions: &[Permission]| RootKeyCommand {
        name: Name::parse("more").unwrap(),
        permissions: permissions.iter().copied().collect(),
        reach: Reach::Instance,
        expiry: ExpiryWish::Unsaid,
        networks: None,
    };
    let call = world.call_of(caller);
    let more = world
        .authority
        .root_keys()
        .create(&call, wanted(&[Permission::KeysWrite]))
        .await;
    assert!(matches!(more, Err(Failure::Escalation)));
    let less = world
        .authority
        .root_keys()
        .create(&call, wanted(&[Permission::KeysRead]))
        .await;
    assert!(less.is_ok());
}

#[tokio::test]
async fn a_revoked_root_key_is_no_good_when_its_revocation_returns() {
    let world = World::under(Preset::Standard).await;
    let command = RootKeyCommand {
        name: Name::parse("root").unwrap(),
        permissions: Permissions::all(),
        reach: Reach::Instance,
        expiry: ExpiryWish::Unsaid,
        networks: None,
    };
    let made = world
        .authority
        .root_keys()
        .create(&world.call(), command)
        .await
        .unwrap();
    let secret = made.secret.expose();
    let pass = world.authority.root_key(secret).await.unwrap().unwrap();
    assert_eq!(pass.id(), made.root_key.id);
    world
        .authority
        .root_keys()
        .revoke(&world.call(), None, made.root_key.id)
        .await
        .unwrap();
    assert!(world.authority.root_key(secret).await.unwrap().is_none());
    // An API key is not accepted as a root key, and a root key not as an API key.
    let key = world.issue("one").await;
    assert!(world.authority.root_key(key.secret.expose()).await.unwrap().is_none());
    assert_eq!(world.outcome(secret).await, "unknown");
    let nobody = world.call_of(Caller::root_key(
        RootKeyId::from_bytes([1; 16]),
        Reach::Instance,
        Permissions::all(),
    ));
    let refused = world.authority.keys().issue(&nobody, vec![wish("x")]).await;
    assert!(matches!(refused, Err(Failure::CallerGone)));
}

#[tokio::test]
async fn a_key_may_end_itself_and_do_nothing_else() {
    let world = World::under(Preset::Standard).await;
    let key = world.issue("one").await;
    let entry = world.verify(key.secret.expose()).await.entry.unwrap();
    let call = world.call_of(Authority::caller_of_key(&entry));
    for (_, verb, failure) in try_everything(&world, &call).await {
        assert!(
            matches!(failure, Some(Failure::PermissionDenied(_))),
            "{verb}: {failure:?}"
        );
    }
    let code = || revocation(ReasonCode::KeyCompromise);
    world.authority.keys().revoke_self(&call, code()).await.unwrap();
    assert_eq!(world.outcome(key.secret.expose()).await, "revoked");
    let again = world.authority.keys().revoke_self(&call, code()).await;
    assert!(matches!(again, Err(Failure::CallerGone)));
}

#[tokio::test]
async fn all_scopes_asked_for_must_be_held() {
    let world = World::under(Preset::Standard).await;
    let key = world.issue("one").await;
    for (scopes, expected) in [
        (&[][..], "valid"),
        (&["read"], "valid"),
        (&["write"], "scope"),
        (&["read", "write"], "scope"),
    ] {
        let question = Question {
            via: Via::Api,
            reach: &Reach::Instance,
            scopes,
            now: world.authority.now(),
            address: None,
            cost: Some(1),
        };
        let verdict = world
            .authority
            .verify(key.secret.expose(), &question)
            .now_or_never()
            .unwrap();
        assert_eq!(word(&verdict), expected, "{scopes:?}");
    }
}

#[tokio::test]
async fn ids_ascend_also_when_the_clock_steps_back() {
    let world = World::under(Preset::Standard).await;
    let first = world.issue("one").await.record.key.id;
    world.pass(-3_600);
    let second = world.issue("two").await.record.key.id;
    world.pass(7_200);
    let third = world.issue("three").await.record.key.id;
    assert!(first < second && second < third);
}
