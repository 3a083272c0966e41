//! Verdicts that a child gives its application.

use super::{ChildProcess, FromChild};
use crate::executor::Nanos;
use crate::history::Ground;
use keyreeve_authority::env::Clock as _;
use keyreeve_authority::verify::{Source, Verdict};
use keyreeve_core::Digest;
use keyreeve_core::coherence::{Entry, Filled, NewEntry};
use keyreeve_core::key::Presented;
use keyreeve_core::verdict::{Denial, judge};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

/// Maximum number of tries of a fill that changes overtake.
const FILL_TRIES: usize = 8;

impl ChildProcess {
    /// Returns the ground of the root key of its present connection.
    pub(crate) fn ground(&self) -> Option<Ground> {
        *self.ground.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the verdict for the application and the session that it is from. `pause` simulates a thread that loses
    /// the processor after the look-up.
    pub(crate) async fn verify(&self, secret: &str, pause: Nanos) -> (Verdict, u32) {
        let verdict = self.verdict(secret, pause).await;
        (verdict, self.session.load(Ordering::Relaxed))
    }

    async fn verdict(&self, secret: &str, pause: Nanos) -> Verdict {
        let Ok(presented) = Presented::parse(secret) else {
            return said(Err(Denial::Malformed), None, 0);
        };
        let digest = presented.digest();
        let looked = self.child.look_up(&digest);
        self.sim.sleep(pause).await;
        if let Some((entry, revision)) = self.child.settle(looked, self.clocks.moment()) {
            return self.judged(entry, revision);
        }
        match self.fill(digest).await {
            Some((Some(entry), revision)) => self.judged(entry, revision),
            Some((None, revision)) => said(Err(Denial::Unknown), None, revision),
            None => said(Err(Denial::Unavailable), None, 0),
        }
    }

    fn judged(&self, entry: Entry, revision: u64) -> Verdict {
        let now = self.child.time(self.clocks.moment());
        let outcome = judge(&entry.facts(), [], None, now);
        said(outcome, Some(entry), revision)
    }

    async fn fill(&self, digest: Digest) -> Option<(Option<Entry>, u64)> {
        for _ in 0..FILL_TRIES {
            let deadline = self.child.deadline();
            if !self.child.covers(deadline, self.clocks.moment()) {
                return None;
            }
            let ticket = self.child.begin_fill(digest)?;
            let (answer, answered) = oneshot::channel();
            if let Some(connection) = &mut *self.connection() {
                connection.last_number += 1;
                connection.asked.insert(connection.last_number, answer);
                connection
                    .to_node
                    .send(FromChild::Fetch(connection.last_number, digest));
            }
            let (entry, revision) = answered.await.ok()?;
            let entry = entry.and_then(|(entry, is_blocked)| self.own(digest, &entry, is_blocked));
            if ticket.finish(revision, entry.clone()) == Filled::Kept
                && self.child.covers(deadline, self.clocks.moment())
            {
                return Some((entry, revision));
            }
        }
        None
    }

    /// Builds an entry of the child's own: it shares no memory with its node.
    fn own(&self, digest: Digest, entry: &Entry, is_blocked: bool) -> Option<Entry> {
        let facts = entry.facts();
        let gate = entry.gate();
        Entry::new(&NewEntry {
            digest,
            key_id: entry.key_id(),
            gate: self.child.gate(gate.slug().clone(), gate.reveal(), is_blocked),
            secret: facts.secret,
            key: facts.key,
            expires_at: facts.expires_at,
            subject: entry.subject(),
            name: entry.name(),
            scopes: entry.scopes(),
            claims: entry.claims(),
            limits: entry.limits(),
            is_presented: true,
        })
    }
}

fn said(outcome: Result<(), Denial>, entry: Option<Entry>, revision: u64) -> Verdict {
    Verdict {
        outcome,
        entry,
        revision,
        source: Source::Memory,
        budget: None,
    }
}
