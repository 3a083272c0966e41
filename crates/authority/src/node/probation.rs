//! Rule R17 against the database: a node on probation has no session, so no change waits for it.

use super::{Node, Progress, lock};
use crate::Failure;
use keyreeve_core::coherence::Lease;
use keyreeve_core::coherence::holder::{Poll, SessionId};
use keyreeve_core::coherence::invariants::InvariantResult;
use keyreeve_core::coherence::probation::Probation;
use keyreeve_store::cluster::NodeSession;

impl Node {
    pub(crate) fn check_probation(&self, session: Option<SessionId>, lease: &Lease) -> InvariantResult {
        lock(&self.probation).check(session, lease)
    }

    /// Notes a lease that ended before it was renewed, if a change may have waited for it: the process stood still, or
    /// changes were made since the last poll. A database that no node can reach does not count, because nothing can be
    /// changed without it. Returns whether the node is on probation now.
    pub(super) fn has_lost_too_often(&self, poll: &Poll, head: u64, stood_still: bool) -> bool {
        let had_ended = self.parts.verifier.lease().deadline().has_ended(poll.sent);
        if !had_ended || !(stood_still || head > poll.applied) {
            return false;
        }
        // It has ended already. Dropping it counts it once.
        self.parts.verifier.lease().drop_now();
        lock(&self.health).lease_losses += 1;
        lock(&self.probation).lost(poll.sent)
    }

    /// Whether earlier processes of this node ended without leaving too often, for instance because a supervisor restarts
    /// it in a loop. Then it has no session until it has run for a while. Without other nodes no change waits any less
    /// for that. Only the first call that succeeds can return true.
    pub(super) async fn was_killed_too_often(&self) -> Result<bool, Failure> {
        let Some(times) = self.notes.former_ends(self.parts.clock.earliest()) else {
            return Ok(false);
        };
        let is_often = Probation::is_too_often(times) && self.has_other_nodes().await?;
        self.notes.judge_former_ends();
        let is_on = is_often && lock(&self.probation).was_killed(times, self.parts.clock.moment());
        lock(&self.health).is_on_probation |= is_on;
        Ok(is_on)
    }

    /// Whether a node of another name is running: it has a session that it has renewed within a lease. Those of nodes
    /// that were killed remain for a while.
    async fn has_other_nodes(&self) -> Result<bool, Failure> {
        let sessions = self.parts.cluster.sessions().await?;
        let is_other =
            |session: &NodeSession| session.node != self.parts.name && session.silent_ms < self.parts.lease_ms;
        Ok(sessions.rows.iter().any(is_other))
    }

    /// Ends the session, so that no change waits for it.
    pub(super) async fn begin_probation(&self) -> Result<Progress, Failure> {
        lock(&self.health).is_on_probation = true;
        // If this fails, the other nodes wait for the session to expire.
        self.leave().await?;
        Ok(Progress::OnProbation)
    }

    /// A poll without a session. The history is compared first, as in each registration.
    pub(super) async fn poll_on_probation(&self) -> Result<Progress, Failure> {
        let sent = self.parts.clock.moment();
        if self.has_other_history().await? {
            return Ok(self.forked());
        }
        let is_over = lock(&self.probation).polled(sent, self.parts.clock.moment());
        if !is_over && (!lock(&self.probation).is_for_kills() || self.has_other_nodes().await?) {
            return Ok(Progress::OnProbation);
        }
        lock(&self.probation).end();
        lock(&self.health).is_on_probation = false;
        self.register().await
    }
}
