//! Those who issue, revoke and verify, and write down what they were told.

use crate::child::ChildProcess;
use crate::executor::{MS, Nanos, Owner, Sim};
use crate::history::{Change, Ground, History, Said, Verification};
use crate::node::{LEASE_MS, Process};
use keyreeve_authority::keys::{IssueCommand, RevokeCommand, RotateCommand};
use keyreeve_authority::users::UserCommand;
use keyreeve_authority::verify::{Question, Verdict, Via};
use keyreeve_authority::{Call, Caller, Effect, Failure};
use keyreeve_core::access::{Reach, Role};
use keyreeve_core::lifecycle::ReasonCode;
use keyreeve_core::policy::{ExpiryWish, OverlapWish};
use keyreeve_core::scope::Scopes;
use keyreeve_core::text::{Name, Slug, Subject};
use keyreeve_core::user::{Email, Status, UserEdit};
use keyreeve_core::verdict::Denial;
use keyreeve_core::{KeyId, UserId};
use keyreeve_store::model::TenantEdit;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// A lease on a clock that is slow by a tenth.
const LONGEST_LEASE: u64 = LEASE_MS * MS / 9 * 10;

/// A secret that a client was given, and what may deny it.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) id: KeyId,
    secret: Arc<str>,
    /// The key, the secret, the owner, the tenant.
    grounds: [Ground; 4],
    owner: usize,
}

/// What all clients share.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) history: History,
    pub(crate) keys: Vec<Held>,
    pub(crate) users: Vec<(UserId, Subject, Ground)>,
    grounds: Ground,
    names: u64,
}

impl Known {
    fn ground(&mut self) -> Ground {
        self.grounds += 1;
        self.grounds
    }
}

/// One client.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) sim: Sim,
    pub(crate) known: Arc<Mutex<Known>>,
    pub(crate) tenant: Slug,
}

/// The ground that the whole tenant is; made before all others.
const TENANT: Ground = 0;

impl Client {
    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self) -> Call {
        Call {
            caller: Caller::operator(),
            tenant: self.tenant.clone(),
            address: None,
            request_id: "sim".into(),
            idempotency: None,
            is_awaited: true,
        }
    }

    /// Sends a request to a process and waits for its answer; `None` if the process dies with it.
    async fn ask<T: Send + 'static>(&self, owner: Owner, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let (tell, told) = oneshot::channel();
        let sim = self.sim.clone();
        let wire = self.sim.range(MS / 10, 3 * MS);
        self.sim.spawn(owner, async move {
            sim.sleep(wire).await;
            let answer = work.await;
            // Whoever asked is always there.
            drop(tell.send(answer));
        });
        told.await.ok()
    }

    fn note(&self, who: &str, change: Change) {
        self.sim.note(who, format_args!("{change:?}"));
        self.known().history.changes.push(change);
    }

    /// Runs a change and writes it down for every ground it denies or activates.
    async fn change<T: Send + 'static>(
        &self,
        process: &Process,
        grounds: &[(Ground, bool)],
        work: impl Future<Output = Result<(T, Effect), Failure>> + Send + 'static,
    ) -> Option<T> {
        let sent = self.sim.stamp();
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
                self.finish(sent, answered, effect.revision);
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

    /// From now on the change may have happened, whatever becomes of its answer.
    fn begin(&self, grounds: &[(Ground, bool)], sent: u64) {
        for &(ground, is_denial) in grounds {
            let change = Change {
                ground,
                is_denial,
                sent,
                answered: u64::MAX,
                effective: None,
            };
            self.note("client", change);
        }
    }

    fn finish(&self, sent: u64, answered: u64, revision: u64) {
        for change in &mut self.known().history.changes {
            if change.sent == sent {
                change.answered = answered;
                change.effective = Some(revision);
            }
        }
    }

    fn take_back(&self, sent: u64) {
        self.known().history.changes.retain(|change| change.sent != sent);
    }

    pub(crate) async fn make_user(&self, process: &Process) {
        let number = {
            let mut known = self.known();
            known.names += 1;
            known.names
        };
        let Ok(email) = Email::parse(&format!("u{number}@example.org")) else {
            return;
        };
        let authority = Arc::clone(&process.authority);
        let call = self.call();
        let command = UserCommand {
            email,
            name: None,
            role: Role::Member,
            password: None,
        };
        let made = self
            .ask(
                process.owner,
                async move { authority.create_user(&call, command).await },
            )
            .await;
        if let Some(Ok(user)) = made
            && let Some(subject) = user.subject()
        {
            let mut known = self.known();
            let ground = known.ground();
            known.users.push((user.id, subject, ground));
        }
    }

    pub(crate) async fn issue(&self, process: &Process) {
        let (name, owner) = {
            let mut known = self.known();
            known.names += 1;
            let owner = self.sim.random(|random| random.place(known.users.len()));
            (
                format!("key {}", known.names),
                known.users.get(owner).cloned().map(|user| (owner, user)),
            )
        };
        let (Some((place, (_, subject, owner_ground))), Ok(name)) = (owner, Name::parse(&name)) else {
            return;
        };
        let (key_ground, secret_ground) = {
            let mut known = self.known();
            (known.ground(), known.ground())
        };
        let command = IssueCommand {
            subject,
            name,
            description: None,
            claims: None,
            scopes: Scopes::default(),
            limits: keyreeve_core::Limits::default(),
            created_by: None,
            expiry: ExpiryWish::Unsaid,
        };
        let authority = Arc::clone(&process.authority);
        let call = self.call();
        let work = async move {
            let issued = authority.issue(&call, vec![command]).await?;
            Ok((issued.keys, issued.effect))
        };
        let grounds = [(key_ground, false), (secret_ground, false)];
        for key in self.change(process, &grounds, work).await.unwrap_or_default() {
            self.known().keys.push(Held {
                id: key.record.key.id,
                secret: key.secret.expose().into(),
                grounds: [key_ground, secret_ground, owner_ground, TENANT],
                owner: place,
            });
        }
    }

    pub(crate) async fn revoke(&self, process: &Process, key: &Held) {
        let (authority, call, id) = (Arc::clone(&process.authority), self.call(), key.id);
        let command = RevokeCommand {
            code: ReasonCode::Unspecified,
            note: None,
        };
        let work = async move {
            let changed = authority.revoke(&call, id, command).await?;
            Ok(((), changed.effect))
        };
        self.change(process, &[(key.grounds[0], true)], work).await;
    }

    pub(crate) async fn disable(&self, process: &Process, key: &Held) {
        let (authority, call, id) = (Arc::clone(&process.authority), self.call(), key.id);
        let work = async move {
            let changed = authority.disable(&call, id, None).await?;
            Ok(((), changed.effect))
        };
        self.change(process, &[(key.grounds[0], true)], work).await;
    }

    pub(crate) async fn reactivate(&self, process: &Process, key: &Held) {
        let (authority, call, id) = (Arc::clone(&process.authority), self.call(), key.id);
        let work = async move {
            let changed = authority.reactivate(&call, id, None).await?;
            Ok(((), changed.effect))
        };
        self.change(process, &[(key.grounds[0], false)], work).await;
    }

    pub(crate) async fn rotate(&self, process: &Process, key: &Held) {
        let (authority, call, id) = (Arc::clone(&process.authority), self.call(), key.id);
        let fresh = self.known().ground();
        let command = RotateCommand {
            name: None,
            expiry: ExpiryWish::Unsaid,
            overlap: OverlapWish::Unsaid,
        };
        let work = async move {
            let rotated = authority.rotate(&call, id, command).await?;
            Ok((rotated.key, rotated.effect))
        };
        // Whichever secret was the present one is replaced: all that are known of the key.
        let mut grounds: Vec<_> = {
            let known = self.known();
            let same = known.keys.iter().filter(|held| held.id == key.id);
            same.map(|held| (held.grounds[1], true)).collect()
        };
        grounds.push((fresh, false));
        if let Some(rotated) = self.change(process, &grounds, work).await {
            self.rotated_meanwhile(key, fresh);
            self.known().keys.push(Held {
                secret: rotated.secret.expose().into(),
                grounds: [key.grounds[0], fresh, key.grounds[2], TENANT],
                ..key.clone()
            });
        }
    }

    /// Another rotation of the key that was under way with this one may have replaced its secret at once.
    fn rotated_meanwhile(&self, key: &Held, fresh: Ground) {
        let mut known = self.known();
        let began = known
            .history
            .changes
            .iter()
            .find(|change| change.ground == fresh)
            .map(|change| change.sent);
        let secrets: Vec<_> = known
            .keys
            .iter()
            .filter(|held| held.id == key.id)
            .map(|held| held.grounds[1])
            .collect();
        let others: Vec<_> = known
            .history
            .changes
            .iter()
            .filter(|change| change.is_denial && secrets.contains(&change.ground))
            .filter(|change| Some(change.sent) != began && Some(change.answered) > began)
            .cloned()
            .collect();
        let unknown = |change: Change| Change {
            ground: fresh,
            answered: u64::MAX,
            effective: None,
            ..change
        };
        known.history.changes.extend(others.into_iter().map(unknown));
    }

    pub(crate) async fn set_user(&self, process: &Process, key: &Held, is_open: bool) {
        let user = self.known().users.get(key.owner).cloned();
        let Some((id, _, ground)) = user else { return };
        let (authority, call) = (Arc::clone(&process.authority), self.call());
        let edit = UserEdit {
            status: Some(if is_open { Status::Active } else { Status::Suspended }),
            ..UserEdit::default()
        };
        let work = async move { authority.change_user(&call, id, edit).await };
        self.change(process, &[(ground, !is_open)], work).await;
    }

    pub(crate) async fn set_tenant(&self, process: &Process, is_open: bool) {
        let (authority, call, slug) = (Arc::clone(&process.authority), self.call(), self.tenant.clone());
        let edit = TenantEdit {
            status: Some(if is_open { Status::Active } else { Status::Suspended }),
            ..TenantEdit::default()
        };
        let work = async move { authority.change_tenant(&call, slug, edit).await };
        self.change(process, &[(TENANT, !is_open)], work).await;
    }

    pub(crate) async fn verify(&self, process: &Process, key: &Held) {
        let (authority, secret, sim) = (
            Arc::clone(&process.authority),
            Arc::clone(&key.secret),
            self.sim.clone(),
        );
        let Owner::Process(number) = process.owner else { return };
        let pause = self.pause();
        let work = async move {
            let question = Question {
                via: Via::Api,
                reach: &Reach::Instance,
                scopes: &[],
                now: authority.now(),
                address: None,
                cost: 1,
            };
            let verdict = authority.verify_with_pause(&secret, &question, sim.sleep(pause));
            (verdict.await, number)
        };
        self.verified((process.owner, &process.renewed), key, work).await;
    }

    /// The same inside an application.
    pub(crate) async fn verify_inside(&self, child: &ChildProcess, key: &Held) {
        let (own, secret, pause) = (child.clone(), Arc::clone(&key.secret), self.pause());
        let work = async move { own.verify(&secret, pause).await };
        self.verified((child.owner, &child.renewed), key, work).await;
    }

    /// How long the verifier's thread loses the processor in the middle.
    fn pause(&self) -> Nanos {
        match self.sim.range(0, 100) {
            0..=84 => 0,
            85..=97 => self.sim.range(0, 30 * MS),
            _ => self.sim.range(0, 4_000 * MS),
        }
    }

    async fn verified(
        &self,
        (owner, renewed): (Owner, &AtomicU64),
        key: &Held,
        work: impl Future<Output = (Verdict, u32)> + Send + 'static,
    ) {
        let (sent, began) = (self.sim.stamp(), self.sim.now());
        let Some((verdict, process)) = self.ask(owner, work).await else {
            return;
        };
        let verification = Verification {
            grounds: key.grounds.to_vec(),
            process,
            sent,
            answered: self.sim.stamp(),
            said: said(&verdict, key),
            // No poll was sent for longer than the slowest clock can stretch a lease, up to the answer.
            was_without_lease: began > renewed.load(Ordering::Relaxed) + LONGEST_LEASE,
        };
        self.sim.note("client", format_args!("{verification:?}"));
        self.known().history.verifications.push(verification);
    }
}

fn said(verdict: &Verdict, key: &Held) -> Said {
    let [of_key, of_secret, of_owner, of_tenant] = key.grounds;
    match verdict.outcome {
        Ok(()) => Said::Valid,
        Err(Denial::Unavailable) => Said::Unavailable,
        Err(Denial::Unknown | Denial::Rotated) => Said::Denied(of_secret),
        Err(Denial::OwnerBlocked) => Said::Blocked([of_owner, of_tenant]),
        Err(_) => Said::Denied(of_key),
    }
}

fn is_surely_not_done(error: &Failure) -> bool {
    !matches!(error, Failure::OutcomeUnknown(_) | Failure::Internal(_))
}
