//! A node and its polls: when it detects another history, and what it reads while it may hold no lease.

use crate::world::{Counter, World, wish};
use keyreeve_authority::env::{Clock, Entropy, Timer};
use keyreeve_authority::node::{NoNotebook, NodeParts, Notebook, Progress};
use keyreeve_authority::{Authority, Failure, Node, VerifierMemory};
use keyreeve_core::coherence::invariants::Invariant;
use keyreeve_core::policy::Preset;
use keyreeve_store::cluster::Cluster;
use keyreeve_store::{CommitObserver, Intercepted};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

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
    parts_with(world, Arc::new(NoNotebook))
}

fn parts_with(world: &World, notebook: Arc<dyn Notebook>) -> (Arc<Node>, Authority) {
    let verifier = Arc::new(VerifierMemory::leased(1_000));
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
        store: Arc::new(Intercepted(Arc::clone(&world.stage))),
        verifier: Arc::clone(&verifier),
        clock: Arc::clone(&clock),
        timer: Arc::clone(&timer),
        entropy: Arc::clone(&entropy),
        name: "n1".to_owned(),
        lease_ms: LEASE_MS,
        require_sync: false,
        notebook,
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
            authority.keys().issue(&call, vec![wish("meanwhile")]).await.unwrap();
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

/// The data directory of a node, across its processes.
#[derive(Default)]
struct DataDirectory(Mutex<Vec<String>>);

impl Notebook for DataDirectory {
    fn lines(&self) -> Result<Vec<String>, Failure> {
        Ok(self.0.lock().unwrap().clone())
    }

    fn append(&self, lines: &[String]) -> Result<(), Failure> {
        self.0.lock().unwrap().extend_from_slice(lines);
        Ok(())
    }

    fn replace(&self, lines: &[String]) -> Result<(), Failure> {
        *self.0.lock().unwrap() = lines.to_vec();
        Ok(())
    }
}

/// Starts a process of a node, and returns it after its first poll.
async fn started(world: &World, directory: &Arc<DataDirectory>) -> (Arc<Node>, Progress) {
    let (node, _) = parts_with(world, Arc::clone(directory) as Arc<dyn Notebook>);
    let progress = node.poll_once().await.unwrap();
    (node, progress)
}

#[tokio::test]
async fn a_node_that_was_killed_three_times_in_ten_minutes_has_no_session_until_it_has_run_for_two_leases() {
    let world = World::under(Preset::Standard).await;
    let directory = Arc::new(DataDirectory::default());
    world.stage.inner.register([9; 16], "another").await.unwrap();
    for start in 0..3 {
        let (_, progress) = started(&world, &directory).await;
        assert_eq!(progress, Progress::Registered, "{start}");
        world.pass(200);
    }
    let (node, progress) = started(&world, &directory).await;
    assert_eq!((progress, node.session()), (Progress::OnProbation, None));
    assert!(node.health().is_on_probation);
    let began = world.clock.moment();
    while node.poll_once().await.unwrap() == Progress::OnProbation {
        world.clock.0.fetch_add(500, Ordering::Relaxed);
    }
    assert_eq!(world.clock.moment().ms_since(began), 2 * LEASE_MS);
    assert!(node.session().is_some());
    // Killed on probation, it would have left nothing to wait for; killed now, it has.
    world.pass(1);
    let (node, progress) = started(&world, &directory).await;
    assert_eq!((progress, node.session()), (Progress::OnProbation, None));
    world.pass(601);
    let (_, progress) = started(&world, &directory).await;
    assert_eq!(progress, Progress::Registered, "ten minutes later");
}

#[tokio::test]
async fn a_node_that_is_stopped_and_started_is_not_delayed() {
    let world = World::under(Preset::Standard).await;
    let directory = Arc::new(DataDirectory::default());
    for start in 0..6 {
        let (node, progress) = started(&world, &directory).await;
        assert_eq!(progress, Progress::Registered, "{start}");
        node.leave().await.unwrap();
        world.pass(1);
    }
}

/// Changes of its own wait for its former sessions, whether it has a new one or not.
#[tokio::test]
async fn a_node_without_others_is_never_delayed_by_its_former_ends() {
    let world = World::under(Preset::Standard).await;
    let directory = Arc::new(DataDirectory::default());
    for start in 0..6 {
        let (_, progress) = started(&world, &directory).await;
        assert_eq!(progress, Progress::Registered, "{start}");
        world.pass(1);
    }
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
