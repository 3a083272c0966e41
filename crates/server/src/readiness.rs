//! Whether this process can do its work, for `/readyz` and for health checks over gRPC.

use crate::App;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long the store may take to answer before the process counts as not ready.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long an answer of the store is passed on: a flood of questions is no flood of statements.
const FRESH: Duration = Duration::from_millis(500);

/// The store's last answer.
#[derive(Debug, Default)]
pub(crate) struct Readiness(Mutex<Option<(Instant, bool)>>);

impl App {
    /// Why the process cannot judge calls now; `None` if it can.
    pub(crate) async fn trouble(&self) -> Option<&'static str> {
        if self.is_stopping() {
            return Some("stopping");
        }
        let node = self.authority().node().map(|node| node.health());
        if node.is_some_and(|health| health.is_on_probation) {
            return Some("this node lost its lease too often, and holds none for a while");
        }
        if node.is_some_and(|health| health.is_recovering) {
            return Some("the database's history is another one than before, and is told what it has lost");
        }
        if !self.authority().holds_lease() {
            return Some("this node holds no lease");
        }
        if self.authority().clock_behind().is_some() {
            return Some("the clock is behind the time that was given before: keys are judged by the later time");
        }
        (!self.is_answered().await).then_some("the store does not answer")
    }

    /// Whether the store answers what it is asked about a secret. Of those who ask at the same time, one asks for all.
    pub(crate) async fn is_answered(&self) -> bool {
        let mut last = self.readiness().0.lock().await;
        if let Some((at, is_answered)) = *last
            && at.elapsed() < FRESH
        {
            return is_answered;
        }
        let asked = tokio::time::timeout(TIMEOUT, self.authority().can_judge()).await;
        let is_answered = matches!(asked, Ok(Ok(())));
        *last = Some((Instant::now(), is_answered));
        is_answered
    }
}
