//! Check policies: stored, changed, removed, and sent to every node.

use crate::world::{World, context, slug};
use keyreeve_core::CheckPolicy;
use keyreeve_core::check::{CHECK_POLICIES_MAX, CheckPolicyEdit, GatewayCredential, Realm, key_headers};
use keyreeve_core::policy::Preset;
use keyreeve_core::scope::Scopes;
use keyreeve_core::text::CheckPolicyName;
use keyreeve_store::WriteError;
use keyreeve_store::cluster::Touched;
use keyreeve_store::model::{AuditQuery, ChangedCheckPolicy, CheckPolicyChange, CheckPolicyRecord};

fn called(name: &str) -> CheckPolicyName {
    CheckPolicyName::parse(name).unwrap()
}

fn policy(name: &str) -> CheckPolicy {
    CheckPolicy {
        scopes: Scopes::parse(["orders:read", "orders:write"]).unwrap(),
        key_headers: key_headers(["X-Acme-Key", "Authorization"]).unwrap(),
        meta: true,
        cache_max_age_seconds: 5,
        realm: Realm::parse("Acme API").unwrap(),
        gateway_credential: GatewayCredential::Required,
        ..CheckPolicy::any(called(name))
    }
}

fn without_scopes() -> CheckPolicyEdit {
    CheckPolicyEdit {
        scopes: Some(Scopes::default()),
        ..CheckPolicyEdit::default()
    }
}

async fn change(world: &World, change: CheckPolicyChange) -> Result<ChangedCheckPolicy, WriteError> {
    world
        .store
        .change_check_policy(context(), world.tenant.clone(), change)
        .await
}

async fn stored(world: &World, tenant: &str) -> Vec<CheckPolicyRecord> {
    world.store.check_policies(&slug(tenant)).await.unwrap().value
}

pub async fn a_check_policy_comes_back_as_it_was_and_is_its_tenants_own(world: World) {
    world.make_tenant("other", Preset::Standard.policy()).await;
    let before = world.revision().await;
    let made = change(&world, CheckPolicyChange::Create(policy("orders")))
        .await
        .unwrap();
    assert_eq!(made.revision, before + 1);
    let read = world.store.check_policies(&world.tenant).await.unwrap();
    assert_eq!((read.value, read.revision), (vec![made.record.unwrap()], before + 1));
    assert_eq!(stored(&world, "acme").await[0].policy, policy("orders"));
    assert!(stored(&world, "other").await.is_empty());
    assert!(stored(&world, "nowhere").await.is_empty());
    let nowhere = CheckPolicyChange::Create(policy("orders"));
    let refused = world
        .store
        .change_check_policy(context(), slug("nowhere"), nowhere)
        .await;
    assert!(matches!(refused, Err(WriteError::NotFound)), "{refused:?}");
}

pub async fn every_change_of_a_check_policy_is_an_entry_and_is_told_to_the_observer(world: World) {
    let update = || CheckPolicyChange::Update(called("orders"), without_scopes());
    let remove = || CheckPolicyChange::Remove(called("orders"));
    world.seen.forget();
    change(&world, CheckPolicyChange::Create(policy("orders")))
        .await
        .unwrap();
    let taken = change(&world, CheckPolicyChange::Create(policy("orders"))).await;
    assert!(matches!(taken, Err(WriteError::CheckPolicyTaken)), "{taken:?}");
    let updated = change(&world, update()).await.unwrap();
    assert!(updated.record.as_ref().unwrap().policy.scopes.is_empty());
    assert_eq!(change(&world, update()).await.unwrap(), updated, "again is no change");
    let removed = change(&world, remove()).await.unwrap();
    assert_eq!(removed.record, updated.record, "as it was");
    for gone in [change(&world, remove()).await, change(&world, update()).await] {
        assert!(matches!(gone, Err(WriteError::NotFound)), "{gone:?}");
    }
    let query = AuditQuery {
        action: Some("check_policy.".to_owned()),
        oldest_first: true,
        limit: 10,
        ..AuditQuery::default()
    };
    let log = world.store.audit(query).await.unwrap();
    let actions: Vec<_> = log.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(
        actions,
        ["check_policy.created", "check_policy.updated", "check_policy.removed"]
    );
    assert!(
        log.iter()
            .all(|entry| entry.target_id == "orders" && entry.tenant == "acme")
    );
    assert!(log[1].before.as_ref().unwrap().contains("orders:read") && log[2].after.is_none());
    let told = world.seen.0.lock().unwrap();
    let told: Vec<_> = told.iter().flat_map(|commit| &commit.check_policies).collect();
    assert_eq!(told, [&world.tenant; 3]);
}

pub async fn the_built_in_check_policy_is_stored_only_where_it_was_changed(world: World) {
    let name = || called("default");
    let taken = change(&world, CheckPolicyChange::Create(policy("default"))).await;
    assert!(matches!(taken, Err(WriteError::CheckPolicyTaken)), "{taken:?}");
    let nothing = change(&world, CheckPolicyChange::Update(name(), without_scopes()))
        .await
        .unwrap();
    assert_eq!(nothing.record, None, "what it is already");
    let edit = CheckPolicyEdit {
        meta: Some(true),
        ..CheckPolicyEdit::default()
    };
    change(&world, CheckPolicyChange::Update(name(), edit)).await.unwrap();
    assert!(stored(&world, "acme").await[0].policy.meta);
    let removed = change(&world, CheckPolicyChange::Remove(name())).await.unwrap();
    assert!(removed.record.unwrap().policy.meta);
    assert!(stored(&world, "acme").await.is_empty());
    let again = change(&world, CheckPolicyChange::Remove(name())).await.unwrap();
    assert_eq!((again.record, again.revision), (None, removed.revision));
}

pub async fn a_tenant_has_so_many_check_policies_and_no_more(world: World) {
    for number in 0..CHECK_POLICIES_MAX {
        let name = format!("policy-{number}");
        change(&world, CheckPolicyChange::Create(policy(&name))).await.unwrap();
    }
    let more = change(&world, CheckPolicyChange::Create(policy("one-more"))).await;
    assert!(matches!(more, Err(WriteError::TooManyCheckPolicies)), "{more:?}");
    change(&world, CheckPolicyChange::Remove(called("policy-7")))
        .await
        .unwrap();
    change(&world, CheckPolicyChange::Create(policy("one-more")))
        .await
        .unwrap();
}

pub async fn a_poll_says_whose_check_policies_changed(world: World) {
    let Some(cluster) = world.cluster.clone() else { return };
    let start = cluster.register([1; 16], "first").await.unwrap().head;
    change(&world, CheckPolicyChange::Create(policy("orders")))
        .await
        .unwrap();
    change(&world, CheckPolicyChange::Remove(called("orders")))
        .await
        .unwrap();
    let none = keyreeve_core::coherence::holding::Holding::default();
    let polled = cluster.poll(&renewal([1; 16], start), &none).await.unwrap();
    let told = polled.changes.iter().map(|change| match &change.touched {
        Touched::Known(commit) => commit.check_policies.clone(),
        Touched::Everything => panic!("an ordinary change touches known things"),
    });
    let told: Vec<_> = told.collect();
    assert_eq!(told, [vec![world.tenant.clone()], vec![world.tenant.clone()]]);
}

/// Returns a poll that renews.
fn renewal(session: [u8; 16], applied: u64) -> keyreeve_core::coherence::holder::Poll {
    keyreeve_core::coherence::holder::Poll {
        session,
        applied,
        known: applied,
        sent: keyreeve_core::coherence::Moment::default(),
        is_renewal: true,
    }
}
