//! Cluster operations: what every database for several nodes must do.

use crate::owners::set_tenant;
use crate::world::{NOW, World, context, draft, later, revoke_order};
use keyreeve_core::access::Permissions;
use keyreeve_core::audit::Action;
use keyreeve_core::coherence::holding::{Awaited, ChangeScope, Holding, Span};
use keyreeve_core::lifecycle::Outcome;
use keyreeve_core::policy::Undo;
use keyreeve_core::text::Slug;
use keyreeve_core::user::{Status, UserEdit};
use keyreeve_core::{Digest, User, UserId};
use keyreeve_store::cluster::{Cluster, Touched};
use keyreeve_store::model::{AuditDraft, ChangeFacts, UserChange};
use keyreeve_store::{Commit, KeyOutcome, StoreError, describe};
use std::sync::Arc;

const ONE: [u8; 16] = [1; 16];
const TWO: [u8; 16] = [2; 16];

fn cluster(world: &World) -> Option<Arc<dyn Cluster>> {
    world.cluster.clone()
}

/// Whether the session `ONE` is still renewed when it acknowledges everything up to a revision.
async fn renews(cluster: &dyn Cluster, revision: u64) -> bool {
    let polled = cluster
        .poll(&renewal(ONE, revision), &Holding::default())
        .await
        .unwrap();
    polled.answer.is_renewed
}

/// Returns what the changes after a revision touched, merged.
async fn touched(cluster: &dyn Cluster, after: u64) -> Commit {
    let polled = cluster.poll(&renewal(ONE, after), &Holding::default()).await.unwrap();
    let mut all = Commit::default();
    for change in polled.changes {
        match change.touched {
            Touched::Known(commit) => {
                all.secrets.extend(commit.secrets);
                all.root_keys.extend(commit.root_keys);
                all.tenants.extend(commit.tenants);
                all.owners.extend(commit.owners);
            }
            Touched::Everything => panic!("an ordinary change touches known things"),
        }
        all.revision = change.revision;
    }
    all
}

pub async fn a_session_is_there_until_it_is_buried_and_then_refused(world: World) {
    let Some(cluster) = cluster(&world) else { return };
    let registered = cluster.register(ONE, "first").await.unwrap();
    let head = world.store.head().await.unwrap();
    assert_eq!((registered.head, registered.chain), (head.revision, head.chain));
    cluster.register(TWO, "second").await.unwrap();
    assert!(renews(&*cluster, registered.head).await);
    let sessions = cluster.sessions().await.unwrap().rows;
    assert_eq!(sessions.len(), 2);
    let first = sessions.iter().find(|one| one.seen.session == ONE).unwrap();
    assert_eq!((first.node.as_str(), first.seen.renewals), ("first", 1));
    cluster.remove_dead_session(&stopped_at(ONE, 1)).await.unwrap();
    assert!(!renews(&*cluster, registered.head).await);
    let sessions = cluster.sessions().await.unwrap().rows;
    assert_eq!(sessions.iter().map(|one| one.seen.session).collect::<Vec<_>>(), [TWO]);
}

pub async fn what_a_nodes_verifiers_have_not_stands_beside_what_it_acknowledges(world: World) {
    let Some(cluster) = cluster(&world) else { return };
    let start = cluster.register(ONE, "first").await.unwrap().head;
    let seen = async || cluster.sessions().await.unwrap().rows.remove(0).seen;
    assert!(seen().await.holding.is_empty());
    let mut holding = Holding::default();
    holding.add(Some(&ChangeScope::Tenant(world.tenant.clone())), Span::one(start));
    cluster.poll(&renewal(ONE, start), &holding).await.unwrap();
    let told = seen().await;
    assert_eq!((told.acked, &told.holding), (start, &holding));
    assert!(told.holding.covers(&Awaited::one(&world.tenant, start)));
    cluster.poll(&renewal(ONE, start), &Holding::default()).await.unwrap();
    assert!(seen().await.holding.is_empty());
}

pub async fn a_session_that_moved_is_not_buried(world: World) {
    let Some(cluster) = cluster(&world) else { return };
    let registered = cluster.register(ONE, "first").await.unwrap();
    cluster
        .poll(&renewal(ONE, registered.head), &Holding::default())
        .await
        .unwrap();
    cluster.remove_dead_session(&stopped_at(ONE, 0)).await.unwrap();
    assert!(renews(&*cluster, registered.head).await);
}

pub async fn a_poll_brings_what_came_since_with_what_it_touched(world: World) {
    let Some(cluster) = cluster(&world) else { return };
    let start = cluster.register(ONE, "first").await.unwrap().head;
    let key = world.issue("user_1", "one").await;
    let made = touched(&*cluster, start).await;
    world.revoke(key.id).await;
    assert_eq!(touched(&*cluster, made.revision).await.secrets, [key.secret.digest]);
    let rotated = world.issue("user_1", "two").await;
    let fresh = world.secret();
    let (after, digest) = (world.revision().await, fresh.digest);
    let order = keyreeve_core::lifecycle::RotateOrder {
        secret: fresh,
        name: None,
        expiry: keyreeve_core::policy::ExpiryWish::Unsaid,
        overlap: keyreeve_core::policy::OverlapWish::Unsaid,
    };
    world
        .change(rotated.id, move |key, policy| key.rotate(order, policy, NOW))
        .await
        .unwrap();
    let mut both: Vec<Digest> = touched(&*cluster, after).await.secrets;
    both.sort_by_key(|digest| *digest.bytes());
    let mut expected = vec![rotated.secret.digest, digest];
    expected.sort_by_key(|digest| *digest.bytes());
    assert_eq!(both, expected, "the old secret and the new one");
    let after = world.revision().await;
    world.delete(rotated.id).await;
    assert_eq!(
        touched(&*cluster, after).await.secrets.len(),
        2,
        "an erased key's secrets are named too"
    );
}

pub async fn a_poll_says_of_tenants_and_owners_how_they_are_now(world: World) {
    let Some(cluster) = cluster(&world) else { return };
    let start = cluster.register(ONE, "first").await.unwrap().head;
    let user = person(&world.tenant);
    world.store.create_user(context(), user.clone()).await.unwrap();
    for status in [Status::Suspended, Status::Active, Status::Suspended] {
        let edit = UserEdit {
            status: Some(status),
            ..UserEdit::default()
        };
        let change = UserChange {
            tenant: world.tenant.clone(),
            id: user.id,
            edit,
            giver: Permissions::all(),
            is_forced: true,
        };
        world.store.change_user(context(), change).await.unwrap();
    }
    let owners = touched(&*cluster, start).await.owners;
    assert!(!owners.is_empty() && owners.iter().all(|owner| owner.is_blocked));
    assert_eq!(owners[0].subject, user.subject().unwrap());
    let after = world.revision().await;
    set_tenant(&world, Status::Suspended).await;
    let tenants = touched(&*cluster, after).await.tenants;
    assert_eq!(tenants.len(), 1);
    assert_eq!(
        (&tenants[0].slug, tenants[0].status),
        (&world.tenant, Status::Suspended)
    );
}

fn person(tenant: &Slug) -> User {
    User {
        id: UserId::from_bytes([9; 16]),
        tenant: tenant.clone(),
        email: keyreeve_core::user::Email::parse("a@example.org").unwrap(),
        name: None,
        role: keyreeve_core::access::Role::Member,
        status: Status::Active,
        password: None,
        created_at: later(0),
        updated_at: later(0),
    }
}

/// Nodes that have applied a final revocation write it again as final.
pub async fn a_poll_brings_whether_a_revocation_is_final(world: World) {
    let Some(cluster) = cluster(&world) else { return };
    let start = cluster.register(ONE, "first").await.unwrap().head;
    let (held, ended) = (
        world.issue("user_1", "held").await,
        world.issue("user_1", "ended").await,
    );
    for (id, undo) in [(held.id, Undo::Always), (ended.id, Undo::Never)] {
        let mut request = world.change_request(id, |key, _| Ok(Outcome::Unchanged(key)));
        request.decide = Box::new(move |facts: ChangeFacts<'_>| {
            let mut policy = facts.policy.clone();
            policy.revoke.undo = undo;
            let outcome = facts.key.revoke(revoke_order(), &policy, NOW)?;
            let draft = AuditDraft {
                after: Some(describe::key(outcome.key())),
                ..draft(Action::KeyRevoked)
            };
            Ok((outcome, draft))
        });
        world.store.change(context(), request).await.unwrap();
    }
    let polled = cluster.poll(&renewal(ONE, start), &Holding::default()).await.unwrap();
    let mut outcomes = Vec::new();
    for change in polled.changes {
        let Touched::Known(commit) = change.touched else {
            panic!("known")
        };
        outcomes.extend(commit.keys.iter().map(|news| (news.id, news.outcome)));
    }
    let expected = [(held.id, KeyOutcome::Withdrawn), (ended.id, KeyOutcome::Ended)];
    assert_eq!(outcomes, expected);
}

pub async fn a_poll_acknowledges_and_says_where_the_chain_was(world: World) {
    let Some(cluster) = cluster(&world) else { return };
    let start = cluster.register(ONE, "first").await.unwrap();
    world.issue("user_1", "one").await;
    let polled = cluster
        .poll(&renewal(ONE, start.head), &Holding::default())
        .await
        .unwrap();
    assert_eq!(polled.answer.chain, Some(start.chain));
    assert_eq!(polled.answer.head, start.head + 1);
    let head = world.store.head().await.unwrap();
    assert_eq!(polled.answer.last, Some((head.revision, head.chain)));
    assert!(!polled.answer.is_replica);
    assert_eq!(cluster.sessions().await.unwrap().rows[0].seen.acked, start.head);
    cluster
        .poll(&renewal(ONE, head.revision), &Holding::default())
        .await
        .unwrap();
    assert_eq!(cluster.sessions().await.unwrap().rows[0].seen.acked, head.revision);
    assert_eq!(
        cluster
            .poll(&renewal(ONE, head.revision + 5), &Holding::default())
            .await
            .unwrap()
            .answer
            .chain,
        None
    );
}

pub async fn nodes_agree_on_one_lease(world: World) {
    let Some(cluster) = cluster(&world) else { return };
    assert_eq!(cluster.agree_on_lease(None, 15_000).await.unwrap(), 15_000);
    assert_eq!(
        cluster.agree_on_lease(Some(4_000), 15_000).await.unwrap(),
        4_000,
        "nobody is there yet"
    );
    cluster.register(ONE, "first").await.unwrap();
    assert_eq!(cluster.agree_on_lease(None, 15_000).await.unwrap(), 4_000);
    assert_eq!(cluster.agree_on_lease(Some(4_000), 15_000).await.unwrap(), 4_000);
    let other = cluster.agree_on_lease(Some(5_000), 15_000).await;
    assert!(matches!(other, Err(StoreError::Disagreement(_))), "{other:?}");
    cluster.remove_dead_session(&stopped_at(ONE, 0)).await.unwrap();
    assert_eq!(cluster.agree_on_lease(Some(5_000), 15_000).await.unwrap(), 5_000);
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

/// Returns the reading of a session that stopped after this many polls, all of which renewed.
fn stopped_at(session: [u8; 16], polls: u64) -> keyreeve_core::coherence::grantor::SeenNode {
    keyreeve_core::coherence::grantor::SeenNode {
        session,
        acked: 0,
        renewals: polls,
        holding: Holding::default(),
        leases: polls,
    }
}
