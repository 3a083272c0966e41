//! Invariants of a key's lifecycle, checked over random histories and over every pair of state and verb.

use super::*;
use crate::access::{Actor, Rank};
use crate::id::{KeyId, RootKeyId};
use crate::key::{Digest, LastFour, Prefix};
use crate::policy::{After, ExpiryWish, OverlapWish, Policy, Preset, Undo, Violation};
use crate::text::{Note, Subject};
use crate::time::Timestamp;
use proptest::prelude::*;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000).plus_seconds(seconds)
}

fn secret(n: u64) -> NewSecret {
    NewSecret {
        digest: Digest::of(&n.to_be_bytes()),
        prefix: Prefix::standard(),
        last_four: LastFour::parse("abcd").unwrap(),
    }
}

fn issued(policy: &Policy) -> Key {
    let order = IssueOrder {
        secret: secret(0),
        ..samples::order()
    };
    Key::issue(order, IssueFacts::default(), policy, at(0)).unwrap()
}

fn admin() -> Actor {
    Actor::RootKey(RootKeyId::from_bytes([9; 16]))
}

fn owner() -> Actor {
    Actor::Key(KeyId::from_bytes([1; 16]))
}

fn revoke_with(code: ReasonCode, actor: Actor) -> RevokeOrder {
    RevokeOrder {
        actor,
        code,
        note: None,
    }
}

fn hold_by(actor: Actor) -> HoldOrder {
    HoldOrder { actor, note: None }
}

fn rotation(n: u64, overlap: u64) -> RotateOrder {
    RotateOrder {
        secret: secret(n),
        name: None,
        expiry: ExpiryWish::Unsaid,
        overlap: OverlapWish::Seconds(overlap),
    }
}

fn no_edit() -> Edit {
    Edit {
        name: None,
        description: None,
        claims: None,
        scopes: None,
        networks: None,
        counted: None,
        subject: None,
        expiry: ExpiryWish::Unsaid,
    }
}

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Disable,
    Reactivate,
    Revoke(ReasonCode),
    Finalize,
    Rotate { overlap: u64 },
    Replace,
    FinishRotation,
    SetExpiry(u64),
    Delete,
}

fn apply(step: &Step, key: Key, policy: &Policy, now: Timestamp, n: u64) -> Result<Outcome, Refusal> {
    match *step {
        Step::Wait(_) => Ok(Outcome::Unchanged(key.settled(now))),
        Step::Disable => key.disable(hold_by(admin()), policy, now),
        Step::Reactivate => key.reactivate(Rank::Admin, now),
        Step::Revoke(code) => key.revoke(revoke_with(code, admin()), policy, now),
        Step::Finalize => key.finalize(revoke_with(ReasonCode::Unspecified, admin()), policy, now),
        Step::Rotate { overlap } => key.rotate(rotation(n, overlap), policy, now),
        Step::Replace => key.replace_undelivered(secret(n), now).map(Outcome::Changed),
        Step::FinishRotation => Ok(key.finish_rotation(now)),
        Step::SetExpiry(seconds) => key.update(
            Edit {
                expiry: ExpiryWish::InSeconds(seconds),
                ..no_edit()
            },
            policy,
            now,
        ),
        Step::Delete => Ok(key.delete()),
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let code = prop::sample::select(ReasonCode::ALL.to_vec());
    prop_oneof![
        (0_u64..200_000).prop_map(Step::Wait),
        Just(Step::Disable),
        Just(Step::Reactivate),
        code.prop_map(Step::Revoke),
        Just(Step::Finalize),
        (0_u64..1_000).prop_map(|overlap| Step::Rotate { overlap }),
        Just(Step::Replace),
        Just(Step::FinishRotation),
        (1_u64..100_000).prop_map(Step::SetExpiry),
        Just(Step::Delete),
    ]
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let undo = prop_oneof![
        Just(Undo::Never),
        (1_u64..100_000).prop_map(Undo::Seconds),
        Just(Undo::Always)
    ];
    let after = prop::sample::select(After::ALL.to_vec());
    let preset = prop::sample::select(Preset::ALL.to_vec());
    (preset, undo, after).prop_map(|(preset, undo, after)| {
        let mut policy = preset.policy();
        policy.revoke.undo = undo;
        policy.revoke.after = after;
        policy.rotate.overlap_max_seconds = 1_000;
        policy
    })
}

proptest! {
    /// Runs a random history and checks every invariant at every step.
    #[test]
    fn every_history_keeps_the_laws(policy in any_policy(), steps in prop::collection::vec(any_step(), 1..40)) {
        let mut key = issued(&policy);
        let mut now = at(0);
        for (n, step) in (1_u64..).zip(&steps) {
            if let Step::Wait(seconds) = step {
                now = now.plus_seconds(*seconds);
            }
            let before = key.clone().settled(now);
            let Ok(outcome) = apply(step, key.clone(), &policy, now, n) else { continue };
            check_laws(&before, &outcome, &policy, now)?;
            let again = apply(step, outcome.key().clone(), &policy, now, n);
            check_retry(step, &outcome, again)?;
            match outcome {
                Outcome::Erased(_) => break,
                Outcome::Unchanged(next) | Outcome::Changed(next) => key = next,
            }
        }
    }
}

fn check_laws(before: &Key, outcome: &Outcome, policy: &Policy, now: Timestamp) -> Result<(), TestCaseError> {
    let after = outcome.key();
    prop_assert_eq!(
        (before.id, &before.subject, &before.tenant),
        (after.id, &after.subject, &after.tenant)
    );
    if let State::Revoked(first) = &before.state {
        prop_assert_eq!(
            &State::Revoked(first.clone()),
            &after.state,
            "revoked is final and keeps its first reason"
        );
        prop_assert_eq!(before.expires_at, after.expires_at);
        prop_assert_eq!(&before.secret, &after.secret);
    }
    if before.secret != after.secret && !matches!(outcome, Outcome::Erased(_)) {
        prop_assert_eq!(
            before.counts(policy, now),
            after.counts(policy, now),
            "rotation never touches the limit"
        );
        prop_assert_eq!(&before.state, &State::Active, "a hold is no way round");
    }
    if let Some(old) = &after.retiring {
        prop_assert!(old.until > now, "an overlap that is over is gone");
        prop_assert_ne!(old.digest, after.secret.digest);
        prop_assert!(
            !matches!(after.state, State::Revoked(_)),
            "no secret of a revoked key is retiring"
        );
    }
    if matches!(outcome, Outcome::Unchanged(_)) {
        prop_assert_eq!(before, after);
    }
    Ok(())
}

/// A verb that is repeated at once on its own result changes nothing more.
fn check_retry(step: &Step, first: &Outcome, again: Result<Outcome, Refusal>) -> Result<(), TestCaseError> {
    let repeats = matches!(
        step,
        Step::Disable | Step::Reactivate | Step::Revoke(_) | Step::Finalize | Step::FinishRotation
    );
    if repeats && !matches!(first, Outcome::Erased(_)) {
        prop_assert_eq!(again, Ok(Outcome::Unchanged(first.key().clone())));
    }
    Ok(())
}

/// Every pair of state and verb has one defined result: the state machine as a table.
#[test]
fn every_pair_of_state_and_verb_is_decided() {
    let policy = Preset::Standard.policy();
    let active = issued(&policy);
    let disabled = active
        .clone()
        .disable(hold_by(admin()), &policy, at(1))
        .unwrap()
        .key()
        .clone();
    let mut undoable = policy.clone();
    undoable.revoke.undo = Undo::Always;
    let revoke = revoke_with(ReasonCode::Unspecified, admin());
    let held = active
        .clone()
        .revoke(revoke.clone(), &undoable, at(1))
        .unwrap()
        .key()
        .clone();
    let revoked = active.clone().revoke(revoke, &policy, at(1)).unwrap().key().clone();
    let steps = [
        Step::Disable,
        Step::Reactivate,
        Step::Revoke(ReasonCode::Unspecified),
        Step::Finalize,
        Step::Rotate { overlap: 0 },
        Step::Replace,
        Step::FinishRotation,
        Step::SetExpiry(60),
        Step::Delete,
    ];
    let table: Vec<Vec<String>> = steps
        .iter()
        .map(|step| {
            [&active, &disabled, &held, &revoked]
                .map(|key| word(step, key, &policy))
                .to_vec()
        })
        .collect();
    let expected = [
        //                 active       disabled     held         revoked
        /* disable     */
        ["disabled", "same", "same", "refused"],
        /* re-activate */ ["same", "active", "active", "refused"],
        /* revoke      */ ["revoked", "revoked", "revoked", "same"],
        /* finalize    */ ["refused", "refused", "revoked", "same"],
        /* rotate      */ ["active", "refused", "refused", "refused"],
        /* replace     */ ["active", "refused", "refused", "refused"],
        /* finish      */ ["same", "same", "same", "same"],
        /* set expiry  */ ["active", "disabled", "disabled", "refused"],
        /* delete      */ ["erased", "erased", "erased", "erased"],
    ];
    assert_eq!(table, expected.map(|row| row.map(str::to_owned).to_vec()).to_vec());
}

fn word(step: &Step, key: &Key, policy: &Policy) -> String {
    match apply(step, key.clone(), policy, at(2), 7) {
        Err(Refusal::InvalidTransition { .. }) => "refused".to_owned(),
        Err(other) => other.to_string(),
        Ok(Outcome::Unchanged(_)) => "same".to_owned(),
        Ok(Outcome::Erased(_)) => "erased".to_owned(),
        Ok(Outcome::Changed(key)) => key.standing(at(2)).to_string(),
    }
}

#[test]
fn a_compromise_is_final_under_every_policy() {
    for &preset in Preset::ALL {
        for code in [ReasonCode::KeyCompromise, ReasonCode::Leaked] {
            let mut policy = preset.policy();
            policy.revoke.undo = Undo::Always;
            policy.revoke.after = After::Keep;
            let key = issued(&policy)
                .revoke(revoke_with(code, owner()), &policy, at(1))
                .unwrap()
                .key()
                .clone();
            assert_eq!(key.standing(at(1)), Standing::Revoked);
            assert!(key.reactivate(Rank::System, at(2)).is_err());
        }
    }
}

#[test]
fn a_retry_neither_shortens_nor_restarts_the_undo_window() {
    let mut policy = Preset::Standard.policy();
    policy.revoke.undo = Undo::Seconds(100);
    let order = revoke_with(ReasonCode::Superseded, admin());
    let held = issued(&policy)
        .revoke(order.clone(), &policy, at(0))
        .unwrap()
        .key()
        .clone();
    let again = held.clone().revoke(order, &policy, at(50)).unwrap();
    assert_eq!(again, Outcome::Unchanged(held.clone()));
    assert_eq!(held.clone().settled(at(99)).standing(at(99)), Standing::Disabled);
    let over = held.settled(at(100));
    assert_eq!(over.standing(at(100)), Standing::Revoked);
    assert!(over.reactivate(Rank::Admin, at(100)).is_err());
}

#[test]
fn an_administrators_sticky_hold_is_not_lifted_by_the_owner() {
    let policy = Preset::Standard.policy();
    let by_admin = issued(&policy)
        .disable(hold_by(admin()), &policy, at(1))
        .unwrap()
        .key()
        .clone();
    assert_eq!(by_admin.clone().reactivate(Rank::Owner, at(2)), Err(Refusal::Locked));
    assert!(by_admin.reactivate(Rank::Admin, at(2)).is_ok());
    let palette = Preset::Hold.policy();
    let by_admin = issued(&palette)
        .disable(hold_by(admin()), &palette, at(1))
        .unwrap()
        .key()
        .clone();
    assert!(by_admin.reactivate(Rank::Owner, at(2)).is_ok(), "P-24");
}

#[test]
fn an_overlap_never_outlives_the_old_expiry_nor_revives_it() {
    let policy = Preset::Standard.policy();
    let mut key = issued(&policy);
    key.expires_at = Some(at(10));
    let order = |expiry| RotateOrder {
        expiry,
        ..rotation(1, 100)
    };
    let rotated = key.clone().rotate(order(ExpiryWish::Never), &policy, at(5)).unwrap();
    assert_eq!(rotated.key().retiring.as_ref().map(|old| old.until), Some(at(10)));
    let rotated = key.clone().rotate(order(ExpiryWish::Never), &policy, at(20)).unwrap();
    assert_eq!(rotated.key().retiring, None);
    assert_eq!(
        key.rotate(order(ExpiryWish::Unsaid), &policy, at(20)),
        Err(Refusal::ExpiryPast)
    );
}

#[test]
fn a_second_rotation_ends_the_older_secret_at_once() {
    let policy = Preset::Standard.policy();
    let once = issued(&policy)
        .rotate(rotation(1, 100), &policy, at(1))
        .unwrap()
        .key()
        .clone();
    let twice = once.rotate(rotation(2, 100), &policy, at(2)).unwrap().key().clone();
    assert_eq!(twice.retiring.map(|old| old.digest), Some(secret(1).digest));
    assert_eq!(twice.secret, secret(2));
}

#[test]
fn an_undelivered_secret_is_replaced_without_touching_the_overlap() {
    let policy = Preset::Standard.policy();
    let rotated = issued(&policy)
        .rotate(rotation(1, 100), &policy, at(1))
        .unwrap()
        .key()
        .clone();
    let replaced = rotated.clone().replace_undelivered(secret(2), at(50)).unwrap();
    assert_eq!(replaced.retiring, rotated.retiring);
    assert_eq!(replaced.secret, secret(2));
}

#[test]
fn an_edit_moves_no_owner_and_revives_nothing_by_the_way() {
    let policy = Preset::Standard.policy();
    let mut key = issued(&policy);
    let other = Edit {
        subject: Subject::parse("user_2").ok(),
        ..no_edit()
    };
    assert_eq!(key.clone().update(other, &policy, at(1)), Err(Refusal::OwnershipMove));
    let same = Edit {
        subject: Subject::parse("user_1").ok(),
        ..no_edit()
    };
    assert_eq!(
        key.clone().update(same, &policy, at(1)),
        Ok(Outcome::Unchanged(key.clone()))
    );
    key.expires_at = Some(at(1));
    let later = Edit {
        expiry: ExpiryWish::InSeconds(100),
        ..no_edit()
    };
    let refused = key.clone().update(later.clone(), &policy, at(2));
    assert_eq!(refused, Err(Refusal::Policy(Violation::ExpiredStays)));
    let renewed = key.update(later, &Preset::Hold.policy(), at(2)).unwrap();
    assert_eq!(renewed.key().standing(at(2)), Standing::Active);
}

#[test]
fn the_limit_counts_what_could_work_again_without_a_new_secret() {
    let policy = Preset::Erase.policy();
    let facts = |used| IssueFacts {
        used,
        name_taken: true,
        owner_blocked: false,
    };
    assert!(Key::issue(samples::order(), facts(2), &policy, at(0)).is_ok());
    assert_eq!(
        Key::issue(samples::order(), facts(3), &policy, at(0)),
        Err(Refusal::LimitReached { max: 3, used: 3 })
    );
    let standard = Preset::Standard.policy();
    assert_eq!(
        Key::issue(samples::order(), facts(0), &standard, at(0)),
        Err(Refusal::NameTaken)
    );
    let mut expired = issued(&policy);
    expired.expires_at = Some(at(1));
    assert!(expired.counts(&policy, at(2)) && !expired.counts(&standard, at(2)));
}

#[test]
fn disabling_a_key_on_hold_after_a_restore_makes_the_hold_the_actors() {
    let policy = Preset::Standard.policy();
    let note = |text: &str| Note::parse(text).ok();
    let held = issued(&policy)
        .hold_again(Lock::Admin, note("restored"), at(1))
        .key()
        .clone();
    let order = HoldOrder {
        actor: Actor::Operator,
        note: note("stolen"),
    };
    let disabled = held.clone().disable(order.clone(), &policy, at(2)).unwrap();
    let State::Disabled(hold) = &disabled.key().state else {
        panic!("{disabled:?}")
    };
    assert_eq!(
        (&hold.note, hold.lock, hold.since),
        (&note("stolen"), Lock::Admin, at(1))
    );
    assert!(!hold.is_of_restore());
    let again = disabled.key().clone().disable(order, &policy, at(3)).unwrap();
    assert!(matches!(again, Outcome::Unchanged(_)), "{again:?}");
}
