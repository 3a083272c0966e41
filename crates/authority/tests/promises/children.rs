//! Downstream verifiers of this process: a change that denies something is answered only when each has it, or can hold
//! no lease any more.

use crate::world::{World, revocation, slug};
use keyreeve_authority::children::{CHILD_LEASE_MS, Newcomer, Reported, VerifierLine};
use keyreeve_authority::keys::KeyWithSecret;
use keyreeve_authority::root_keys::{RootKeyCommand, RotateRootKeyCommand};
use keyreeve_authority::tenants::TenantCommand;
use keyreeve_authority::verifier::RootPass;
use keyreeve_authority::{Effect, Failure};
use keyreeve_core::access::{Permission, Reach};
use keyreeve_core::coherence::downstream::{ChildId, Forget, Order};
use keyreeve_core::coherence::wait_ms;
use keyreeve_core::lifecycle::ReasonCode;
use keyreeve_core::policy::Preset;
use keyreeve_core::text::Name;
use keyreeve_core::verdict::Denial;
use keyreeve_core::{Digest, KeyId, RootKeyId};
use std::sync::{Arc, Mutex};

mod ends;

use ends::report;

/// The orders that a verifier was sent, and whether its connection was closed.
#[derive(Default)]
struct Heard(Mutex<Vec<(Order, Vec<KeyId>, bool)>>, std::sync::atomic::AtomicBool);

impl VerifierLine for Heard {
    fn order(&self, order: Order, ended: &[KeyId], is_last: bool) -> bool {
        self.0.lock().unwrap().push((order, ended.to_vec(), is_last));
        true
    }

    fn close(&self) {
        self.1.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Heard {
    fn is_closed(&self) -> bool {
        self.1.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn newest(&self) -> Option<(Order, Vec<KeyId>, bool)> {
        self.0.lock().unwrap().last().cloned()
    }
}

struct Hanging {
    id: ChildId,
    heard: Arc<Heard>,
}

fn newcomer(reach: Reach, pass: Option<RootPass>) -> Newcomer {
    Newcomer {
        capacity: 100,
        lease_ms: None,
        reach,
        pass,
        peer: "192.0.2.1:443".into(),
    }
}

async fn hang_on(world: &World) -> Hanging {
    hang_on_with(world, Reach::Instance, None).await
}

async fn hang_on_with(world: &World, reach: Reach, pass: Option<RootPass>) -> Hanging {
    let heard = Arc::new(Heard::default());
    let line = Arc::clone(&heard) as Arc<dyn VerifierLine>;
    let id = world
        .authority
        .verifiers()
        .register(newcomer(reach, pass), line)
        .await
        .unwrap();
    Hanging { id, heard }
}

async fn tell(world: &World, child: &Hanging, key: &KeyWithSecret) {
    let told = world
        .authority
        .verifiers()
        .answer_fetch(child.id, key.secret.digest())
        .await
        .unwrap();
    assert!(told.0.is_some());
}

async fn revoke(world: &World, key: &KeyWithSecret) -> Effect {
    let command = revocation(ReasonCode::Unspecified);
    let changed = world
        .authority
        .keys()
        .revoke(&world.call(), key.record.key.id, command)
        .await
        .unwrap();
    changed.effect
}

#[tokio::test]
async fn a_silent_child_is_waited_for_until_its_lease_is_surely_over() {
    let world = World::under(Preset::Standard).await;
    let (key, other) = (world.issue("one").await, world.issue("other").await);
    let child = hang_on(&world).await;
    assert_eq!(
        world.authority.verifiers().grant(child.id).await.unwrap().length_ms,
        CHILD_LEASE_MS
    );
    tell(&world, &child, &key).await;
    assert_eq!(
        revoke(&world, &other).await.waited_ms(),
        0,
        "the child does not know this key"
    );
    let effect = revoke(&world, &key).await;
    assert!(effect.waited_ms() >= wait_ms(CHILD_LEASE_MS), "{effect:?}");
    let (order, ended, _) = child.heard.newest().unwrap();
    assert_eq!(order.what, Forget::Secrets(vec![key.secret.digest()]));
    assert_eq!(ended, [key.record.key.id]);
}

#[tokio::test]
async fn a_child_that_says_so_is_not_waited_for_longer_and_one_without_a_lease_not_at_all() {
    let world = World::under(Preset::Standard).await;
    let (first, second) = (world.issue("one").await, world.issue("two").await);
    let child = hang_on(&world).await;
    tell(&world, &child, &first).await;
    assert_eq!(revoke(&world, &first).await.waited_ms(), 0, "it never held a lease");
    assert!(world.authority.verifiers().grant(child.id).await.is_some());
    tell(&world, &child, &second).await;
    let says_so = async {
        while child.heard.newest().is_none_or(|(order, ..)| order.number < 2) {
            tokio::task::yield_now().await;
        }
        world.authority.children().acknowledged(child.id, 2);
    };
    let (effect, ()) = tokio::join!(revoke(&world, &second), says_so);
    assert!(effect.waited_ms() < 1_000, "{effect:?}");
}

#[tokio::test]
async fn a_repeated_revocation_waits_for_the_child_again() {
    let world = World::under(Preset::Standard).await;
    let key = world.issue("one").await;
    let child = hang_on(&world).await;
    assert!(world.authority.verifiers().grant(child.id).await.is_some());
    tell(&world, &child, &key).await;
    let mut call = world.call();
    call.is_awaited = false;
    let id = key.record.key.id;
    let command = || revocation(ReasonCode::Unspecified);
    let first = world.authority.keys().revoke(&call, id, command()).await.unwrap();
    assert!(first.effect.is_pending);
    let record = world.authority.keys().get(&call, id).await.unwrap();
    assert!(world.authority.keys().is_ending(&call, &record).await.unwrap());
    assert_eq!(
        world
            .authority
            .operation(&call, None, first.effect.revision)
            .await
            .unwrap(),
        None
    );
    let again = world
        .authority
        .keys()
        .revoke(&world.call(), id, command())
        .await
        .unwrap();
    assert!(
        again.effect.waited_ms() >= wait_ms(CHILD_LEASE_MS),
        "{:?}",
        again.effect
    );
    assert!(!world.authority.keys().is_ending(&call, &record).await.unwrap());
    assert_eq!(
        world
            .authority
            .operation(&call, None, first.effect.revision)
            .await
            .unwrap(),
        Some(1)
    );
}

#[tokio::test]
async fn a_suspended_tenant_makes_children_forget_it_and_sends_its_own_away() {
    let world = World::under(Preset::Standard).await;
    let key = world.issue("one").await;
    let child = hang_on(&world).await;
    let own = hang_on_with(&world, Reach::Tenant(world.tenant.clone()), None).await;
    tell(&world, &child, &key).await;
    let edit = keyreeve_store::model::TenantEdit {
        status: Some(keyreeve_core::user::Status::Suspended),
        ..Default::default()
    };
    world
        .authority
        .tenants()
        .change(&world.call(), world.tenant.clone(), edit)
        .await
        .unwrap();
    let forget = Forget::Tenant(world.tenant.clone());
    assert_eq!(child.heard.newest().unwrap().0.what, forget);
    assert!(world.authority.verifiers().grant(child.id).await.is_some());
    assert_eq!(world.authority.verifiers().grant(own.id).await, None);
    assert!(own.heard.newest().unwrap().2);
}

#[tokio::test]
async fn a_tenant_that_nobody_has_asked_for_makes_no_child_forget() {
    let world = World::under(Preset::Standard).await;
    let key = world.issue("one").await;
    let child = hang_on(&world).await;
    tell(&world, &child, &key).await;
    let other = TenantCommand {
        slug: slug("other"),
        name: Name::parse("Other").unwrap(),
        preset: Preset::Standard,
    };
    world.authority.tenants().create(&world.call(), other).await.unwrap();
    assert_eq!(child.heard.newest(), None);
}

#[tokio::test]
async fn a_tenants_child_is_told_nothing_of_anothers_keys() {
    let world = World::under(Preset::Standard).await;
    let key = world.issue("one").await;
    world.make_tenant("other", Preset::Standard).await;
    let child = hang_on_with(&world, Reach::Tenant(slug("other")), None).await;
    assert!(world.authority.verifiers().grant(child.id).await.is_some());
    let told = world
        .authority
        .verifiers()
        .answer_fetch(child.id, key.secret.digest())
        .await;
    assert!(told.unwrap().0.is_none());
    let stray = report(key.secret.digest(), None, 5, &world);
    world.authority.verifiers().report(child.id, &[stray]).await;
    assert_eq!(revoke(&world, &key).await.waited_ms(), 0);
    assert_eq!(child.heard.newest(), None, "not of its end either");
    let record = world
        .authority
        .keys()
        .get(&world.call(), key.record.key.id)
        .await
        .unwrap();
    assert_eq!(record.last_used_at, None, "nor does it change what is known of them");
}

fn childs_command(world: &World) -> RootKeyCommand {
    RootKeyCommand::new(
        Name::parse("child").unwrap(),
        [Permission::KeysVerify].into_iter().collect(),
        Reach::Tenant(world.tenant.clone()),
    )
}

/// Returns a root key for a verifier, and what is known of it now.
async fn childs_root_key(world: &World) -> (RootKeyId, Option<RootPass>) {
    let command = childs_command(world);
    let made = world
        .authority
        .root_keys()
        .create(&world.call(), command)
        .await
        .unwrap();
    let pass = world.authority.root_key(made.secret.expose()).await.unwrap();
    (made.root_key.id, pass)
}

#[tokio::test]
async fn whose_root_key_or_its_overlap_ends_by_time_is_sent_away_by_the_next_sweep() {
    for is_rotated in [false, true] {
        let world = World::under(Preset::Standard).await;
        let mut command = childs_command(&world);
        command.expiry = keyreeve_core::policy::ExpiryWish::InSeconds(if is_rotated { 600 } else { 60 });
        let root_keys = world.authority.root_keys();
        let made = root_keys.create(&world.call(), command).await.unwrap();
        let pass = world.authority.root_key(made.secret.expose()).await.unwrap();
        let child = hang_on_with(&world, Reach::Tenant(world.tenant.clone()), pass).await;
        if is_rotated {
            let rotation = RotateRootKeyCommand {
                overlap_seconds: 60,
                expiry: keyreeve_core::policy::ExpiryWish::Unsaid,
            };
            let (call, id) = (world.call(), made.root_key.id);
            root_keys.rotate(&call, None, id, rotation).await.unwrap();
        }
        assert!(world.authority.verifiers().grant(child.id).await.is_some());
        let began = world.authority.now();
        world.authority.verifiers().sweep();
        assert_eq!(child.heard.newest(), None, "{is_rotated}");
        let passed = i64::try_from(world.authority.now().millis_since(began)).unwrap();
        world
            .clock
            .0
            .fetch_add(60_000 - passed, std::sync::atomic::Ordering::Relaxed);
        world.authority.verifiers().sweep();
        let (order, _, is_last) = child.heard.newest().unwrap();
        assert_eq!((order.what, is_last), (Forget::Everything, true), "{is_rotated}");
        assert_eq!(world.authority.verifiers().grant(child.id).await, None);
    }
}

#[tokio::test]
async fn whose_root_key_is_revoked_is_sent_away() {
    let world = World::under(Preset::Standard).await;
    let (root_key, pass) = childs_root_key(&world).await;
    let key = world.issue("one").await;
    let child = hang_on_with(&world, Reach::Tenant(world.tenant.clone()), pass).await;
    assert!(world.authority.verifiers().grant(child.id).await.is_some());
    tell(&world, &child, &key).await;
    let began = world.authority.now();
    world
        .authority
        .root_keys()
        .revoke(&world.call(), None, root_key)
        .await
        .unwrap();
    let (order, _, is_last) = child.heard.newest().unwrap();
    assert_eq!((order.what, is_last), (Forget::Everything, true));
    let waited = world.authority.now().millis_since(began);
    assert!(
        waited >= wait_ms(CHILD_LEASE_MS),
        "it holds its earlier lease: {waited}"
    );
    assert!(waited < wait_ms(CHILD_LEASE_MS) + 100, "once: {waited}");
    assert_eq!(world.authority.verifiers().grant(child.id).await, None);
    assert!(
        world
            .authority
            .verifiers()
            .answer_fetch(child.id, key.secret.digest())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn whoever_says_that_it_went_is_waited_for_no_longer_and_closed_at_once() {
    let world = World::under(Preset::Standard).await;
    let (root_key, pass) = childs_root_key(&world).await;
    let key = world.issue("one").await;
    let child = hang_on_with(&world, Reach::Tenant(world.tenant.clone()), pass).await;
    assert!(world.authority.verifiers().grant(child.id).await.is_some());
    tell(&world, &child, &key).await;
    let says_so = async {
        while child.heard.newest().is_none() {
            tokio::task::yield_now().await;
        }
        world.authority.children().acknowledged(child.id, 1);
    };
    let began = world.authority.now();
    let call = world.call();
    let (revoked, ()) = tokio::join!(world.authority.root_keys().revoke(&call, None, root_key), says_so);
    revoked.unwrap();
    assert!(world.authority.now().millis_since(began) < 1_000);
    assert!(child.heard.is_closed());
}

#[tokio::test]
async fn what_a_child_knew_that_was_sent_away_waits_for_its_lease() {
    let world = World::under(Preset::Standard).await;
    let (key, other) = (world.issue("one").await, world.issue("two").await);
    let child = hang_on(&world).await;
    assert!(world.authority.verifiers().grant(child.id).await.is_some());
    tell(&world, &child, &key).await;
    assert!(world.authority.children().disconnect(child.id));
    assert!(!world.authority.children().disconnect(child.id), "once");
    assert_eq!(revoke(&world, &other).await.waited_ms(), 0);
    let effect = revoke(&world, &key).await;
    assert!(effect.waited_ms() >= wait_ms(CHILD_LEASE_MS), "{effect:?}");
}

#[tokio::test]
async fn making_a_root_key_sends_nobody_away() {
    let world = World::under(Preset::Standard).await;
    let (_, pass) = childs_root_key(&world).await;
    let digest = *keyreeve_core::coherence::Cached::digest(pass.as_ref().unwrap());
    let child = hang_on_with(&world, Reach::Tenant(world.tenant.clone()), pass).await;
    // As the log brings it from another node, after the verifier has connected.
    let commit = keyreeve_store::Commit {
        revision: world.authority.verifier().applied(),
        tenant: Some(world.tenant.clone()),
        root_keys: vec![digest],
        ..keyreeve_store::Commit::default()
    };
    keyreeve_store::CommitObserver::committed(&**world.authority.verifier(), &commit);
    assert_eq!(child.heard.newest(), None);
    assert!(world.authority.verifiers().grant(child.id).await.is_some());
}

#[tokio::test]
async fn a_tenants_change_never_waits_for_a_child_of_another_tenant_that_never_acknowledges() {
    let world = World::under(Preset::Standard).await;
    world.make_tenant("other", Preset::Standard).await;
    let key = world.issue("one").await;
    let child = hang_on_with(&world, Reach::Tenant(world.tenant.clone()), None).await;
    assert!(world.authority.verifiers().grant(child.id).await.is_some());
    tell(&world, &child, &key).await;
    let pending = keyreeve_authority::Call {
        is_awaited: false,
        ..world.call()
    };
    let command = || revocation(ReasonCode::Unspecified);
    let first = world
        .authority
        .keys()
        .revoke(&pending, key.record.key.id, command())
        .await
        .unwrap();
    assert!(first.effect.is_pending);
    let elsewhere = keyreeve_authority::Call {
        tenant: slug("other"),
        ..world.call()
    };
    let issued = world
        .authority
        .keys()
        .issue(&elsewhere, vec![crate::world::wish("two")])
        .await;
    let other = issued.unwrap().keys.remove(0).record.key.id;
    let revoked = world
        .authority
        .keys()
        .revoke(&elsewhere, other, command())
        .await
        .unwrap();
    assert_eq!(revoked.effect.waited_ms(), 0);
    let suspended = keyreeve_store::model::TenantEdit {
        status: Some(keyreeve_core::user::Status::Suspended),
        ..Default::default()
    };
    let call = world.call();
    let (_, effect) = world
        .authority
        .tenants()
        .change(&call, slug("other"), suspended)
        .await
        .unwrap();
    assert_eq!(effect.waited_ms(), 0);
    assert_eq!(
        child.heard.0.lock().unwrap().len(),
        1,
        "it was told of its own key and of nothing else"
    );
}
