//! Beginning a session: the history first, then what was lost, then the session (rules R1, R10, R16 and R19).

use super::{Node, Progress, lock};
use crate::Failure;
use crate::reassert::reassert;
use keyreeve_core::audit::{ChainHash, Milestone};
use keyreeve_core::coherence::holder::{Holder, Poll, SessionId};
use keyreeve_core::coherence::rules::{Rule, keeps};
use keyreeve_store::cluster::Polled;

impl Node {
    /// Rule R1: the session first, durably; then an empty memory. Before it rule R16: a database that was put back to an
    /// older state must be told what it has lost.
    pub(super) async fn register(&self) -> Result<Progress, Failure> {
        self.parts.verifier.lose_lease();
        self.notes.read(self.parts.verifier.tombstones())?;
        if self.has_other_history().await? {
            return Ok(self.forked());
        }
        let mut session: SessionId = [0; 16];
        self.parts.entropy.fill(&mut session)?;
        let found = self.parts.cluster.register(session, &self.parts.name).await?;
        // It may have been put back meanwhile, and the session with it.
        if self.has_other_history().await? {
            return Ok(self.forked());
        }
        self.parts.verifier.lose_lease();
        self.parts.verifier.begin_session(found.head);
        // What nobody knew of is known now: it is not after this.
        self.parts.verifier.children().known_to(found.head);
        self.begin_notes(found.head, found.chain).await?;
        let rest = self.wait_ms().saturating_sub(found.timeline_age_ms.unwrap_or(u64::MAX));
        if rest > 0 {
            self.hold_back(rest);
        }
        let holder = Holder::registered(session, found.head, found.chain, self.parts.lease_ms);
        *lock(&self.holder) = Some(holder);
        Ok(Progress::Registered)
    }

    /// Nothing is leased for so long, and no reading of the sessions is complete.
    fn hold_back(&self, ms: u64) {
        let now = self.parts.clock.moment();
        let until = now.plus_ms(ms);
        let mut not_before = lock(&self.not_before);
        if until.is_surely_at_or_after(*not_before) {
            *not_before = until;
        }
        drop(not_before);
        lock(&self.watch).grantor.unsettle(now);
    }

    /// After a failover that may have lost commits, or in an older copy, those who know of them are given time to tell
    /// it: a node that was behind finds nothing amiss in its own history.
    pub(super) fn look_at_era(&self, poll: &Poll, polled: &Polled) {
        let Some(era) = polled.era else { return };
        let now = self.parts.clock.moment();
        let may_have_lost = lock(&self.watch).grantor.may_have_lost(era, poll.sent, now);
        if may_have_lost {
            self.hold_back(self.wait_ms());
        }
    }

    /// From here on the history is followed.
    async fn begin_notes(&self, head: u64, chain: ChainHash) -> Result<(), Failure> {
        let origin = match self.notes.known().origin {
            Some(origin) => Some(origin),
            None => self.chain_at(1).await?,
        };
        self.notes.know(|history| {
            history.origin = origin;
            history.end = Some(Milestone { revision: head, chain });
        });
        Ok(())
    }

    /// Rule R16: whether the database has another history than the one that was known, in memory or in the data
    /// directory. An error if it is that of another instance: nothing of this one may be told to it.
    pub(super) async fn has_other_history(&self) -> Result<bool, Failure> {
        if !keeps(Rule::HistoryFirst) {
            return Ok(false);
        }
        // Before the head is read: what this process commits while the reading is on its way is not in it.
        let (known, newest) = (self.notes.known(), self.parts.verifier.newest());
        let head = self.parts.store.head().await?.revision;
        if let Some(origin) = known.origin
            && self.chain_at(1).await? != Some(origin)
        {
            return Err(Failure::Unavailable(
                "the database holds another instance than the one that this data directory has known: its audit log \
                 begins with another entry. Name the right database, or give this one a data directory of its own"
                    .to_owned(),
            ));
        }
        if head < newest {
            return Ok(true);
        }
        match known.end {
            Some(end) if end.revision > 0 => {
                let is_there = head >= end.revision && self.chain_at(end.revision).await? == Some(end.chain);
                Ok(!is_there)
            }
            Some(_) | None => Ok(false),
        }
    }

    /// A reading says that something is good which this node has applied a denial of. It was re-activated since, or the
    /// database has lost the denial: then the reading is not answered, although its revision is new enough (rule R5),
    /// because revisions are given out again after a loss. An error in that case, and if it cannot be known.
    pub(crate) async fn must_follow_known_history(&self) -> Result<(), Failure> {
        match self.has_other_history().await? {
            false => Ok(()),
            true => Err(Failure::Unavailable(
                "the database has another history than this node knows: it may have lost a denial".to_owned(),
            )),
        }
    }

    async fn chain_at(&self, revision: u64) -> Result<Option<ChainHash>, Failure> {
        let entries = self.parts.store.audit_after(revision.saturating_sub(1), 1).await?;
        let found = entries.first().filter(|entry| entry.revision == revision);
        Ok(found.map(|entry| entry.chain))
    }

    /// Rule R10: the history is another one. Nothing of the old one is believed any more, and nothing is leased until
    /// what was denied in it was told again, by this node and by the others.
    pub(super) fn forked(&self) -> Progress {
        self.give_up();
        self.parts.verifier.begin_session(0);
        self.notes.know(|history| history.end = None);
        self.hold_back(self.wait_ms());
        let mut health = lock(&self.health);
        health.forks += 1;
        health.is_recovering = true;
        Progress::Forked
    }

    /// Rule R10: tells the database again what this node knows to be denied.
    pub(super) async fn recover(&self) -> Result<(), Failure> {
        // Who comes meanwhile waits too.
        self.parts.cluster.note_fork().await?;
        let denied = self.parts.verifier.tombstones().all();
        let lost = reassert(&*self.parts.store, denied, self.parts.clock.earliest()).await?;
        let mut health = lock(&self.health);
        health.reasserted += lost;
        health.is_recovering = false;
        Ok(())
    }

    /// Writes down what a start after this one must know. It may take as long as a disk does.
    pub fn write_notes(&self) -> Result<(), Failure> {
        self.notes.write(&self.parts.verifier)
    }
}
