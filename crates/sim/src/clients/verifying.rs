//! Verifies keys at nodes and in children, and records the answers.

use super::{HeldSecret, SimulatedClient};
use crate::child::ChildProcess;
use crate::executor::{MS, Nanos, TaskOwner};
use crate::history::{Ground, Verification, VerifyOutcome};
use crate::node::Process;
use keyreeve_authority::verify::{Question, Verdict, Via};
use keyreeve_core::access::Reach;
use keyreeve_core::verdict::Denial;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

impl SimulatedClient {
    /// Verifies a key at a node; `None` if the node is killed before it answers.
    pub(crate) async fn verify(&self, process: &Process, key: &HeldSecret) -> Option<VerifyOutcome> {
        self.verify_slowly(process, key, self.pause()).await
    }

    /// The same with a pause of the verifying thread after its look-up.
    pub(crate) async fn verify_slowly(
        &self,
        process: &Process,
        key: &HeldSecret,
        pause: Nanos,
    ) -> Option<VerifyOutcome> {
        let (authority, secret, sim) = (
            Arc::clone(&process.authority),
            Arc::clone(&key.secret),
            self.sim.clone(),
        );
        let TaskOwner::Process(number) = process.owner else {
            return None;
        };
        let work = async move {
            let question = Question {
                via: Via::Api,
                reach: &Reach::Instance,
                scopes: &[],
                now: authority.now(),
                address: None,
                cost: Some(1),
            };
            let verdict = authority.verify_with_pause(&secret, &question, sim.sleep(pause));
            (verdict.await, number)
        };
        self.verified((process.owner, &process.renewed), key, || None, work)
            .await
    }

    /// Whether a process gives any verdict.
    pub(crate) async fn answers(&self, process: &Process, key: &HeldSecret) -> bool {
        let said = self.verify(process, key).await;
        said.is_some_and(|said| said != VerifyOutcome::Unavailable)
    }

    /// The same inside an application.
    pub(crate) async fn verify_inside(&self, child: &ChildProcess, key: &HeldSecret) -> Option<VerifyOutcome> {
        // A child denies keys of other tenants as unknown.
        let tenant = self.tenants.get(key.tenant);
        if !tenant.is_some_and(|tenant| child.identity.reach.has(tenant)) {
            return None;
        }
        let (own, secret, pause) = (child.clone(), Arc::clone(&key.secret), self.pause());
        let work = async move { own.verify(&secret, pause).await };
        self.verified((child.owner, &child.renewed), key, || child.ground(), work)
            .await
    }

    /// Returns how long the verifying thread pauses in the middle.
    fn pause(&self) -> Nanos {
        match self.sim.range(0, 100) {
            0..=84 => 0,
            85..=97 => self.sim.range(0, 30 * MS),
            _ => self.sim.range(0, 4_000 * MS),
        }
    }

    async fn verified(
        &self,
        (owner, renewed): (TaskOwner, &AtomicU64),
        key: &HeldSecret,
        root_key: impl Fn() -> Option<Ground>,
        work: impl Future<Output = (Verdict, u32)> + Send + 'static,
    ) -> Option<VerifyOutcome> {
        let connected_by = root_key();
        let (sent, began) = (self.sim.stamp(), self.sim.now());
        let (verdict, process) = self.ask(owner, work).await?;
        let mut grounds = key.grounds.to_vec();
        // A new connection may have come with another root key.
        grounds.extend(connected_by.filter(|ground| root_key() == Some(*ground)));
        // A lease by a clock that is slow by a tenth.
        let longest = self.known().lease_ms * MS / 9 * 10;
        let verification = Verification {
            grounds,
            process,
            sent,
            answered: self.sim.stamp(),
            said: said(&verdict, key),
            // No poll was sent for longer than the slowest clock can stretch a lease, up to the answer.
            was_without_lease: began > renewed.load(Ordering::Relaxed) + longest,
        };
        self.sim.note("client", format_args!("{verification:?}"));
        let said = verification.said;
        self.known().history.verifications.push(verification);
        Some(said)
    }
}

fn said(verdict: &Verdict, key: &HeldSecret) -> VerifyOutcome {
    let [of_key, of_secret, of_owner, of_tenant] = key.grounds;
    match verdict.outcome {
        Ok(()) => VerifyOutcome::Valid,
        Err(Denial::Unavailable | Denial::Undecided) => VerifyOutcome::Unavailable,
        Err(Denial::Unknown | Denial::Rotated) => VerifyOutcome::Denied(of_secret),
        Err(Denial::OwnerBlocked) => VerifyOutcome::Blocked([of_owner, of_tenant]),
        Err(_) => VerifyOutcome::Denied(of_key),
    }
}
