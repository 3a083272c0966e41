//! Any history of verbs, under any policy, by any caller, against a small model of the lifecycle.
//!
//! The model has states, owners, holds and windows, and no stores, memories or transactions. After every step each
//! secret that was ever issued is verified, and the answer must be the model's.

use crate::world::{World, revocation, rotation, slug, wish};
use futures_util::FutureExt as _;
use keyreeve_authority::users::UserCommand;
use keyreeve_authority::{Call, Caller, Failure};
use keyreeve_core::access::Role;
use keyreeve_core::lifecycle::ReasonCode;
use keyreeve_core::policy::{After, OverlapWish, Policy, Preset, Undo};
use keyreeve_core::text::Subject;
use keyreeve_core::user::{Email, Status, UserEdit};
use keyreeve_core::{KeyId, Secret, User};
use proptest::test_runner::{Config, TestRunner};

/// Histories that are run, and steps in each.
const HISTORIES: u32 = 400;
const STEPS: usize = 40;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Active,
    Held {
        is_admins: bool,
        is_revocation: bool,
        until: Option<i64>,
    },
    Revoked,
    Erased,
}

#[derive(Clone, Debug)]
struct Key {
    id: KeyId,
    owner: usize,
    state: State,
    live: usize,
    retiring: Option<(usize, i64)>,
}

/// The result of a verb.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    Done,
    Refused,
    NotFound,
    OwnOnly,
    CallerGone,
}

fn answer<T>(result: &Result<T, Failure>) -> Answer {
    match result {
        Ok(_) => Answer::Done,
        Err(Failure::Refused { .. }) => Answer::Refused,
        Err(Failure::NotFound) => Answer::NotFound,
        Err(Failure::OwnKeysOnly) => Answer::OwnOnly,
        Err(Failure::CallerGone) => Answer::CallerGone,
        Err(other) => panic!("{other:?}"),
    }
}

/// Two members and an admin, and keys of the members.
struct Model {
    policy: Policy,
    suspended: [bool; 3],
    keys: Vec<Key>,
    now: i64,
}

const ADMIN: usize = 2;

impl Model {
    fn settle(&mut self, which: usize) {
        let now = self.now;
        let key = &mut self.keys[which];
        if let State::Held { until: Some(until), .. } = key.state
            && until <= now
        {
            key.state = State::Revoked;
        }
        if key.retiring.is_some_and(|(_, until)| until <= now) {
            key.retiring = None;
        }
    }

    /// The checks before every verb on a key: its owner, and whether the caller's user is still active.
    fn before(&mut self, who: usize, which: usize) -> Option<Answer> {
        self.settle(which);
        let key = &self.keys[which];
        let is_others = who != ADMIN && key.owner != who;
        let is_gone = key.state == State::Erased;
        match (who, self.suspended[who]) {
            (ADMIN, true) => Some(Answer::CallerGone),
            _ if is_others || is_gone => Some(Answer::NotFound),
            (_, true) => Some(Answer::CallerGone),
            (_, false) => None,
        }
    }

    fn is_sticky(&self, who: usize) -> bool {
        who == ADMIN && self.policy.reactivate.sticky
    }

    fn end(&mut self, which: usize) {
        let key = &mut self.keys[which];
        key.retiring = None;
        key.state = if self.policy.revoke.after == After::Erase {
            State::Erased
        } else {
            State::Revoked
        };
    }

    fn disable(&mut self, who: usize, which: usize) -> Answer {
        let is_admins = self.is_sticky(who);
        match self.keys[which].state {
            State::Active => {
                self.keys[which].state = State::Held {
                    is_admins,
                    is_revocation: false,
                    until: None,
                };
                Answer::Done
            }
            State::Held { .. } => Answer::Done,
            State::Revoked | State::Erased => Answer::Refused,
        }
    }

    fn reactivate(&mut self, who: usize, which: usize) -> Answer {
        match self.keys[which].state {
            State::Active => Answer::Done,
            State::Held { is_admins: true, .. } if who != ADMIN => Answer::Refused,
            // A re-activated key of a suspended owner would not work.
            State::Held { .. } if self.suspended[self.keys[which].owner] => Answer::Refused,
            State::Held { .. } => {
                self.keys[which].state = State::Active;
                Answer::Done
            }
            State::Revoked | State::Erased => Answer::Refused,
        }
    }

    fn revoke(&mut self, who: usize, which: usize, is_compromise: bool) -> Answer {
        let undo = if is_compromise {
            Undo::Never
        } else {
            self.policy.revoke.undo
        };
        let until = match undo {
            Undo::Seconds(seconds) => Some(self.now + i64::try_from(seconds).unwrap() * 1_000),
            Undo::Never | Undo::Always => None,
        };
        let is_admins = self.is_sticky(who);
        let state = self.keys[which].state;
        let is_revoking = matches!(
            state,
            State::Held {
                is_revocation: true,
                ..
            }
        );
        if state == State::Revoked || (is_revoking && undo != Undo::Never) {
            return Answer::Done;
        }
        match (state, undo) {
            (_, Undo::Never) => self.end(which),
            (state, Undo::Seconds(_) | Undo::Always) => {
                let was_admins = matches!(state, State::Held { is_admins: true, .. });
                let is_admins = is_admins || was_admins;
                self.keys[which].state = State::Held {
                    is_admins,
                    is_revocation: true,
                    until,
                };
            }
        }
        Answer::Done
    }

    fn finalize(&mut self, which: usize) -> Answer {
        match self.keys[which].state {
            State::Revoked => Answer::Done,
            State::Held {
                is_revocation: true, ..
            } => {
                self.end(which);
                Answer::Done
            }
            State::Active | State::Held { .. } | State::Erased => Answer::Refused,
        }
    }

    fn rotate(&mut self, which: usize, overlap: u64, new: usize) -> Answer {
        let is_too_long = overlap > self.policy.rotate.overlap_max_seconds;
        let now = self.now;
        let is_blocked = self.suspended[self.keys[which].owner];
        let key = &mut self.keys[which];
        if key.state != State::Active || is_too_long || is_blocked {
            return Answer::Refused;
        }
        let until = now + i64::try_from(overlap).unwrap() * 1_000;
        key.retiring = (overlap > 0).then_some((key.live, until));
        key.live = new;
        Answer::Done
    }

    fn issue(&self, who: usize, owner: usize) -> Answer {
        if who != ADMIN && owner != who {
            return Answer::OwnOnly;
        }
        if self.suspended[who] {
            return Answer::CallerGone;
        }
        if self.suspended[owner] {
            return Answer::Refused;
        }
        let counts = |key: &&Key| key.owner == owner && !self.is_final(key);
        let used = u32::try_from(self.keys.iter().filter(counts).count()).unwrap();
        match self.policy.limit.keys_per_subject {
            Some(max) if used >= max => Answer::Refused,
            Some(_) | None => Answer::Done,
        }
    }

    fn is_final(&self, key: &Key) -> bool {
        match key.state {
            State::Revoked | State::Erased => true,
            State::Held { until, .. } => until.is_some_and(|until| until <= self.now),
            State::Active => false,
        }
    }

    fn verdict(&self, key: &Key, secret: usize) -> &'static str {
        let is_retiring = key
            .retiring
            .is_some_and(|(old, until)| old == secret && until > self.now);
        match key.state {
            State::Erased => "erased",
            _ if secret != key.live && !is_retiring => "rotated",
            _ if self.is_final(key) => "revoked",
            _ if self.suspended[key.owner] => "owner_blocked",
            State::Held { .. } => "disabled",
            State::Active | State::Revoked => "valid",
        }
    }
}

/// The implementation beside the model.
struct Both {
    world: World,
    users: Vec<User>,
    model: Model,
    secrets: Vec<(Secret, usize)>,
}

impl Both {
    async fn under(policy: Policy) -> Self {
        let world = World::under(Preset::Standard).await;
        world
            .authority
            .policy()
            .set(&world.call(), policy.clone())
            .await
            .unwrap();
        let mut users = Vec::new();
        for (number, role) in [Role::Member, Role::Member, Role::Admin].into_iter().enumerate() {
            let command = UserCommand {
                email: Email::parse(&format!("u{number}@example.com")).unwrap(),
                name: None,
                role,
                password: None,
            };
            users.push(world.authority.users().create(&world.call(), command).await.unwrap());
        }
        let model = Model {
            policy,
            suspended: [false; 3],
            keys: Vec::new(),
            now: world.authority.now().millis(),
        };
        Self {
            world,
            users,
            model,
            secrets: Vec::new(),
        }
    }

    fn call(&self, who: usize) -> Call {
        self.world.call_of(Caller::user(&self.users[who]))
    }

    async fn issue(&mut self, who: usize, owner: usize) {
        let mut command = wish(&self.world.new_name());
        command.subject = Subject::parse(&self.users[owner].id.to_string()).unwrap();
        let issued = self.world.authority.keys().issue(&self.call(who), vec![command]).await;
        assert_eq!(answer(&issued), self.model.issue(who, owner));
        for made in issued.into_iter().flat_map(|issued| issued.keys) {
            self.model.keys.push(Key {
                id: made.record.key.id,
                owner,
                state: State::Active,
                live: self.secrets.len(),
                retiring: None,
            });
            self.secrets.push((made.secret, self.model.keys.len() - 1));
        }
    }

    async fn verb(&mut self, verb: u8, who: usize, which: usize) {
        let (call, id, authority) = (self.call(who), self.model.keys[which].id, self.world.authority.clone());
        let early = self.model.before(who, which);
        let new = self.secrets.len();
        let model = &mut self.model;
        let or = |model: &mut Model, verb: &dyn Fn(&mut Model) -> Answer| early.unwrap_or_else(|| verb(model));
        let (real, expected) = match verb {
            0 => (
                answer(&authority.keys().disable(&call, id, None).await),
                or(model, &|model| model.disable(who, which)),
            ),
            1 => (
                answer(&authority.keys().reactivate(&call, id, None).await),
                or(model, &|model| model.reactivate(who, which)),
            ),
            2 | 3 => {
                let code = if verb == 2 {
                    ReasonCode::Unspecified
                } else {
                    ReasonCode::Leaked
                };
                let real = answer(&authority.keys().revoke(&call, id, revocation(code)).await);
                (real, or(model, &|model| model.revoke(who, which, verb == 3)))
            }
            4 => {
                let order = revocation(ReasonCode::Unspecified);
                (
                    answer(&authority.keys().finalize(&call, id, order).await),
                    or(model, &|model| model.finalize(which)),
                )
            }
            5 => {
                let real = answer(&authority.keys().delete(&call, id, None).await);
                let erase = |model: &mut Model| {
                    model.keys[which].state = State::Erased;
                    Answer::Done
                };
                (real, or(model, &erase))
            }
            _ => {
                let overlap = if verb == 6 { 0 } else { 2 };
                let rotated = authority
                    .keys()
                    .rotate(&call, id, rotation(OverlapWish::Seconds(overlap)))
                    .await;
                let real = answer(&rotated);
                self.secrets
                    .extend(rotated.into_iter().map(|rotated| (rotated.key.secret, which)));
                (real, or(model, &|model| model.rotate(which, overlap, new)))
            }
        };
        assert_eq!(real, expected, "verb {verb} by {who} on {which}");
    }

    async fn suspend(&mut self, who: usize, is_suspended: bool) {
        let status = if is_suspended {
            Status::Suspended
        } else {
            Status::Active
        };
        let edit = UserEdit {
            status: Some(status),
            ..UserEdit::default()
        };
        let id = self.users[who].id;
        self.world
            .authority
            .users()
            .change(&self.world.call(), id, edit)
            .await
            .unwrap();
        self.model.suspended[who] = is_suspended;
    }

    async fn check(&self, step: &str) {
        for (number, (secret, key)) in self.secrets.iter().enumerate() {
            let key = &self.model.keys[*key];
            let told = self.world.outcome(secret.expose()).await;
            assert_eq!(
                told,
                self.model.verdict(key, number),
                "secret {number} of {key:?} after {step}"
            );
        }
    }
}

fn policies() -> Vec<Policy> {
    let mut policies: Vec<_> = Preset::ALL.iter().map(|preset| preset.policy()).collect();
    let windows = [
        (Preset::Standard, Undo::Seconds(3)),
        (Preset::Erase, Undo::Seconds(3)),
        (Preset::Standard, Undo::Always),
    ];
    policies.extend(windows.map(|(preset, undo)| {
        let mut policy = preset.policy();
        policy.revoke.undo = undo;
        policy.rotate.overlap_max_seconds = 2;
        policy
    }));
    policies
}

async fn live_through(policy: Policy, steps: &[(u8, usize, usize)]) {
    let mut both = Both::under(policy).await;
    both.issue(0, 0).await;
    both.issue(ADMIN, 1).await;
    for &(what, who, which) in steps {
        let which = which % both.model.keys.len();
        match what {
            8 => both.issue(who, which % 2).await,
            9 => {
                both.world.pass(1);
                both.model.now += 1_000;
            }
            10 => both.suspend(who, true).await,
            11 => both.suspend(who, false).await,
            verb => both.verb(verb, who, which).await,
        }
        both.check(&format!("{what} by {who} on {which}")).await;
    }
    assert_eq!(both.world.tenant, slug("acme"));
}

#[test]
fn every_history_under_every_policy_by_everybody_is_as_the_model_says() {
    let history = (
        0..policies().len(),
        proptest::collection::vec((0..12_u8, 0..3_usize, 0..64_usize), 1..STEPS),
    );
    let mut runner = TestRunner::new(Config::with_cases(HISTORIES));
    let outcome = runner.run(&history, |(policy, steps)| {
        live_through(policies()[policy].clone(), &steps).now_or_never().unwrap();
        Ok(())
    });
    outcome.unwrap();
}
