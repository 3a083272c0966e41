//! The thread that holds this node's lease. It does nothing else and shares no runtime, so that no load of requests can
//! keep it from polling (rule R11).

use crate::world::OsEntropy;
use keyreeve_authority::env::Entropy as _;
use keyreeve_authority::node::Progress;
use keyreeve_authority::{Failure, Node};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot, watch};

/// The longest time between two polls, in milliseconds; less for a short lease.
const POLL_MS_MAX: u64 = 1_000;
/// Pause after a failed poll.
const RETRY: Duration = Duration::from_millis(200);
/// Polls before the first lease: one registers, one renews, one acknowledges changes of that time; before them, one may
/// find that the database was restored to an older state.
const FIRST_POLLS: usize = 5;

/// The running thread.
#[derive(Debug)]
pub(crate) struct NodeThread {
    stop: watch::Sender<bool>,
    ended: oneshot::Receiver<()>,
}

impl NodeThread {
    /// Starts the thread and waits for the first lease. After an error no session is left behind.
    pub(crate) async fn start(node: Arc<Node>) -> Result<Self, Failure> {
        let (stop, stopping) = watch::channel(false);
        let (begun, first) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let spawned = std::thread::Builder::new()
            .name("lease".to_owned())
            .spawn(move || run(&node, begun, stopping, end));
        spawned.map_err(|error| Failure::Unavailable(format!("no thread for the lease: {error}")))?;
        let lost = |_| Failure::Unavailable("the thread for the lease ended".to_owned());
        first.await.map_err(lost)??;
        Ok(Self { stop, ended })
    }

    /// Releases the lease and ends the thread.
    pub(crate) async fn stop(self) {
        let _gone = self.stop.send(true);
        // If the thread has ended already, so has the lease.
        drop(self.ended.await);
    }
}

fn run(
    node: &Node,
    begun: oneshot::Sender<Result<(), Failure>>,
    stopping: watch::Receiver<bool>,
    end: oneshot::Sender<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(hold(node, begun, stopping)),
        Err(error) => {
            let failure = Failure::Unavailable(format!("no runtime for the lease: {error}"));
            drop(begun.send(Err(failure)));
        }
    }
    // The receiver may be dropped.
    let _gone = end.send(());
}

async fn hold(node: &Node, begun: oneshot::Sender<Result<(), Failure>>, mut stopping: watch::Receiver<bool>) {
    if let Err(error) = first_lease(node).await {
        // Before the error is reported, because the process may end then and changes would wait for its session.
        leave(node).await;
        let _gone = begun.send(Err(error));
        return;
    }
    if begun.send(Ok(())).is_err() {
        return leave(node).await;
    }
    // An acknowledgement of a connected verifier is passed on by a poll at once: a change on another node may wait for
    // it.
    let acknowledged = Arc::new(Notify::new());
    let wake = Arc::clone(&acknowledged);
    node.on_children_acknowledged(move || wake.notify_one());
    let (mut failing, mut on_probation) = (false, false);
    loop {
        let pause = match node.poll_once().await {
            Ok(Progress::Quiet) => {
                if std::mem::take(&mut on_probation) {
                    tracing::info!("probation ended");
                }
                if std::mem::take(&mut failing) {
                    tracing::info!("lease renewed");
                }
                interval(node.lease_ms())
            }
            Ok(Progress::Applied | Progress::Registered) => continue,
            Ok(Progress::Forked) => {
                tell_of_fork();
                continue;
            }
            Ok(Progress::OnProbation) => {
                if !std::mem::replace(&mut on_probation, true) {
                    tracing::error!(
                        "this node lost its lease or was killed too often while changes waited for it: it answers 503, \
                         and changes do not wait for it, until it has polled in time for a while"
                    );
                }
                interval(node.lease_ms())
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, lease_left_ms = node.lease_left_ms(), "lease not renewed");
                }
                RETRY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = node.hinted() => {}
            () = acknowledged.notified() => {}
            _ = stopping.wait_for(|&stopping| stopping) => break,
        }
    }
    leave(node).await;
}

async fn leave(node: &Node) {
    if let Err(error) = node.leave().await {
        tracing::warn!(%error, "cannot release the lease; changes on other nodes wait until it ends");
    }
}

async fn first_lease(node: &Node) -> Result<(), Failure> {
    for _ in 0..FIRST_POLLS {
        match node.poll_once().await? {
            Progress::Quiet => break,
            Progress::Forked => tell_of_fork(),
            Progress::Applied | Progress::Registered | Progress::OnProbation => {}
        }
    }
    Ok(())
}

fn tell_of_fork() {
    tracing::error!(
        "the database's history has changed: it may have lost acknowledged changes. Lost denials are written to it \
         again"
    );
}

/// Returns the time until the next poll: a fifth of the lease, a second at most, varied by a fifth so that nodes that
/// were started together do not poll together.
fn interval(lease_ms: u64) -> Duration {
    let ms = POLL_MS_MAX.min(lease_ms / 5);
    let mut byte = [128];
    // Without entropy they poll together, which is harmless.
    drop(OsEntropy.fill(&mut byte));
    let fifths = ms * u64::from(byte[0]) * 2 / (5 * 255);
    Duration::from_millis(ms * 4 / 5 + fifths)
}
