//! Waiting until a change is effective: every verifier has acknowledged it, or its lease is surely over.

use super::{Node, lock};
use crate::Failure;
use futures_channel::oneshot;
use futures_util::FutureExt as _;
use futures_util::future::{Shared, select};
use keyreeve_core::coherence::grantor::{Own, Pending, Reached, Reading};
use keyreeve_core::coherence::holding::Awaited;
use keyreeve_store::StoreError;
use std::sync::Mutex;

/// The shortest and the longest pause between two looks at the sessions, in milliseconds.
const PAUSE_MS: (u64, u64) = (1, 64);
/// Between them, a pause is this part of what was waited so far: nearly nothing is waited too long.
const PAUSE_PART: u64 = 8;
/// Most changes that are remembered as asked about; then it begins anew, and some wait again.
const ASKED_MAX: usize = 10_000;

/// Polls that were answered, for whoever waits for the next one.
#[derive(Debug)]
pub(super) struct Polls(Mutex<Next>);

/// The sender is dropped with the poll, and all who share the other end wake up.
type Next = (oneshot::Sender<()>, Shared<oneshot::Receiver<()>>);

fn next() -> Next {
    let (sender, receiver) = oneshot::channel();
    (sender, receiver.shared())
}

impl Default for Polls {
    fn default() -> Self {
        Self(Mutex::new(next()))
    }
}

impl Polls {
    /// Comes back with the first poll that is answered after this call.
    fn next(&self) -> Shared<oneshot::Receiver<()>> {
        lock(&self.0).1.clone()
    }

    /// A poll was answered.
    pub(super) fn tell(&self) {
        let told = std::mem::replace(&mut *lock(&self.0), next());
        // Whoever waits is woken outside of the lock.
        drop(told);
    }
}

impl Node {
    /// Rule R7: comes back when a change that was just committed is effective everywhere. Rule R8: the same for one
    /// that was committed before.
    pub async fn effective(&self, change: Awaited) -> Result<Reached, Failure> {
        let pending = Pending {
            change,
            committed: self.parts.clock.moment(),
        };
        loop {
            // The others were told of the change when this node was: a poll of its own is a good moment to look.
            let polled = self.polls.next();
            if let Some(reached) = self.look(&pending).await {
                return Ok(reached);
            }
            let waited = self.parts.clock.moment().ms_since(pending.committed);
            let pause = (waited / PAUSE_PART).clamp(PAUSE_MS.0, PAUSE_MS.1);
            select(polled, self.parts.timer.sleep_ms(pause)).await;
        }
    }

    /// A change that somebody else waits for: it was committed at the latest when it was first asked about here.
    pub fn asked(&self, change: Awaited) -> Pending {
        let now = self.parts.clock.moment();
        let mut asked = lock(&self.asked);
        if asked.len() >= ASKED_MAX {
            asked.clear();
        }
        let committed = *asked.entry(change.newest()).or_insert(now);
        Pending { change, committed }
    }

    /// Whether a change is effective now.
    pub async fn look(&self, pending: &Pending) -> Option<Reached> {
        let asked = self.parts.clock.moment();
        let reached = self.by_what_is_known(pending);
        if reached.is_some() {
            return reached;
        }
        let _turn = self.reads.lock().await;
        let is_read = |reading: &Reading| reading.began.is_surely_at_or_after(asked);
        if lock(&self.watch).latest.as_ref().is_some_and(is_read) {
            return self.by_what_is_known(pending);
        }
        match self.read_sessions().await {
            Ok(reading) => {
                lock(&self.watch).latest = Some(reading);
                self.by_what_is_known(pending)
            }
            // The database is away. The commit stands all the same, and every lease ends by itself.
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
        // After what is applied was read: what that brought is held already, if a child was told of it.
        let now = self.parts.clock.moment();
        let is_held = self.parts.verifier.children().hold(&pending.change, now);
        let own = holder.map(|(session, applied)| Own {
            session,
            applied,
            is_held,
        });
        let watch = lock(&self.watch);
        let reading = watch.latest.as_ref()?;
        watch
            .grantor
            .reached(pending, own.as_ref(), reading, self.parts.clock.moment())
    }

    /// All live sessions, and rule R9: those that have not moved for W are marked dead.
    async fn read_sessions(&self) -> Result<Reading, StoreError> {
        let began = self.parts.clock.moment();
        let sessions = self.parts.cluster.sessions().await?;
        let reading = Reading {
            began,
            answered: self.parts.clock.moment(),
            sessions: sessions.rows.into_iter().map(|session| session.seen).collect(),
            era: sessions.era,
        };
        let dead = lock(&self.watch).grantor.to_bury(&reading);
        // A poll that renews sees the same, and holds the lease back.
        for session in dead {
            self.parts.cluster.bury(&session).await?;
        }
        Ok(reading)
    }

    /// Looks after the sessions of others when nobody is waiting for them.
    pub async fn tidy(&self) -> Result<(), Failure> {
        self.read_sessions().await?;
        Ok(())
    }
}
