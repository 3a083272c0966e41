//! A standby without the newest changes is promoted, and other changes are made there: revisions are assigned a second
//! time, so a revision alone does not identify a change.

use crate::nodes::among;
use crate::world::{World, ask, revocation, rotation, slug, word};
use futures_util::future::BoxFuture;
use keyreeve_authority::env::Clock;
use keyreeve_authority::node::Progress;
use keyreeve_authority::root_keys::{RootKeyCommand, RootKeyWithSecret, RotateRootKeyCommand};
use keyreeve_authority::{Authority, Failure, Node};
use keyreeve_core::KeyId;
use keyreeve_core::access::{Permission, Reach};
use keyreeve_core::coherence::holding::Awaited;
use keyreeve_core::lifecycle::{HoldCause, ReasonCode, Refusal, State};
use keyreeve_core::policy::{ExpiryWish, OverlapWish, Preset, Undo};
use keyreeve_core::text::Name;
use keyreeve_core::user::Status;
use keyreeve_store::Store;
use keyreeve_store::model::TenantEdit;
use std::sync::Arc;

type Denial = for<'w> fn(&'w World, KeyId) -> BoxFuture<'w, ()>;

const DENIALS: [(&str, Denial); 4] = [
    ("revoked", |world, id| {
        Box::pin(async move {
            let code = revocation(ReasonCode::Unspecified);
            world.authority.keys().revoke(&world.call(), id, code).await.unwrap();
        })
    }),
    ("disabled", |world, id| {
        Box::pin(async move {
            world.authority.keys().disable(&world.call(), id, None).await.unwrap();
        })
    }),
    ("rotated", |world, id| {
        Box::pin(async move {
            let order = rotation(OverlapWish::Unsaid);
            world.authority.keys().rotate(&world.call(), id, order).await.unwrap();
        })
    }),
    ("its tenant suspended", |world, _| {
        Box::pin(async move { set_tenant(world, Status::Suspended).await })
    }),
];

async fn set_tenant(world: &World, status: Status) {
    let edit = TenantEdit {
        status: Some(status),
        ..TenantEdit::default()
    };
    let changed = world
        .authority
        .tenants()
        .change(&world.call(), slug("acme"), edit)
        .await;
    changed.unwrap();
}

/// Polls until the node holds a lease and has applied everything.
pub async fn catch_up(node: &Node) {
    while node.poll_once().await.unwrap() != Progress::Quiet {}
}

#[tokio::test]
async fn a_node_that_heard_of_a_denial_denies_it_before_it_has_seen_that_the_database_lost_it() {
    for (what, deny) in DENIALS {
        let world = World::under(Preset::Standard).await;
        let key = world.issue("one").await;
        let (node, authority) = among(&world);
        catch_up(&node).await;
        let standby = world.stage.inner.copy().unwrap();
        deny(&world, key.record.key.id).await;
        catch_up(&node).await;
        world.stage.inner.put_back(standby, true).unwrap();
        // The new primary assigns the lost revisions to other changes.
        for name in ["two", "three", "four"] {
            world.issue(name).await;
        }
        let verdict = ask(&authority, key.secret.expose(), &Reach::Instance).await;
        assert_eq!(word(&verdict), "unavailable", "{what}");
        assert_eq!(node.poll_once().await.unwrap(), Progress::Forked, "{what}");
    }
}

#[tokio::test]
async fn a_root_key_that_a_node_knows_as_revoked_opens_nothing_when_the_database_lost_that() {
    let world = World::under(Preset::Standard).await;
    let command = RootKeyCommand {
        name: Name::parse("root").unwrap(),
        permissions: [Permission::KeysVerify].into_iter().collect(),
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
    let (node, authority) = among(&world);
    catch_up(&node).await;
    let standby = world.stage.inner.copy().unwrap();
    let call = world.call();
    world
        .authority
        .root_keys()
        .revoke(&call, None, made.root_key.id)
        .await
        .unwrap();
    catch_up(&node).await;
    world.stage.inner.put_back(standby, true).unwrap();
    world.issue("two").await;
    let found = authority.root_key(made.secret.expose()).await;
    assert!(matches!(found, Err(Failure::Unavailable(_))), "{found:?}");
}

/// Lets a node apply the rotation of a root key with an overlap, and puts a copy of before in the database's place.
async fn with_a_lost_overlap(world: &World) -> (RootKeyWithSecret, Arc<Node>, Authority) {
    let permissions = [Permission::KeysVerify].into_iter().collect();
    let command = RootKeyCommand::new(Name::parse("root").unwrap(), permissions, Reach::Instance);
    let root_keys = world.authority.root_keys();
    let made = root_keys.create(&world.call(), command).await.unwrap();
    let (node, authority) = among(world);
    catch_up(&node).await;
    let standby = world.stage.inner.copy().unwrap();
    let rotation = RotateRootKeyCommand {
        overlap_seconds: 3_600,
        expiry: ExpiryWish::Unsaid,
    };
    let call = world.call();
    root_keys.rotate(&call, None, made.root_key.id, rotation).await.unwrap();
    catch_up(&node).await;
    world.stage.inner.put_back(standby, true).unwrap();
    (made, node, authority)
}

/// The overlap of a rotation that was lost would never end.
#[tokio::test]
async fn a_root_key_whose_rotation_with_an_overlap_was_lost_is_revoked() {
    let world = World::under(Preset::Standard).await;
    let (made, node, _) = with_a_lost_overlap(&world).await;
    assert_eq!(node.poll_once().await.unwrap(), Progress::Forked);
    node.poll_once().await.unwrap();
    let found = world.stage.inner.find_root_key(&made.secret.digest()).await.unwrap();
    assert!(found.value.unwrap().revoked_at.is_some());
}

#[tokio::test]
async fn before_a_node_has_seen_the_loss_a_retiring_secret_is_not_read_as_the_present_one() {
    let world = World::under(Preset::Standard).await;
    let (made, _, authority) = with_a_lost_overlap(&world).await;
    world.issue("two").await;
    let found = authority.root_key(made.secret.expose()).await;
    assert!(matches!(found, Err(Failure::Unavailable(_))), "{found:?}");
}

/// If nothing was lost, a key that was re-activated on another node is read as active, also before a poll has brought
/// it.
#[tokio::test]
async fn what_was_given_back_is_answered_before_a_poll_has_brought_it() {
    let world = World::under(Preset::Standard).await;
    let key = world.issue("one").await;
    let (node, authority) = among(&world);
    let (call, id) = (world.call(), key.record.key.id);
    world.authority.keys().disable(&call, id, None).await.unwrap();
    set_tenant(&world, Status::Suspended).await;
    catch_up(&node).await;
    set_tenant(&world, Status::Active).await;
    world.authority.keys().reactivate(&call, id, None).await.unwrap();
    let authority: Arc<Authority> = Arc::new(authority);
    let verdict = ask(&authority, key.secret.expose(), &Reach::Instance).await;
    assert_eq!(word(&verdict), "valid");
}

/// Puts a copy of before a denial in the database's place, and lets a node that has applied the denial write it again.
/// Returns the state of the key after that, and the number of denials that were written.
async fn after_an_older_copy(world: &World, id: KeyId, deny: impl AsyncFnOnce()) -> (State, u64) {
    let (node, _) = among(world);
    catch_up(&node).await;
    let older = world.stage.inner.copy().unwrap();
    deny().await;
    catch_up(&node).await;
    world.stage.inner.put_back(older, true).unwrap();
    assert_eq!(node.poll_once().await.unwrap(), Progress::Forked);
    node.poll_once().await.unwrap();
    let found = world
        .stage
        .inner
        .key(&world.tenant, id, world.clock.now())
        .await
        .unwrap();
    (found.unwrap().key.state, node.health().reasserted)
}

#[tokio::test]
async fn a_final_end_is_written_again_as_final_under_every_undo_policy() {
    for undo in [Undo::Always, Undo::Seconds(600), Undo::Never] {
        for what in ["compromised", "finalized", "deleted"] {
            // Without an undo window there is nothing to finalize.
            if what == "finalized" && undo == Undo::Never {
                continue;
            }
            let world = World::under(Preset::Standard).await;
            let mut policy = Preset::Standard.policy();
            policy.revoke.undo = undo;
            world.authority.policy().set(&world.call(), policy).await.unwrap();
            let (authority, call) = (&world.authority, world.call());
            let id = world.issue("one").await.record.key.id;
            let order = revocation(ReasonCode::Unspecified);
            // In the copy the revocation can still be undone.
            if what == "finalized" {
                authority.keys().revoke(&call, id, order.clone()).await.unwrap();
            }
            let deny = async || match what {
                "compromised" => drop(
                    authority
                        .keys()
                        .revoke(&call, id, revocation(ReasonCode::KeyCompromise))
                        .await
                        .unwrap(),
                ),
                "finalized" => drop(authority.keys().finalize(&call, id, order).await.unwrap()),
                _ => drop(authority.keys().delete(&call, id, None).await.unwrap()),
            };
            let (state, _) = after_an_older_copy(&world, id, deny).await;
            assert!(matches!(state, State::Revoked(_)), "{what}, {undo:?}: {state:?}");
            assert!(
                authority.keys().reactivate(&call, id, None).await.is_err(),
                "{what}, {undo:?}"
            );
        }
    }
}

#[tokio::test]
async fn what_could_be_undone_is_written_again_so_that_an_administrator_can_undo_it() {
    for what in ["disabled", "revoked"] {
        let world = World::under(Preset::Standard).await;
        let mut policy = Preset::Standard.policy();
        policy.revoke.undo = Undo::Seconds(600);
        world.authority.policy().set(&world.call(), policy).await.unwrap();
        let (authority, call) = (&world.authority, world.call());
        let key = world.issue("one").await;
        let id = key.record.key.id;
        let order = revocation(ReasonCode::Unspecified);
        let deny = async || match what {
            "disabled" => drop(authority.keys().disable(&call, id, None).await.unwrap()),
            _ => drop(authority.keys().revoke(&call, id, order).await.unwrap()),
        };
        let (state, written) = after_an_older_copy(&world, id, deny).await;
        let State::Disabled(hold) = state else {
            panic!("{what}: {state:?}")
        };
        assert_eq!(
            (hold.cause == HoldCause::RevokeHold, written),
            (what == "revoked", 1),
            "{what}"
        );
        authority.keys().reactivate(&call, id, None).await.unwrap();
        assert_eq!(world.outcome(key.secret.expose()).await, "valid", "{what}");
    }
}

#[tokio::test]
async fn a_key_whose_newest_secret_is_lost_stays_on_hold_and_the_refusal_has_the_way_out() {
    for is_held in [false, true] {
        let world = World::under(Preset::Standard).await;
        let (authority, call) = (&world.authority, world.call());
        let id = world.issue("one").await.record.key.id;
        let rotated = async || {
            let order = rotation(OverlapWish::Unsaid);
            drop(authority.keys().rotate(&call, id, order).await.unwrap());
            if is_held {
                authority.keys().disable(&call, id, None).await.unwrap();
            }
        };
        let (state, _) = after_an_older_copy(&world, id, rotated).await;
        assert!(matches!(state, State::Disabled(_)), "{state:?}");
        let refused = authority.keys().reactivate(&call, id, None).await.unwrap_err();
        let Failure::Refused { refusal, .. } = refused else {
            panic!("{refused}")
        };
        assert_eq!(refusal, Refusal::SecretLost);
        authority
            .keys()
            .revoke(&call, id, revocation(ReasonCode::Unspecified))
            .await
            .unwrap();
    }
}

/// A revision is assigned a second time after an older copy: the wait for its first change is not over for its second.
#[tokio::test]
async fn a_change_is_not_effective_because_one_of_a_lost_history_with_its_revision_was() {
    let world = World::under(Preset::Standard).await;
    let (node, _) = among(&world);
    catch_up(&node).await;
    let older = world.stage.inner.copy().unwrap();
    world.issue("lost").await;
    catch_up(&node).await;
    let revision = world.stage.inner.head().await.unwrap().revision;
    let change = Awaited::one(&world.tenant, revision);
    let asked = node.asked(change.clone());
    world.pass(60);
    assert_eq!(node.asked(change.clone()), asked, "the same change");
    world.stage.inner.put_back(older, true).unwrap();
    assert_eq!(node.poll_once().await.unwrap(), Progress::Forked);
    world.issue("another").await;
    assert_eq!(world.stage.inner.head().await.unwrap().revision, revision);
    assert_eq!(node.asked(change).committed, world.clock.moment());
}
