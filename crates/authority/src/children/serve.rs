//! Requests of downstream verifiers. Each message checks the root key, its permission and its tenant (rule R14).

use super::{ChildId, Children, Granted, Line, Newcomer, REPORTED_MAX, Reported};
use crate::verifier::RootPass;
use crate::{Authority, Budget, Failure};
use keyreeve_core::Digest;
use keyreeve_core::access::{Permission, Reach};
use keyreeve_core::coherence::downstream::{Full, NoHold};
use keyreeve_core::coherence::rules::{Rule, keeps};
use keyreeve_core::coherence::{Cached as _, Entry, Moment};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The shortest and the longest pause between two checks whether verifiers have a change, in milliseconds.
const PAUSE_MS: (u64, u64) = (1, 64);

/// A look-up for a verifier. If it is dropped before it ends, its hold is released and the verifier gets no answer.
struct Telling<'c> {
    children: &'c Children,
    id: ChildId,
    digest: Digest,
    number: Option<u64>,
}

impl Telling<'_> {
    fn end(mut self, found: Option<&Entry>) {
        if let Some(number) = self.number.take() {
            self.children.settle(self.id, &self.digest, number, found);
        }
    }
}

impl Drop for Telling<'_> {
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

impl Authority {
    /// Returns the verifiers connected to this process.
    pub fn children(&self) -> &Children {
        self.verifier.children()
    }

    /// Whether another verifier of a root key may connect now. Call before the connection becomes a stream, so that the
    /// refusal is an HTTP answer.
    pub fn may_connect(&self, pass: Option<&RootPass>, reach: &Reach) -> Result<(), Failure> {
        let now = self.clock.moment();
        let root_key = pass.map(RootPass::id);
        let state = self.children().state();
        let refused_ms = root_key.and_then(|root_key| state.downstream.refused_ms(root_key, now));
        let may = match refused_ms {
            Some(refused_ms) => Err(Failure::VerifiersOverdue {
                retry_after_seconds: refused_ms.div_ceil(1_000),
            }),
            None => state.downstream.has_room(root_key, reach).map_err(Failure::from),
        };
        if may.is_err() {
            self.children().refused.fetch_add(1, Ordering::Relaxed);
        }
        may
    }

    /// Registers a verifier, whose memory is empty. An error if there are too many, or if its root key ended before it
    /// was registered: the change that ended it has sent no order here.
    pub async fn register(&self, newcomer: Newcomer, line: Arc<dyn Line>) -> Result<ChildId, Failure> {
        self.may_connect(newcomer.pass.as_ref(), &newcomer.reach)?;
        let id = self.children().join(newcomer, line, &*self.clock)?;
        // From here on, a change that ends its root key sends it away. Changes from before are found by this check.
        if let Err(failure) = self.judge(id).await {
            self.children().left(id);
            return Err(failure);
        }
        Ok(id)
    }

    /// Rule R14: checks whether a verifier may still send requests. One that may not is sent away.
    async fn judge(&self, id: ChildId) -> Result<Reach, Failure> {
        let gone = || Failure::Unavailable("the verifier is gone".to_owned());
        let child = self.children().connected(id).ok_or_else(gone)?;
        let reach = &child.newcomer.reach;
        if keeps(Rule::JudgedAtEveryMessage) && !self.is_good(child.newcomer.pass.as_ref(), reach).await? {
            self.children().state().send_away(id, None);
            return Err(Failure::PermissionDenied(Permission::KeysVerify));
        }
        Ok(reach.clone())
    }

    async fn is_good(&self, pass: Option<&RootPass>, reach: &Reach) -> Result<bool, Failure> {
        if let Some(pass) = pass {
            let now = self.root_key_of(*pass.digest()).await?;
            if now.is_none_or(|now| !now.permissions().allows(Permission::KeysVerify)) {
                return Ok(false);
            }
        }
        match reach {
            Reach::Instance => Ok(true),
            Reach::Tenant(slug) => match self.gate_of(slug).await {
                Ok(gate) => Ok(gate.is_open()),
                Err(Failure::NotFound) => Ok(false),
                Err(error) => Err(error),
            },
        }
    }

    /// Closes connections of overdue verifiers. Call at least every [`super::SWEEP_MS`].
    pub fn sweep_children(&self) {
        self.children().sweep(self.clock.moment());
    }

    /// Grants a verifier as much of a lease as is available; `None` if it is gone or not allowed to stay. Then close
    /// its connection, unless it is leaving and may still acknowledge ([`Children::is_leaving`]). Send the grant at
    /// once and before anything else: a later order must come after it on the connection.
    pub async fn grant(&self, id: ChildId) -> Option<Granted> {
        let wish_ms = self.children().connected(id)?.newcomer.lease_ms;
        let length_ms = match self.judge(id).await {
            Ok(_) => self.children().grant(
                id,
                wish_ms,
                (self.verifier.lease(), self.verifier.invariants()),
                &*self.clock,
            )?,
            // It cannot be checked now, so the verifier keeps the lease that it has and gets no further one.
            Err(Failure::Unavailable(_)) => 0,
            Err(_) => return None,
        };
        Some(Granted {
            length_ms,
            revision: self.verifier.applied(),
            now: self.now(),
        })
    }

    /// Looks a secret up for a verifier and returns the revision of the answer; `None` for an unknown secret or one of
    /// another tenant. From now on, orders for changes of it are sent to the verifier.
    pub async fn answer_fetch(&self, id: ChildId, digest: Digest) -> Result<(Option<Entry>, u64), Failure> {
        let reach = self.judge(id).await?;
        let early = keeps(Rule::HoldBeforeLookUp)
            .then(|| self.begin_to_tell(id, digest))
            .transpose()?;
        let found = self.entry_by(digest).await;
        let telling = match early {
            Some(telling) => telling,
            None => {
                self.timer.sleep_ms(20).await;
                self.begin_to_tell(id, digest)?
            }
        };
        let found = found.map(|(entry, revision)| (entry.filter(|entry| reach.has(entry.gate().slug())), revision));
        telling.end(found.as_ref().ok().and_then(|(entry, _)| entry.as_ref()));
        found
    }

    fn begin_to_tell(&self, id: ChildId, digest: Digest) -> Result<Telling<'_>, Failure> {
        let children = self.children();
        let begun = children.begin_to_tell(id, digest, self.verifier.applied());
        let number = begun.map_err(|why| {
            Failure::Unavailable(match why {
                NoHold::Gone => "the verifier is gone".to_owned(),
                NoHold::Busy => "too much is asked for by verifiers at once".to_owned(),
            })
        })?;
        Ok(Telling {
            children,
            id,
            digest,
            number: Some(number),
        })
    }

    /// Charges uses of a secret that a verifier has found good; returns whether they are allowed, or `None` if that is
    /// unknown now. The verifier reports the uses itself separately.
    pub async fn charge_for_child(&self, id: ChildId, digest: Digest, cost: u32) -> Option<(bool, Budget)> {
        let reach = self.judge(id).await.ok()?;
        let (entry, _) = self.entry_by(digest).await.ok()?;
        let entry = entry.filter(|entry| reach.has(entry.gate().slug()))?;
        if cost == 0 {
            let budget = self.budget(entry.key_id(), entry.limits()).await?;
            return Some((true, budget));
        }
        let (outcome, budget) = self.charge(&entry, cost).await;
        Some((outcome.is_ok(), *budget?))
    }

    /// Adds what a verifier has seen: last uses and counts. The report of a verifier that may not stay is dropped.
    pub async fn report(&self, id: ChildId, reported: &[Reported]) {
        let Ok(reach) = self.judge(id).await else { return };
        for one in reported.iter().take(REPORTED_MAX) {
            let Ok((Some(entry), _)) = self.entry_by(one.digest).await else {
                continue;
            };
            if reach.has(entry.gate().slug()) {
                self.note_reported(&entry, one);
            }
        }
    }

    /// Delays changes for verifiers of an earlier process, whose leases are at most this long.
    pub fn await_former_leases(&self, lease_ms: u64) {
        self.children().await_former(lease_ms, self.clock.moment());
    }

    /// Sends every verifier away and waits up to `patience_ms` for them to leave. True if none can still answer.
    pub async fn dismiss_children(&self, patience_ms: u64) -> bool {
        self.children().dismiss_all();
        let began = self.clock.moment();
        while self.children().has_leases(self.clock.moment()) {
            if self.clock.moment().ms_since(began) >= patience_ms {
                return false;
            }
            self.timer.sleep_ms(5).await;
        }
        true
    }

    /// Whether each verifier of this process that knew what a change touched has acknowledged it.
    pub(crate) fn children_have(&self, change: &keyreeve_core::coherence::holding::Awaited) -> bool {
        !self.children().hold(change, self.clock.moment())
    }

    /// Returns when each verifier of this process has acknowledged a change, or can no longer answer without it.
    pub(crate) async fn children_know(&self, change: &keyreeve_core::coherence::holding::Awaited) {
        let began: Moment = self.clock.moment();
        while !self.children_have(change) {
            let waited = self.clock.moment().ms_since(began);
            self.timer.sleep_ms((waited / 8).clamp(PAUSE_MS.0, PAUSE_MS.1)).await;
        }
    }
}
