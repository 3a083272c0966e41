//! Clients that issue, change and verify keys, and record the answers.

mod changes;
mod setup;
mod verifying;

use crate::executor::{MS, Nanos, Sim, TaskOwner};
use crate::history::{EPOCH, Ground, GroundChange, RunHistory, Wait};
use crate::node::Process;
use keyreeve_authority::{Call, Caller, Effect, Failure};
use keyreeve_core::text::{Slug, Subject};
use keyreeve_core::{KeyId, UserId};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// A secret that a client was given, and the grounds on which it may be denied.
#[derive(Clone)]
pub(crate) struct HeldSecret {
    pub(crate) id: KeyId,
    secret: Arc<str>,
    /// The key, the secret, the owner, the tenant.
    grounds: [Ground; 4],
    owner: usize,
    pub(crate) tenant: usize,
}

/// The state that all clients share.
#[derive(Default)]
pub(crate) struct SharedKnowledge {
    pub(crate) history: RunHistory,
    pub(crate) keys: Vec<HeldSecret>,
    pub(crate) users: Vec<(UserId, Subject, Ground, usize)>,
    /// How long an answer about each tenant may take, if only children can delay it.
    pub(crate) answer_most: Option<[Nanos; 2]>,
    /// The lease of nodes, in milliseconds.
    pub(crate) lease_ms: u64,
    grounds: Ground,
    names: u64,
}

impl SharedKnowledge {
    /// Returns the state of a run that begins.
    pub(crate) fn new(lease_ms: u64, answer_most: Option<[Nanos; 2]>) -> Self {
        Self {
            answer_most,
            lease_ms,
            ..Self::default()
        }
    }

    fn ground(&mut self) -> Ground {
        self.grounds += 1;
        self.grounds
    }
}

/// One client.
#[derive(Clone)]
pub(crate) struct SimulatedClient {
    pub(crate) sim: Sim,
    pub(crate) known: Arc<Mutex<SharedKnowledge>>,
    /// Two tenants: the faulty children are the first one's.
    pub(crate) tenants: [Slug; 2],
}

/// Grounds of the tenants, apart from those that are numbered.
const TENANTS: [Ground; 2] = [1_000_000, 1_000_001];

impl SimulatedClient {
    pub(crate) fn known(&self) -> MutexGuard<'_, SharedKnowledge> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, tenant: usize) -> Call {
        let [first, second] = &self.tenants;
        Call {
            caller: Caller::operator(),
            tenant: if tenant == 0 { first } else { second }.clone(),
            address: None,
            request_id: "sim".into(),
            idempotency: None,
            only_if: None,
            is_awaited: true,
        }
    }

    /// Sends a request to a process and returns its answer; `None` if the process is killed.
    async fn ask<T: Send + 'static>(
        &self,
        owner: TaskOwner,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (tell, told) = oneshot::channel();
        let sim = self.sim.clone();
        let wire = self.sim.range(MS / 10, 3 * MS);
        self.sim.spawn(owner, async move {
            sim.sleep(wire).await;
            let answer = work.await;
            // The receiver lives until the answer: clients are not dropped before.
            drop(tell.send(answer));
        });
        told.await.ok()
    }

    fn note(&self, who: &str, change: GroundChange) {
        self.sim.note(who, format_args!("{change:?}"));
        self.known().history.changes.push(change);
    }

    /// Runs a change and records it for every ground that it denies or activates.
    async fn change<T: Send + 'static>(
        &self,
        process: &Process,
        tenant: usize,
        grounds: &[(Ground, bool)],
        work: impl Future<Output = Result<(T, Effect), Failure>> + Send + 'static,
    ) -> Option<T> {
        let (sent, began) = (self.sim.stamp(), self.sim.now());
        self.begin(grounds, sent);
        let answer = self.ask(process.owner, work).await;
        let answered = self.sim.stamp();
        match answer {
            Some(Ok((value, effect))) => {
                let by = process.owner;
                self.sim.note(
                    "client",
                    format_args!("{by:?} answered {sent}: {effect:?} at {answered}"),
                );
                let most = self.known().answer_most.and_then(|most| most.get(tenant).copied());
                let waited = self.sim.now() - began;
                let took = most.map(|most| (most, waited));
                self.finish(sent, answered, effect.revision, took);
                let wait = Wait {
                    by,
                    sent: began,
                    took: waited,
                };
                self.known().history.waits.push(wait);
                Some(value)
            }
            Some(Err(error)) if is_surely_not_done(&error) => {
                self.take_back(sent);
                None
            }
            // It may have been done.
            Some(Err(_)) | None => None,
        }
    }

    /// Records that the change may have happened, whatever its answer.
    fn begin(&self, grounds: &[(Ground, bool)], sent: u64) {
        for &(ground, is_denial) in grounds {
            let change = GroundChange {
                ground,
                is_denial,
                sent,
                answered: u64::MAX,
                effective: None,
                took: None,
            };
            self.note("client", change);
        }
    }

    fn finish(&self, sent: u64, answered: u64, revision: u64, took: Option<(Nanos, Nanos)>) {
        let revision = {
            let put_back = &self.known().history.put_back;
            // For a change that was in progress when an older copy came, it is not known which of the two states it
            // changed.
            if put_back.iter().any(|&at| sent < at && at < answered) {
                return;
            }
            let epochs = put_back.iter().filter(|&&at| at < sent).count();
            revision + EPOCH * u64::try_from(epochs).unwrap_or(0)
        };
        for change in &mut self.known().history.changes {
            if change.sent == sent {
                change.answered = answered;
                change.effective = Some(revision);
                change.took = took;
            }
        }
    }

    fn take_back(&self, sent: u64) {
        self.known().history.changes.retain(|change| change.sent != sent);
    }
}

fn tenant_ground(tenant: usize) -> Ground {
    TENANTS.get(tenant).copied().unwrap_or_default()
}

fn is_surely_not_done(error: &Failure) -> bool {
    !matches!(error, Failure::OutcomeUnknown(_) | Failure::Internal(_))
}
