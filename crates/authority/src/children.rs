//! Requests of downstream verifiers. Each message checks the root key, its permission and its tenant (rule R14).
//!
//! `memory/downstream.rs` has the connected verifiers, their leases, and the orders to forget.

pub use crate::memory::{
    CHILD_LEASE_MS, CHILD_LEASE_MS_MIN, ChildCounts, Children, ConnectedChild, Newcomer, OldestOrder, Reported,
    VerifierLine,
};
pub use keyreeve_core::coherence::downstream::{Presence, bounds};

use crate::memory::{JoinRefusal, RootPass};
use crate::question::Budget;
use crate::verifiers::VerifierUseCases;
use crate::{Authority, Failure};
use keyreeve_core::access::{Permission, Reach};
use keyreeve_core::coherence::downstream::{ChildId, Full, NoHold};
use keyreeve_core::coherence::holding::Awaited;
use keyreeve_core::coherence::rules::{Rule, keeps};
use keyreeve_core::coherence::{Cached as _, Entry, Moment};
use keyreeve_core::verdict::Denial;
use keyreeve_core::{Digest, Timestamp};
use std::sync::Arc;

/// The longest pause between two calls of [`VerifierUseCases::sweep`], in milliseconds.
pub const SWEEP_MS: u64 = 250;
/// Most uses that a verifier may report in one message.
pub const REPORTED_MAX: usize = 4_000;

/// The shortest and the longest pause between two checks whether verifiers have a change, in milliseconds.
const PAUSE_MS: (u64, u64) = (1, 64);

/// A lease that was granted to a verifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Granted {
    /// How long it lasts, in milliseconds, from when the verifier sent its request. 0: nothing can be granted now.
    pub length_ms: u64,
    /// Orders for every change up to here were sent before.
    pub revision: u64,
    /// The time now.
    pub now: Timestamp,
}

/// A look-up for a verifier. If it is dropped before it ends, its hold is released and the verifier gets no answer.
struct RunningLookUp<'c> {
    children: &'c Children,
    id: ChildId,
    digest: Digest,
    number: Option<u64>,
}

impl RunningLookUp<'_> {
    fn end(mut self, found: Option<&Entry>) {
        if let Some(number) = self.number.take() {
            self.children.settle(self.id, &self.digest, number, found);
        }
    }
}

impl Drop for RunningLookUp<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number.take() {
            self.children.settle(self.id, &self.digest, number, None);
        }
    }
}

impl From<Full> for Failure {
    fn from(full: Full) -> Self {
        Self::TooManyVerifiers {
            max: full.max,
            of: full.of,
        }
    }
}

impl From<JoinRefusal> for Failure {
    fn from(refusal: JoinRefusal) -> Self {
        match refusal {
            JoinRefusal::Overdue { refused_ms } => Self::VerifiersOverdue {
                retry_after_seconds: refused_ms.div_ceil(1_000),
            },
            JoinRefusal::Full(full) => full.into(),
        }
    }
}

impl Authority {
    /// Returns the verifiers connected to this process.
    pub fn children(&self) -> &Children {
        self.verifier.children()
    }

    /// Whether each verifier of this process that knew what a change touched has acknowledged it.
    pub(crate) fn children_have(&self, change: &Awaited) -> bool {
        !self.children().hold(change, self.clock.moment())
    }

    /// Returns when each verifier of this process has acknowledged a change, or can no longer answer without it.
    pub(crate) async fn children_know(&self, change: &Awaited) {
        let began: Moment = self.clock.moment();
        while !self.children_have(change) {
            let waited = self.clock.moment().ms_since(began);
            self.timer.sleep_ms((waited / 8).clamp(PAUSE_MS.0, PAUSE_MS.1)).await;
        }
    }
}

impl<'a> VerifierUseCases<'a> {
    /// Whether another verifier of a root key may connect now. Call before the connection becomes a stream, so that the
    /// refusal is an HTTP answer.
    pub fn may_connect(self, pass: Option<&RootPass>, reach: &Reach) -> Result<(), Failure> {
        self.require_verdicts()?;
        let root_key = pass.map(RootPass::id);
        Ok(self.0.children().may_join(root_key, reach, self.0.clock.moment())?)
    }

    /// Fails while no key is verified, because an operator has to decide after a restore.
    fn require_verdicts(self) -> Result<(), Failure> {
        match self.0.verifier.is_withheld() {
            true => Err(Failure::Unavailable(Denial::Undecided.to_string())),
            false => Ok(()),
        }
    }

    /// Registers a verifier, whose memory is empty. An error if there are too many, or if its root key ended before it
    /// was registered: the change that ended it has sent no order here.
    pub async fn register(self, newcomer: Newcomer, line: Arc<dyn VerifierLine>) -> Result<ChildId, Failure> {
        self.may_connect(newcomer.pass.as_ref(), &newcomer.reach)?;
        let id = self.0.children().join(newcomer, line, &*self.0.clock)?;
        // From here on, a change that ends its root key sends it away. Changes from before are found by this check.
        if let Err(failure) = self.judge(id).await {
            self.0.children().left(id);
            return Err(failure);
        }
        Ok(id)
    }

    /// Rule R14: checks whether a verifier may still send requests. One that may not is sent away.
    async fn judge(self, id: ChildId) -> Result<Reach, Failure> {
        let gone = || Failure::Unavailable("the verifier is gone".to_owned());
        let child = self.0.children().connected(id).ok_or_else(gone)?;
        let reach = &child.newcomer.reach;
        if keeps(Rule::JudgedAtEveryMessage) && !self.is_good(child.newcomer.pass.as_ref(), reach).await? {
            self.0.children().send_away(id);
            return Err(Failure::PermissionDenied(Permission::KeysVerify));
        }
        Ok(reach.clone())
    }

    async fn is_good(self, pass: Option<&RootPass>, reach: &Reach) -> Result<bool, Failure> {
        if let Some(pass) = pass {
            let now = self.0.root_key_of(*pass.digest()).await?;
            let Some(now) = now.filter(|now| now.permissions().allows(Permission::KeysVerify)) else {
                return Ok(false);
            };
            self.0.note_root_key_use(&now);
        }
        match reach {
            Reach::Instance => Ok(true),
            Reach::Tenant(slug) => match self.0.gate_of(slug).await {
                Ok(gate) => Ok(gate.is_open()),
                Err(Failure::NotFound) => Ok(false),
                Err(error) => Err(error),
            },
        }
    }

    /// Closes connections of overdue verifiers, and sends those away whose root key has ended by time. Call at least
    /// every [`SWEEP_MS`].
    pub fn sweep(self) {
        self.0.children().sweep(self.0.clock.moment());
        let now = self.0.now();
        for (id, pass) in self.0.children().with_root_keys() {
            // A rotation gives the secret that a verifier presented an end: the newest state is in memory.
            let known = self.0.verifier.root_keys.peek(pass.digest());
            if known.as_ref().unwrap_or(&pass).ends_at().is_some_and(|end| end <= now) {
                self.0.children().send_away(id);
            }
        }
    }

    /// Grants a verifier as much of a lease as is available; `None` if it is gone or not allowed to stay. Then close
    /// its connection, unless it is leaving and may still acknowledge ([`Children::is_leaving`]). Send the grant at
    /// once and before anything else: a later order must come after it on the connection.
    pub async fn grant(self, id: ChildId) -> Option<Granted> {
        let wish_ms = self.0.children().connected(id)?.newcomer.lease_ms;
        let length_ms = match self.judge(id).await {
            Ok(_) if self.0.verifier.is_withheld() => 0,
            Ok(_) => self.0.children().grant(
                id,
                wish_ms,
                (self.0.verifier.lease(), self.0.verifier.invariants()),
                &*self.0.clock,
            )?,
            // It cannot be checked now, so the verifier keeps the lease that it has and gets no further one.
            Err(Failure::Unavailable(_)) => 0,
            Err(_) => return None,
        };
        Some(Granted {
            length_ms,
            revision: self.0.verifier.applied(),
            now: self.0.now(),
        })
    }

    /// Looks a secret up for a verifier and returns the revision of the answer; `None` for an unknown secret or one of
    /// another tenant. From now on, orders for changes of it are sent to the verifier.
    pub async fn answer_fetch(self, id: ChildId, digest: Digest) -> Result<(Option<Entry>, u64), Failure> {
        let reach = self.judge(id).await?;
        self.require_verdicts()?;
        let early = keeps(Rule::HoldBeforeLookUp)
            .then(|| self.begin_to_tell(id, digest))
            .transpose()?;
        let found = self.0.entry_by(digest).await;
        let telling = match early {
            Some(telling) => telling,
            None => {
                self.0.timer.sleep_ms(20).await;
                self.begin_to_tell(id, digest)?
            }
        };
        let found = found.map(|(entry, revision)| (entry.filter(|entry| reach.has(entry.gate().slug())), revision));
        telling.end(found.as_ref().ok().and_then(|(entry, _)| entry.as_ref()));
        found
    }

    fn begin_to_tell(self, id: ChildId, digest: Digest) -> Result<RunningLookUp<'a>, Failure> {
        let children = self.0.children();
        let begun = children.begin_to_tell(id, digest, self.0.verifier.applied());
        let number = begun.map_err(|why| {
            Failure::Unavailable(match why {
                NoHold::Gone => "the verifier is gone".to_owned(),
                NoHold::Busy => "too much is asked for by verifiers at once".to_owned(),
            })
        })?;
        Ok(RunningLookUp {
            children,
            id,
            digest,
            number: Some(number),
        })
    }

    /// Charges uses of a secret that a verifier has found good; returns whether they are allowed, or `None` if that is
    /// unknown now. The verifier reports the uses itself separately.
    pub async fn charge(self, id: ChildId, digest: Digest, cost: u32) -> Option<(bool, Budget)> {
        let reach = self.judge(id).await.ok()?;
        self.require_verdicts().ok()?;
        let (entry, _) = self.0.entry_by(digest).await.ok()?;
        let entry = entry.filter(|entry| reach.has(entry.gate().slug()))?;
        if cost == 0 {
            let budget = self.0.budget(entry.key_id(), entry.limits()).await?;
            return Some((true, budget));
        }
        let (outcome, budget) = self.0.charge(&entry, cost).await;
        Some((outcome.is_ok(), *budget?))
    }

    /// Adds what a verifier has seen: last uses and counts. The report of a verifier that may not stay is dropped.
    pub async fn report(self, id: ChildId, reported: &[Reported]) {
        let Ok(reach) = self.judge(id).await else { return };
        for one in reported.iter().take(REPORTED_MAX) {
            let Ok((Some(entry), _)) = self.0.entry_by(one.digest).await else {
                continue;
            };
            if reach.has(entry.gate().slug()) {
                self.0.note_reported(&entry, one);
            }
        }
    }

    /// Delays changes for verifiers of an earlier process, whose leases are at most this long.
    pub fn await_former_leases(self, lease_ms: u64) {
        self.0.children().await_former(lease_ms, self.0.clock.moment());
    }

    /// Sends every verifier away and waits up to `patience_ms` for them to leave. True if none can still answer.
    pub async fn dismiss_all(self, patience_ms: u64) -> bool {
        self.0.children().dismiss_all();
        let began = self.0.clock.moment();
        while self.0.children().has_leases(self.0.clock.moment()) {
            if self.0.clock.moment().ms_since(began) >= patience_ms {
                return false;
            }
            self.0.timer.sleep_ms(5).await;
        }
        true
    }
}
