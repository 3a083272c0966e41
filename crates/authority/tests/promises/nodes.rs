//! A node and its polls: when it detects another history, and what it reads while it may hold no lease.

use crate::world::{Counter, World, wish};
use keyreeve_authority::env::{Clock, Entropy, Timer};
use keyreeve_authority::node::{NoNotebook, NodeParts, Progress};
use keyreeve_authority::{Authority, Node, Verifier};
use keyreeve_core::coherence::invariants::Invariant;
use keyreeve_core::policy::Preset;
use keyreeve_store::cluster::Cluster;
use keyreeve_store::{CommitObserver, Store};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

const LEASE_MS: u64 = 2_000;

/// Returns another process on the store of a world, and its node. The process's changes do not wait for the node.
fn node_of(world: &World) -> (Arc<Node>, Arc<Authority>) {
    let (node, authority) = parts_of(world);
    (node, Arc::new(authority))
}

/// As `node_of`, where the process is one of several nodes.
pub fn among(world: &World) -> (Arc<Node>, Authority) {
    let (node, authority) = parts_of(world);
    let authority = authority.among(Arc::clone(&node));
    (node, authority)
}

fn parts_of(world: &World) -> (Arc<Node>, Authority) {
    let verifier = Arc::new(Verifier::leased(1_000));
    let seen = world
        .stage
        .inner
        .seen_by(Arc::clone(&verifier) as Arc<dyn CommitObserver>);
    let shared = Arc::new(seen);
    let clock = Arc::clone(&world.clock) as Arc<dyn Clock>;
    let timer = Arc::clone(&world.clock) as Arc<dyn Timer>;
    let entropy = Arc::new(Counter(AtomicU64::new(u64::MAX / 8))) as Arc<dyn Entropy>;
    let node = Arc::new(Node::new(NodeParts {
        cluster: Arc::clone(&shared) as Arc<dyn Cluster>,
        store: Arc::clone(&world.stage) as Arc<dyn Store>,
        verifier: Arc::clone(&verifier),
        clock: Arc::clone(&clock),
        timer: Arc::clone(&timer),
        entropy: Arc::clone(&entropy),
        name: "n1".to_owned(),
        lease_ms: LEASE_MS,
        require_sync: false,
        notebook: Arc::new(NoNotebook),
    }));
    let authority = Authority::new(shared, verifier, clock, entropy, timer);
    (node, authority)
}

#[tokio::test]
async fn a_commit_of_its_own_during_its_registration_is_not_another_history() {
    let world = World::under(Preset::Standard).await;
    let (node, authority) = node_of(&world);
    let call = world.call();
    let issue: Box<dyn FnOnce() -> _ + Send> = Box::new(move || {
        Box::pin(async move {
            authority.issue(&call, vec![wish("meanwhile")]).await.unwrap();
        }) as futures_util::future::BoxFuture<'static, ()>
    });
    *world.stage.meanwhile_head.lock().unwrap() = Some(issue);
    assert_eq!(node.poll_once().await.unwrap(), Progress::Registered);
    assert_eq!(node.health().forks, 0);
}

#[tokio::test]
async fn a_node_that_may_hold_no_lease_yet_fetches_every_change_once() {
    let world = World::under(Preset::Standard).await;
    let (node, _) = node_of(&world);
    // Another node has detected an older copy: no node holds a lease for W.
    world.stage.inner.note_fork().await.unwrap();
    assert_eq!(node.poll_once().await.unwrap(), Progress::Registered);
    world.issue("one").await;
    assert_eq!(node.poll_once().await.unwrap(), Progress::Applied);
    assert_eq!(node.poll_once().await.unwrap(), Progress::Quiet);
    assert_eq!(node.lease_left_ms(), 0);
}

/// A violation is counted where it is found, and the node goes on.
#[tokio::test]
async fn a_lease_that_no_poll_explains_is_counted_and_nothing_else_is() {
    let world = World::under(Preset::Standard).await;
    let (node, authority) = node_of(&world);
    let violated = || {
        let counts: Vec<_> = authority.verifier().invariants().read().collect();
        let violated = counts.into_iter().filter(|(_, count, _)| *count > 0);
        violated
            .map(|(invariant, count, _)| (invariant, count))
            .collect::<Vec<_>>()
    };
    assert_eq!(node.poll_once().await.unwrap(), Progress::Registered);
    assert_eq!(node.poll_once().await.unwrap(), Progress::Quiet);
    authority.check_invariants();
    authority.check_memory();
    assert_eq!(violated(), []);
    authority.verifier().lease().extend(world.clock.moment(), 10 * LEASE_MS);
    node.check_invariants();
    assert_eq!(violated(), [(Invariant::LeaseEnd, 1)]);
    assert!(node.lease_left_ms() > 0, "it still answers");
}
