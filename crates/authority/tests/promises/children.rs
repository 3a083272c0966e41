//! A verifier that hangs on this process: nothing that takes something away is answered before it knows, or can hold no
//! lease any more.

use crate::world::{World, revocation, slug};
use keyreeve_authority::children::{CHILD_LEASE_MS, Line, Reported};
use keyreeve_authority::keys::KeyWithSecret;
use keyreeve_authority::root_keys::RootKeyCommand;
use keyreeve_authority::tenants::TenantCommand;
use keyreeve_authority::verifier::RootPass;
use keyreeve_authority::{Effect, Failure};
use keyreeve_core::access::{Permission, Reach};
use keyreeve_core::coherence::nursery::{ChildId, Forget, Order};
use keyreeve_core::coherence::wait_ms;
use keyreeve_core::lifecycle::ReasonCode;
use keyreeve_core::policy::Preset;
use keyreeve_core::text::Name;
use keyreeve_core::verdict::Denial;
use keyreeve_core::{Digest, KeyId, RootKeyId};
use std::sync::{Arc, Mutex};

/// What a child was told.
#[derive(Default)]
struct Heard(Mutex<Vec<(Order, Vec<KeyId>, bool)>>);

impl Line for Heard {
    fn order(&self, order: Order, ended: &[KeyId], is_last: bool) -> bool {
        self.0.lock().unwrap().push((order, ended.to_vec(), is_last));
        true
    }
}

impl Heard {
    fn newest(&self) -> Option<(Order, Vec<KeyId>, bool)> {
        self.0.lock().unwrap().last().cloned()
    }
}

struct Hanging {
    id: ChildId,
    heard: Arc<Heard>,
}

async fn hang_on(world: &World) -> Hanging {
    let heard = Arc::new(Heard::default());
    let line = Arc::clone(&heard) as Arc<dyn Line>;
    let id = world.authority.adopt(100, None, line).await.unwrap();
    Hanging { id, heard }
}

async fn tell(world: &World, child: &Hanging, key: &KeyWithSecret) {
    let told = world
        .authority
        .tell(child.id, &Reach::Instance, key.secret.digest())
        .await
        .unwrap();
    assert!(told.0.is_some());
}

async fn revoke(world: &World, key: &KeyWithSecret) -> Effect {
    let command = revocation(ReasonCode::Unspecified);
    let changed = world
        .authority
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
    assert_eq!(world.authority.grant(child.id).unwrap().length_ms, CHILD_LEASE_MS);
    tell(&world, &child, &key).await;
    assert_eq!(
        revoke(&world, &other).await.waited_ms,
        0,
        "the child does not know this key"
    );
    let effect = revoke(&world, &key).await;
    assert!(effect.waited_ms >= wait_ms(CHILD_LEASE_MS), "{effect:?}");
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
    assert_eq!(revoke(&world, &first).await.waited_ms, 0, "it never held a lease");
    assert!(world.authority.grant(child.id).is_some());
    tell(&world, &child, &second).await;
    let says_so = async {
        while child.heard.newest().is_none_or(|(order, ..)| order.number < 2) {
            tokio::task::yield_now().await;
        }
        world.authority.children().acknowledged(child.id, 2);
    };
    let (effect, ()) = tokio::join!(revoke(&world, &second), says_so);
    assert!(effect.waited_ms < 1_000, "{effect:?}");
}

#[tokio::test]
async fn a_repeated_revocation_waits_for_the_child_again() {
    let world = World::under(Preset::Standard).await;
    let key = world.issue("one").await;
    let child = hang_on(&world).await;
    assert!(world.authority.grant(child.id).is_some());
    tell(&world, &child, &key).await;
    let mut call = world.call();
    call.is_awaited = false;
    let id = key.record.key.id;
    let command = || revocation(ReasonCode::Unspecified);
    let first = world.authority.revoke(&call, id, command()).await.unwrap();
    assert!(first.effect.is_pending);
    let record = world.authority.get(&call, id).await.unwrap();
    assert!(world.authority.is_ending(&call, &record).await.unwrap());
    assert_eq!(
        world.authority.operation(&call, first.effect.revision).await.unwrap(),
        None
    );
    let again = world.authority.revoke(&world.call(), id, command()).await.unwrap();
    assert!(again.effect.waited_ms >= wait_ms(CHILD_LEASE_MS), "{:?}", again.effect);
    assert!(!world.authority.is_ending(&call, &record).await.unwrap());
    assert_eq!(
        world.authority.operation(&call, first.effect.revision).await.unwrap(),
        Some(1)
    );
}

#[tokio::test]
async fn a_suspended_tenant_makes_children_forget_everything() {
    let world = World::under(Preset::Standard).await;
    let key = world.issue("one").await;
    let child = hang_on(&world).await;
    tell(&world, &child, &key).await;
    let edit = keyreeve_store::model::TenantEdit {
        status: Some(keyreeve_core::user::Status::Suspended),
        ..Default::default()
    };
    world
        .authority
        .change_tenant(&world.call(), world.tenant.clone(), edit)
        .await
        .unwrap();
    assert_eq!(child.heard.newest().unwrap().0.what, Forget::Everything);
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
    world.authority.create_tenant(&world.call(), other).await.unwrap();
    assert_eq!(child.heard.newest(), None);
}

#[tokio::test]
async fn a_tenants_child_is_told_nothing_of_anothers_keys() {
    let world = World::under(Preset::Standard).await;
    let key = world.issue("one").await;
    let child = hang_on(&world).await;
    let reach = Reach::Tenant(slug("other"));
    let told = world.authority.tell(child.id, &reach, key.secret.digest()).await;
    assert!(told.unwrap().0.is_none());
    let stray = report(key.secret.digest(), None, 5, &world);
    world.authority.report(&reach, &[stray]).await;
    let record = world.authority.get(&world.call(), key.record.key.id).await.unwrap();
    assert_eq!(record.last_used_at, None, "nor does it change what is known of them");
}

/// A root key that a child may come with, and what is known of it now.
async fn childs_root_key(world: &World) -> (RootKeyId, Option<RootPass>) {
    let command = RootKeyCommand {
        name: Name::parse("child").unwrap(),
        permissions: [Permission::KeysVerify].into_iter().collect(),
        reach: Reach::Tenant(world.tenant.clone()),
    };
    let made = world.authority.create_root_key(&world.call(), command).await.unwrap();
    let pass = world.authority.root_key(made.secret.expose()).await.unwrap();
    (made.root_key.id, pass)
}

#[tokio::test]
async fn whose_root_key_is_revoked_is_sent_away() {
    let world = World::under(Preset::Standard).await;
    let (root_key, pass) = childs_root_key(&world).await;
    let heard = Arc::new(Heard::default());
    let line = Arc::clone(&heard) as Arc<dyn Line>;
    let id = world.authority.adopt(100, pass.as_ref(), line).await.unwrap();
    assert!(world.authority.grant(id).is_some());
    world.authority.revoke_root_key(&world.call(), root_key).await.unwrap();
    let (order, _, is_last) = heard.newest().unwrap();
    assert_eq!((order.what, is_last), (Forget::Everything, true));
}

#[tokio::test]
async fn whose_root_key_was_revoked_while_it_came_is_not_taken_in() {
    let world = World::under(Preset::Standard).await;
    let (root_key, pass) = childs_root_key(&world).await;
    world.authority.revoke_root_key(&world.call(), root_key).await.unwrap();
    let line = Arc::new(Heard::default());
    let refused = world.authority.adopt(100, pass.as_ref(), line).await.unwrap_err();
    assert!(matches!(refused, Failure::PermissionDenied(_)), "{refused}");
    assert!(world.authority.children().is_empty());
}

#[tokio::test]
async fn the_children_of_a_process_that_was_killed_are_minded_by_the_next() {
    let world = World::under(Preset::Standard).await;
    let key = world.issue("one").await;
    world.authority.mind_former_children(CHILD_LEASE_MS);
    let effect = revoke(&world, &key).await;
    assert!(effect.waited_ms >= wait_ms(CHILD_LEASE_MS), "{effect:?}");
    let next = world.issue("two").await;
    assert_eq!(revoke(&world, &next).await.waited_ms, 0);
}

#[tokio::test]
async fn children_are_sent_away_at_the_end_and_waited_for_a_while() {
    let world = World::under(Preset::Standard).await;
    assert!(world.authority.dismiss_children(100).await, "there are none");
    let child = hang_on(&world).await;
    assert!(world.authority.grant(child.id).is_some());
    assert!(!world.authority.dismiss_children(100).await, "this one does not go");
    assert!(child.heard.newest().unwrap().2);
    world.authority.children().left(child.id);
    assert!(world.authority.dismiss_children(100).await);
}

fn report(digest: Digest, denial: Option<Denial>, count: u32, world: &World) -> Reported {
    Reported {
        digest,
        denial,
        count,
        last_at: world.authority.now(),
    }
}

#[tokio::test]
async fn what_a_child_has_seen_counts_as_if_the_node_had_seen_it() {
    let world = World::under(Preset::Standard).await;
    let key = world.issue("one").await;
    let digest = key.secret.digest();
    let seen = [
        report(digest, None, 5, &world),
        report(digest, Some(Denial::Scope), 2, &world),
        report(Digest::of(b"nobody's"), None, 9, &world),
    ];
    world.authority.report(&Reach::Instance, &seen).await;
    let id = key.record.key.id;
    let record = world.authority.get(&world.call(), id).await.unwrap();
    assert_eq!(record.last_used_at, Some(world.authority.now()));
    assert_eq!(
        world.counts(id).await,
        [("scope".to_owned(), 2), ("valid".to_owned(), 5)]
    );
}

/// Found by the simulator: what a node changes itself comes to its memory before what others changed earlier. A child
/// that was told to forget a key for the later change has not heard of the earlier one before it says so.
#[tokio::test]
async fn a_later_change_of_ones_own_does_not_stand_for_an_earlier_one_of_others() {
    let world = World::under(Preset::Standard).await;
    let key = world.issue("one").await;
    let child = hang_on(&world).await;
    assert!(world.authority.grant(child.id).is_some());
    tell(&world, &child, &key).await;
    let verifier = world.authority.verifier();
    let applied = verifier.applied();
    // Three changes in one commit, as when many wait for the disk together.
    let commit = keyreeve_store::Commit {
        revision: applied + 3,
        secrets: vec![key.secret.digest()],
        ..keyreeve_store::Commit::default()
    };
    keyreeve_store::CommitObserver::committed(&**verifier, &commit);
    for revision in 1..=3 {
        assert!(
            !world.authority.children_have(applied + revision),
            "change {revision} of three"
        );
    }
    world.authority.children().acknowledged(child.id, 1);
    assert!(world.authority.children_have(applied + 3));
}
