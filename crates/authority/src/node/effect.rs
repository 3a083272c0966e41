//! Waiting until a change is effective: each verifier has acknowledged it, or its lease is over by both clocks.

use super::{Node, lock};
use crate::Failure;
use futures_util::future::select;
use keyreeve_core::coherence::grantor::{Own, Pending, Reached, Reading};
use keyreeve_core::coherence::holding::Awaited;
use keyreeve_core::coherence::invariants::InvariantResult;
use keyreeve_store::StoreError;

/// The shortest and the longest pause between two reads of the sessions, in milliseconds.
const PAUSE_MS: (u64, u64) = (1, 64);
/// Between them a pause is this part of what was waited so far, so a wait is at most an eighth too long.
const PAUSE_PART: u64 = 8;
/// Most changes whose first query is remembered. At this number all are dropped, and some wait again.
const ASKED_MAX: usize = 10_000;

impl Node {
    pub(crate) fn check_wait(&self) -> InvariantResult {
        lock(&self.watch).grantor.check()
    }

    /// Rule R7: returns when a change that was just committed is effective everywhere. Rule R8: the same for one that
    /// was committed before.
    pub async fn effective(&self, change: Awaited) -> Result<Reached, Failure> {
        let pending = Pending {
            change,
            committed: self.parts.clock.moment(),
        };
        loop {
            // The hint that makes this node poll goes to the others too, so they may have acknowledged after its poll.
            let polled = self.polls.next();
            if let Some(reached) = self.look(&pending).await {
                return Ok(reached);
            }
            let waited = self.parts.clock.moment().ms_since(pending.committed);
            let pause = (waited / PAUSE_PART).clamp(PAUSE_MS.0, PAUSE_MS.1);
            select(polled, self.parts.timer.sleep_ms(pause)).await;
        }
    }

    /// Returns a change that another caller waits for. Its commit is taken to be no later than the first query here.
    pub fn asked(&self, change: Awaited) -> Pending {
        let now = self.parts.clock.moment();
        let mut asked = lock(&self.asked);
        if asked.len() >= ASKED_MAX {
            asked.clear();
        }
        let committed = *asked.entry(change.newest()).or_insert(now);
        Pending { change, committed }
    }

    /// Forgets what is known of the effect of changes: their revisions may be those of other changes from here on.
    pub(super) fn forget_effects(&self) {
        lock(&self.asked).clear();
        lock(&self.watch).latest = None;
    }

    /// Returns how a change became effective, or `None` if it is not yet.
    pub async fn look(&self, pending: &Pending) -> Option<Reached> {
        let asked = self.parts.clock.moment();
        let reached = self.by_what_is_known(pending);
        if reached.is_some() {
            return reached;
        }
        let _turn = self.reads.lock().await;
        // Another task may have read the sessions while this one waited for the lock.
        let is_read = |reading: &Reading| reading.began.is_surely_at_or_after(asked);
        if lock(&self.watch).latest.as_ref().is_some_and(is_read) {
            return self.by_what_is_known(pending);
        }
        match self.read_sessions().await {
            Ok(reading) => {
                lock(&self.watch).latest = Some(reading);
                self.by_what_is_known(pending)
            }
            // The database cannot be reached. The commit is in it, and every lease ends without a further statement.
            Err(_) => {
                let now = self.parts.clock.moment();
                let is_over = lock(&self.watch).grantor.is_outwaited(pending, now);
                is_over.then_some(Reached::Outwaited { verifiers: 1 })
            }
        }
    }

    fn by_what_is_known(&self, pending: &Pending) -> Option<Reached> {
        let holder = lock(&self.holder)
            .as_ref()
            .map(|holder| (holder.session(), holder.applied_revision()));
        // After the applied revision was read: the orders of what was applied are then among the held ones.
        let now = self.parts.clock.moment();
        let is_held = self.parts.verifier.children().hold(&pending.change, now);
        let own = holder.map(|(session, applied)| Own {
            session,
            applied,
            is_held,
        });
        let watch = lock(&self.watch);
        let reading = watch.latest.as_ref()?;
        let now = self.parts.clock.moment();
        let reached = watch.grantor.reached(pending, own.as_ref(), reading, now);
        let counts = self.parts.verifier.invariants();
        counts.note(watch.grantor.check_reached(reached, pending, reading, now));
        reached
    }

    /// Reads all live sessions. Rule R9: those that have not moved for W are marked dead.
    async fn read_sessions(&self) -> Result<Reading, StoreError> {
        let began = self.parts.clock.moment();
        let sessions = self.parts.cluster.sessions().await?;
        let reading = Reading {
            began,
            answered: self.parts.clock.moment(),
            sessions: sessions.rows.into_iter().map(|session| session.seen).collect(),
            era: sessions.era,
        };
        let dead = {
            let mut watch = lock(&self.watch);
            let dead = watch.grantor.to_bury(&reading);
            self.parts
                .verifier
                .invariants()
                .note(watch.grantor.check_dead(&dead, &reading));
            dead
        };
        // The update repeats the counts, so a session that renews at the same moment stays alive.
        for session in dead {
            self.parts.cluster.remove_dead_session(&session).await?;
        }
        Ok(reading)
    }

    /// Reads the sessions when no change waits, so that dead ones are found (rule R9).
    pub async fn tidy(&self) -> Result<(), Failure> {
        self.read_sessions().await?;
        Ok(())
    }
}
