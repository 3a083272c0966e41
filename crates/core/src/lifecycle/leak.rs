//! A leaked secret: the policy decides what happens to its key.

use super::{Hold, HoldCause, Key, Lock, Outcome, ReasonCode, RevokeOrder, State};
use crate::access::Actor;
use crate::policy::{LeakAction, Policy};
use crate::text::Note;
use crate::time::Timestamp;

/// An order to apply the policy to a leak.
#[derive(Clone, Debug)]
pub struct LeakOrder {
    /// The actor of the change.
    pub by: Actor,
    /// Where the secret was found.
    pub note: Option<Note>,
}

impl Key {
    /// Revokes the key for good, puts it on hold until an administrator lifts it, or leaves it unchanged. A leak
    /// requires no reason and has no undo window, whatever the policy requires of a revocation.
    pub fn leak(self, order: LeakOrder, policy: &Policy, now: Timestamp) -> Outcome {
        let key = self.settled(now);
        if matches!(key.state, State::Revoked(_)) {
            return Outcome::Unchanged(key);
        }
        match policy.leaks.action {
            LeakAction::Notify => Outcome::Unchanged(key),
            LeakAction::Hold => key.held_for_leak(order, now),
            LeakAction::Revoke => {
                let order = RevokeOrder {
                    actor: order.by,
                    code: ReasonCode::Leaked,
                    note: order.note,
                };
                key.ended(order, policy, now)
            }
        }
    }

    /// The owner cannot lift this hold, because a client with the secret could act as the owner. An existing hold keeps
    /// its cause, and only an administrator can lift it from now on.
    fn held_for_leak(self, order: LeakOrder, now: Timestamp) -> Outcome {
        let hold = match &self.state {
            State::Disabled(before) if before.code == ReasonCode::Leaked && before.lock >= Lock::Admin => {
                return Outcome::Unchanged(self);
            }
            State::Disabled(before) => Hold {
                lock: before.lock.max(Lock::Admin),
                code: ReasonCode::Leaked,
                note: order.note,
                ..before.clone()
            },
            State::Active | State::Revoked(_) => Hold {
                cause: HoldCause::Leaked,
                lock: Lock::Admin,
                since: now,
                by: order.by.id().into(),
                finalize_at: None,
                code: ReasonCode::Leaked,
                note: order.note,
            },
        };
        Outcome::Changed(self.moved_to(State::Disabled(hold), now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Rank;
    use crate::lifecycle::{HoldOrder, IssueFacts, Refusal, samples};
    use crate::policy::{After, Preset, ReasonRule, Undo};

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn issued() -> Key {
        let (policy, now) = (Preset::Standard.policy(), Timestamp::from_millis(0));
        Key::issue(samples::order(), IssueFacts::default(), &policy, now).unwrap()
    }

    fn order() -> LeakOrder {
        LeakOrder {
            by: Actor::System,
            note: Note::parse("found by ci").ok(),
        }
    }

    fn policy(action: LeakAction) -> Policy {
        let mut policy = Preset::Standard.policy();
        policy.leaks.action = action;
        policy
    }

    #[test]
    fn a_leaked_key_is_revoked_for_good_whatever_the_policy_says_about_revoking() {
        let mut policy = policy(LeakAction::Revoke);
        policy.revoke.undo = Undo::Always;
        policy.revoke.reason = ReasonRule::Required;
        let order = LeakOrder { note: None, ..order() };
        let outcome = issued().leak(order.clone(), &policy, NOW);
        let State::Revoked(ended) = &outcome.key().state else {
            panic!("{outcome:?}")
        };
        assert_eq!((ended.code, &*ended.by), (ReasonCode::Leaked, "system"));
        let again = outcome.key().clone().leak(order.clone(), &policy, NOW);
        assert!(matches!(again, Outcome::Unchanged(_)));
        policy.revoke.undo = Undo::Never;
        policy.revoke.after = After::Erase;
        assert!(matches!(issued().leak(order, &policy, NOW), Outcome::Erased(_)));
    }

    #[test]
    fn a_hold_for_a_leak_is_lifted_by_an_administrator_only() {
        let policy = policy(LeakAction::Hold);
        let held = issued().leak(order(), &policy, NOW).key().clone();
        let State::Disabled(hold) = &held.state else {
            panic!("{held:?}")
        };
        assert_eq!(
            (hold.cause, hold.code, hold.finalize_at),
            (HoldCause::Leaked, ReasonCode::Leaked, None)
        );
        assert!(matches!(
            held.clone().leak(order(), &policy, NOW),
            Outcome::Unchanged(_)
        ));
        assert_eq!(held.clone().reactivate(Rank::Owner, NOW), Err(Refusal::Locked));
        assert_eq!(held.reactivate(Rank::Admin, NOW).unwrap().key().state, State::Active);
    }

    #[test]
    fn a_hold_that_was_there_becomes_an_administrators() {
        let policy = policy(LeakAction::Hold);
        let by_owner = HoldOrder {
            actor: Actor::Key(issued().id),
            note: None,
        };
        let held = issued().disable(by_owner, &policy, NOW).unwrap().key().clone();
        let outcome = held.leak(order(), &policy, NOW);
        let State::Disabled(hold) = &outcome.key().state else {
            panic!("{outcome:?}")
        };
        assert_eq!((hold.cause, hold.lock), (HoldCause::Manual, Lock::Admin));
    }

    #[test]
    fn where_a_leak_is_only_written_down_the_key_stays_as_it_is() {
        let outcome = issued().leak(order(), &policy(LeakAction::Notify), NOW);
        assert_eq!(outcome, Outcome::Unchanged(issued()));
    }
}
