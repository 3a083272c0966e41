//! Verify: whether a secret is good for a request now. Answered from memory where possible, from the store on a miss.

pub use crate::question::{Question, Source, Verdict, Via};

use crate::memory::RootPass;
use crate::question::Budget;
use crate::{Authority, Caller, Failure};
use keyreeve_core::access::{Permissions, Reach};
use keyreeve_core::coherence::rules::{Rule, keeps};
use keyreeve_core::coherence::{Cached as _, Deadline, Entry, Filled, Gate, NewEntry};
use keyreeve_core::key::Presented;
use keyreeve_core::text::Slug;
use keyreeve_core::verdict::{Denial, KeyStanding, judge};
use keyreeve_core::{Digest, limits};
use keyreeve_store::model::Credential;
use std::sync::Arc;

/// Uses of one secret are queued for writing at most once in this time, so last-used is exact to a minute.
const USE_GRAIN_MS: i64 = 60_000;
/// Tries of a fill. A key that changes during each of them is answered as unavailable, never by a guess.
const FILL_TRIES: usize = 8;

/// What a look-up found, before the clock is read (rule R4).
struct Lookup {
    digest: Digest,
    deadline: Deadline,
    revision: u64,
    entry: Option<Entry>,
}

/// A presented secret that is not in memory, or that has limits to be charged.
#[derive(Clone, Copy, Debug)]
pub struct Miss(Digest);

impl Authority {
    /// Answers from memory alone. `Err` if a reading of the store may be needed: then call [`Authority::verify_miss`].
    /// Does not wait.
    pub fn verify_hit(&self, secret: &str, question: &Question<'_>) -> Result<Verdict, Miss> {
        match self.digest_of(secret, question.via) {
            Ok(digest) => self.settle(self.look_up(digest), question),
            Err(denied) => Ok(denied),
        }
    }

    fn digest_of(&self, secret: &str, via: Via) -> Result<Digest, Verdict> {
        let denial = match secret {
            "" => Denial::Missing,
            _ => Denial::Malformed,
        };
        let presented = Presented::parse(secret).map_err(|_| self.denied(denial, Source::Memory, via))?;
        Ok(presented.digest())
    }

    /// The first half of rule R4: the deadline, then the revision that the verdict will cover, then the memory.
    fn look_up(&self, digest: Digest) -> Lookup {
        Lookup {
            digest,
            deadline: self.verifier.lease().deadline(),
            revision: self.verifier.applied(),
            entry: self.remembered(&digest),
        }
    }

    /// The second half: compares the clock with the deadline that was loaded first.
    fn settle(&self, looked: Lookup, question: &Question<'_>) -> Result<Verdict, Miss> {
        match looked.entry {
            Some(entry)
                if !limits::counts(entry.limits()) && self.holds(looked.deadline) && !self.verifier.is_withheld() =>
            {
                self.verifier.tallies().count_memory();
                let outcome = evaluate(&entry, question);
                Ok(self.answered(
                    entry,
                    &looked.digest,
                    question,
                    (looked.revision, Source::Memory),
                    (outcome, None),
                ))
            }
            Some(_) | None => Err(Miss(looked.digest)),
        }
    }

    /// As [`Authority::verify`], with a pause where the thread may lose the processor. For the simulator.
    pub async fn verify_with_pause(
        &self,
        secret: &str,
        question: &Question<'_>,
        pause: impl Future<Output = ()> + Send,
    ) -> Verdict {
        let digest = match self.digest_of(secret, question.via) {
            Ok(digest) => digest,
            Err(denied) => return denied,
        };
        let looked = self.look_up(digest);
        pause.await;
        match self.settle(looked, question) {
            Ok(verdict) => verdict,
            Err(miss) => self.verify_miss(miss, question).await,
        }
    }

    /// Returns the entry of a secret, unless its tenant must be read again.
    fn remembered(&self, digest: &Digest) -> Option<Entry> {
        self.verifier.keys.get(digest).filter(|entry| !entry.gate().is_void())
    }

    /// Rules R4 and R6: whether an entry that was looked up after the deadline was loaded may be used.
    pub(crate) fn holds(&self, deadline: Deadline) -> bool {
        let deadline = match keeps(Rule::DeadlineBeforeLookUp) {
            true => deadline,
            false => self.verifier.lease().deadline(),
        };
        deadline.is_endless() || deadline.covers(self.clock.moment()) || !keeps(Rule::NoLeaseNoAnswer)
    }

    /// Whether the secret is in memory, so that no reading of its key is needed.
    pub fn remembers(&self, miss: &Miss) -> bool {
        self.remembered(&miss.0).is_some()
    }

    /// Reads the store if necessary, remembers the result, charges the limits of the key, and answers.
    pub async fn verify_miss(&self, miss: Miss, question: &Question<'_>) -> Verdict {
        if self.verifier.is_withheld() {
            return self.denied(Denial::Undecided, Source::Store, question.via);
        }
        let looked = self.look_up(miss.0);
        let (found, source) = match looked.entry {
            Some(entry) if self.holds(looked.deadline) => {
                self.verifier.tallies().count_memory();
                (Ok((Some(entry), looked.revision)), Source::Memory)
            }
            Some(_) | None => {
                self.verifier.tallies().count_store();
                (self.fill(miss.0).await, Source::Store)
            }
        };
        match found {
            Ok((Some(entry), revision)) => {
                let mut evaluated = (evaluate(&entry, question), None);
                if evaluated.0.is_ok() && limits::counts(entry.limits()) {
                    match question.cost {
                        None => {}
                        Some(0) => evaluated.1 = self.budget(entry.key_id(), entry.limits()).await.map(Box::new),
                        Some(cost) => evaluated = self.charge(&entry, cost).await,
                    }
                }
                self.answered(entry, &miss.0, question, (revision, source), evaluated)
            }
            Ok((None, _)) => self.denied(Denial::Unknown, source, question.via),
            Err(_) => self.denied(Denial::Unavailable, source, question.via),
        }
    }

    /// Answers from memory, or else from the store.
    pub async fn verify(&self, secret: &str, question: &Question<'_>) -> Verdict {
        match self.verify_hit(secret, question) {
            Ok(verdict) => verdict,
            Err(miss) => self.verify_miss(miss, question).await,
        }
    }

    fn answered(
        &self,
        entry: Entry,
        digest: &Digest,
        question: &Question<'_>,
        (revision, source): (u64, Source),
        (outcome, budget): (Result<(), Denial>, Option<Box<Budget>>),
    ) -> Verdict {
        if outcome == Err(Denial::Unknown) {
            return self.denied(Denial::Unknown, source, question.via);
        }
        self.verifier.tallies().count(question.via, outcome);
        self.note(&entry, digest, outcome, question);
        Verdict {
            outcome,
            entry: Some(entry),
            revision,
            source,
            budget,
        }
    }

    /// Records what a verdict leaves: a last use, a count, and a warning if the secret was replaced.
    fn note(&self, entry: &Entry, digest: &Digest, outcome: Result<(), Denial>, question: &Question<'_>) {
        let (uses, now) = (&self.verifier.uses, question.now);
        if outcome.is_err() || question.address.is_some() {
            uses.note_trace(entry, outcome, question.address, now);
        }
        let is_look = question.cost == Some(0);
        if outcome.is_ok() && is_look {
            uses.note_presented(entry, now);
        }
        if outcome.is_ok() && !is_look {
            uses.queue(entry, entry.note_use(now, USE_GRAIN_MS));
            uses.queue(entry, entry.count_use());
            uses.note_cost(entry, question.cost.unwrap_or(1));
        }
        if let Err(denial) = outcome {
            uses.note_denials(entry, denial, 1, now);
        }
        if outcome == Err(Denial::Rotated) {
            uses.note_reuse(entry, *digest, self.clock.moment());
        }
    }

    pub(crate) fn denied(&self, denial: Denial, source: Source, via: Via) -> Verdict {
        self.verifier.tallies().count(via, Err(denial));
        Verdict {
            outcome: Err(denial),
            entry: None,
            revision: self.verifier.applied(),
            source,
            budget: None,
        }
    }

    /// Returns what is known of a secret, from memory or else from the store, and the revision of that.
    pub(crate) async fn entry_by(&self, digest: Digest) -> Result<(Option<Entry>, u64), Failure> {
        let looked = self.look_up(digest);
        match looked.entry {
            Some(entry) if self.holds(looked.deadline) => Ok((Some(entry), looked.revision)),
            Some(_) | None => self.fill(digest).await,
        }
    }

    /// Reads a secret from the store under a ticket, until no change has overtaken the reading (R5) and one lease
    /// covers it (R4).
    async fn fill(&self, digest: Digest) -> Result<(Option<Entry>, u64), Failure> {
        for _ in 0..FILL_TRIES {
            let deadline = self.verifier.lease().deadline();
            if !self.holds(deadline) {
                return Err(Failure::no_lease(self.verifier.halted()));
            }
            let busy = || Failure::Unavailable("too many look-ups at once".to_owned());
            let ticket = self.verifier.keys.begin_fill(digest).ok_or_else(busy)?;
            let found = self.store.find_credential(&digest).await?;
            let entry = match &found.value {
                Some(credential) => self.entry_of(digest, credential).await?,
                None => None,
            };
            self.look_for_lost_denial(entry.as_ref()).await?;
            let filled = ticket.finish(found.revision, entry.clone());
            if filled == Filled::Kept && self.holds(deadline) {
                return Ok((entry, found.revision));
            }
        }
        Err(Failure::Unavailable(
            "the key changes faster than it can be read".to_owned(),
        ))
    }

    async fn entry_of(&self, digest: Digest, credential: &Credential) -> Result<Option<Entry>, Failure> {
        let gate = self.gate_of(&credential.tenant).await?;
        let brief = credential.key.as_ref();
        Ok(Entry::new(&NewEntry {
            digest,
            key_id: credential.key_id,
            gate,
            secret: credential.secret,
            key: brief.map_or(KeyStanding::Revoked, |key| key.standing),
            expires_at: brief.and_then(|key| key.expires_at),
            subject: brief.map_or("", |key| &key.subject),
            name: brief.map_or("", |key| &key.name),
            scopes: brief.map_or("", |key| &key.scopes),
            claims: brief.and_then(|key| key.claims.as_deref()),
            limits: brief.map_or("", |key| &key.limits),
            is_presented: credential.is_presented,
        }))
    }

    /// Returns a tenant's gate, from memory or from the store.
    pub(crate) async fn gate_of(&self, slug: &Slug) -> Result<Arc<Gate>, Failure> {
        if let Some(gate) = self.verifier.gates.gate(slug) {
            return Ok(gate);
        }
        for _ in 0..FILL_TRIES {
            let changes = self.verifier.gates.changes();
            let tenant = self.store.tenant(slug).await?.ok_or(Failure::NotFound)?;
            let blocked = self.store.blocked_owners(slug).await?;
            let head = self.store.head().await?;
            if let Some(gate) = self.verifier.gates.remember(&tenant, &blocked, changes, head.revision) {
                return Ok(gate);
            }
        }
        Err(Failure::Unavailable(
            "the tenant changes faster than it can be read".to_owned(),
        ))
    }

    /// Looks a root key up by its digest, from memory alone. The outer `None` requires a reading of the store; the
    /// inner one is a root key that is not good.
    pub fn root_key_remembered(&self, digest: &Digest) -> Option<Option<RootPass>> {
        let deadline = self.verifier.lease().deadline();
        let pass = self.verifier.root_keys.get(digest)?;
        if !self.holds(deadline) {
            return None;
        }
        Some(Some(pass).filter(|pass| self.is_accepted(pass)))
    }

    /// Whether a remembered root key is accepted now. The clock is read only for one that ends by time.
    fn is_accepted(&self, pass: &RootPass) -> bool {
        !pass.is_revoked() && pass.ends_at().is_none_or(|end| self.now() < end)
    }

    /// Notes that a call with a root key was accepted. Costs one reading of a flag, except once a minute.
    pub fn note_root_key_use(&self, pass: &RootPass) {
        let now = || (self.now(), self.clock.moment());
        self.verifier.root_uses.note(pass, now);
    }

    /// Whether a root key is remembered as good now. If not, it must be looked up.
    pub fn is_still_good(&self, pass: &RootPass) -> bool {
        matches!(self.root_key_remembered(pass.digest()), Some(Some(_)))
    }

    /// Looks a root key up by its secret; `None` if it is not good. An error if that cannot be known now.
    pub async fn root_key(&self, secret: &str) -> Result<Option<RootPass>, Failure> {
        match Presented::parse(secret) {
            Ok(presented) => self.root_key_of(presented.digest()).await,
            Err(_) => Ok(None),
        }
    }

    /// As [`Authority::root_key`], by the digest.
    pub async fn root_key_of(&self, digest: Digest) -> Result<Option<RootPass>, Failure> {
        if let Some(known) = self.root_key_remembered(&digest) {
            return Ok(known);
        }
        for _ in 0..FILL_TRIES {
            let deadline = self.verifier.lease().deadline();
            if !self.holds(deadline) {
                return Err(Failure::no_lease(self.verifier.halted()));
            }
            let busy = || Failure::Unavailable("too many look-ups at once".to_owned());
            let ticket = self.verifier.root_keys.begin_fill(digest).ok_or_else(busy)?;
            let found = self.store.find_root_key(&digest).await?;
            let pass = found.value.as_ref().map(|root_key| RootPass::of(digest, root_key));
            self.look_for_lost_revocation(pass.as_ref()).await?;
            let filled = ticket.finish(found.revision, pass.clone());
            if filled == Filled::Kept && self.holds(deadline) {
                return Ok(pass.filter(|pass| self.is_accepted(pass)));
            }
        }
        Err(Failure::Unavailable(
            "the root key changes faster than it can be read".to_owned(),
        ))
    }

    /// Returns the caller that an API key is. It may only read and revoke itself.
    pub fn caller_of_key(entry: &Entry) -> Caller {
        Caller {
            actor: keyreeve_core::access::Actor::Key(entry.key_id()),
            reach: Reach::Tenant(entry.gate().slug().clone()),
            permissions: Permissions::NONE,
            own: None,
            acting: None,
            presented: None,
        }
    }
}

/// Evaluates a request against what is known of the key.
fn evaluate(entry: &Entry, question: &Question<'_>) -> Result<(), Denial> {
    if !question.reach.has(entry.gate().slug()) {
        // For the caller, another tenant's key does not exist.
        return Err(Denial::Unknown);
    }
    judge(
        &entry.facts(),
        question.scopes.iter().copied(),
        question.address,
        question.now,
    )
}
