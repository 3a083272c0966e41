//! Readiness of this process, for `/readyz` and for gRPC health checks.

use keyreeve_authority::Authority;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Time limit for an answer of the store; without one the process is not ready.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long the store's answer is reused, so that many requests cause few statements.
const FRESH: Duration = Duration::from_millis(500);

/// Whether this process can verify.
#[derive(Debug)]
pub(crate) struct Readiness {
    authority: Arc<Authority>,
    is_stopping: AtomicBool,
    /// The store's last answer.
    last: Mutex<Option<(Instant, bool)>>,
}

impl Readiness {
    pub(crate) fn new(authority: Arc<Authority>) -> Self {
        Self {
            authority,
            is_stopping: AtomicBool::new(false),
            last: Mutex::default(),
        }
    }

    /// Marks the process as not ready.
    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
    }

    /// Returns whether the process is stopping.
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Returns why the process cannot verify now; `None` if it can.
    pub(crate) async fn not_ready(&self) -> Option<&'static str> {
        if self.is_stopping() {
            return Some("stopping");
        }
        let node = self.authority.node().map(|node| node.health());
        if node.is_some_and(|health| health.is_on_probation) {
            return Some("this node lost its lease too often and is on probation");
        }
        if node.is_some_and(|health| health.is_recovering) {
            return Some("the database's history has changed, and lost denials are written to it again");
        }
        if !self.authority.holds_lease() {
            return Some("this node holds no lease");
        }
        if self.authority.clock_behind().is_some() {
            return Some("the clock is behind the time that was given before: keys are evaluated at the later time");
        }
        if self.authority.verifier().withheld().is_some() {
            return Some("the database was restored, and the operator has not decided which keys may be used");
        }
        (!self.is_answered().await).then_some("the store does not answer")
    }

    /// Returns whether the store can look up a secret. Concurrent callers share one query: the lock is held while it
    /// runs.
    pub(crate) async fn is_answered(&self) -> bool {
        let mut last = self.last.lock().await;
        if let Some((at, is_answered)) = *last
            && at.elapsed() < FRESH
        {
            return is_answered;
        }
        let asked = tokio::time::timeout(TIMEOUT, self.authority.can_judge()).await;
        let is_answered = matches!(asked, Ok(Ok(())));
        *last = Some((Instant::now(), is_answered));
        is_answered
    }
}
