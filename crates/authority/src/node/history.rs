//! Begins a session: first the history, then the lost denials, then the session (rules R1, R10, R16 and R19).

use super::{Node, Progress, lock};
use crate::Failure;
use crate::reassert::reassert;
use keyreeve_core::audit::{ChainHash, Milestone};
use keyreeve_core::coherence::holder::{Holder, Poll, SessionId};
use keyreeve_core::coherence::rules::{Rule, keeps};
use keyreeve_store::cluster::Polled;

impl Node {
    /// Rule R1: the session first, durably; then an empty memory. Before both rule R16: a database that was replaced by
    /// an older copy must get back the denials that it has lost.
    pub(super) async fn register(&self) -> Result<Progress, Failure> {
        self.parts.verifier.lose_lease();
        self.notes.read(self.parts.verifier.tombstones())?;
        if self.was_killed_too_often().await? {
            return Ok(Progress::OnProbation);
        }
        if self.has_other_history().await? {
            return Ok(self.forked());
        }
        let mut session: SessionId = [0; 16];
        self.parts.entropy.fill(&mut session)?;
        let found = self.parts.cluster.register(session, &self.parts.name).await?;
        self.notes.began_session();
        // The database may have been replaced since the first check, and the session with it.
        if self.has_other_history().await? {
            return Ok(self.forked());
        }
        self.parts.verifier.lose_lease();
        self.forget_effects();
        self.parts.verifier.begin_session(found.head);
        // A change of unknown outcome was committed at or before this head, or never.
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

    /// Holds no lease for this long, and counts no acknowledgements before it is over.
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

    /// After a failover that may have lost commits, or in an older copy, nodes that know of the lost denials get time
    /// to write them again. A node that was behind finds no difference in its own history.
    pub(super) fn look_at_era(&self, poll: &Poll, polled: &Polled) {
        let Some(era) = polled.era else { return };
        let now = self.parts.clock.moment();
        let may_have_lost = lock(&self.watch).grantor.may_have_lost(era, poll.sent, now);
        if may_have_lost {
            self.hold_back(self.wait_ms());
        }
    }

    /// Sets the history that later readings are compared with.
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

    /// Rule R16: returns whether the database has another history than the one known, in memory or in the data
    /// directory. An error if it belongs to another instance: no denial of this one may be written to it.
    pub(super) async fn has_other_history(&self) -> Result<bool, Failure> {
        if !keeps(Rule::HistoryFirst) {
            return Ok(false);
        }
        // Before the head is read: what this process commits during the reading is not in it.
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

    /// Fails if the database has lost a denial, or if that cannot be determined. Called when a reading is good although
    /// this node has applied a denial: either the key was re-activated since, or the denial is lost. In the second case
    /// the reading must not be answered, although its revision is new enough for rule R5: after a loss, revisions are
    /// assigned a second time.
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

    /// Rule R10: the history is another one. The memory is dropped, and nothing is leased until this node and the
    /// others have written the old denials again.
    pub(super) fn forked(&self) -> Progress {
        self.give_up();
        self.forget_effects();
        self.parts.verifier.begin_session(0);
        self.notes.know(|history| history.end = None);
        self.hold_back(self.wait_ms());
        let mut health = lock(&self.health);
        health.forks += 1;
        health.is_recovering = true;
        Progress::Forked
    }

    /// Rule R10: writes again what this node knows to be denied.
    pub(super) async fn recover(&self) -> Result<(), Failure> {
        // Nodes that register from here on wait too.
        self.parts.cluster.note_fork().await?;
        let denied = self.parts.verifier.tombstones().all();
        let lost = reassert(&*self.parts.store, denied, self.parts.clock.earliest()).await?;
        let mut health = lock(&self.health);
        health.reasserted += lost;
        health.is_recovering = false;
        Ok(())
    }

    /// Writes what the next start must know. Blocks on the disk.
    pub fn write_notes(&self) -> Result<(), Failure> {
        self.notes.write(&self.parts.verifier)
    }
}
