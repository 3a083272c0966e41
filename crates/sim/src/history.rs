//! The requests and answers of a run, and whether they keep the invariants.
//!
//! A key can be denied for several reasons at once: itself, its secret, its owner, its tenant. Each is a *ground*, with
//! denials and activations of its own, and the invariants are checked separately for each ground.

use crate::executor::{Nanos, TaskOwner};
use std::collections::BTreeMap;
use std::fmt;

/// Something that can be denied.
pub(crate) type Ground = u32;

/// A denial or an activation of a ground.
#[derive(Clone, Debug)]
pub(crate) struct GroundChange {
    pub(crate) ground: Ground,
    pub(crate) is_denial: bool,
    /// Stamps before the request was sent and after its answer arrived, both in the total order of events.
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    /// The revision, if the answer reported that the change is effective.
    pub(crate) effective: Option<u64>,
    /// In a run without other faults, where only children can delay an answer: the longest time that this one may take,
    /// and the time that it took. In nanoseconds.
    pub(crate) took: Option<(u64, u64)>,
}

/// The outcome of a verification.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum VerifyOutcome {
    Valid,
    /// Denied on one of its grounds.
    Denied(Ground),
    /// Denied on one of these grounds; the answer does not show which.
    Blocked([Ground; 2]),
    Unavailable,
}

/// A verification.
#[derive(Clone, Debug)]
pub(crate) struct Verification {
    pub(crate) grounds: Vec<Ground>,
    pub(crate) process: u32,
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) said: VerifyOutcome,
    /// Whether the process certainly held no lease from request to answer.
    pub(crate) was_without_lease: bool,
}

/// Separates the revisions of states of the database: an older copy assigns the same revisions again.
pub(crate) const EPOCH: u64 = 1_000_000;

/// All requests of a run.
#[derive(Clone, Default, Debug)]
pub(crate) struct RunHistory {
    pub(crate) changes: Vec<GroundChange>,
    pub(crate) verifications: Vec<Verification>,
    /// Stamps at which an older copy of the database replaced it.
    pub(crate) put_back: Vec<u64>,
    /// The durations of changes that were answered as effective.
    pub(crate) waits: Vec<Wait>,
    /// Processes that gave no answer at the end, long after the last fault.
    pub(crate) silent: Vec<TaskOwner>,
}

/// The duration of a change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    /// The process that was asked for it.
    pub(crate) by: TaskOwner,
    pub(crate) sent: Nanos,
    pub(crate) took: Nanos,
}

/// A violation of an invariant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FoundViolation {
    pub(crate) invariant: &'static str,
    pub(crate) verification: String,
}

impl fmt::Display for FoundViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.verification)
    }
}

impl RunHistory {
    /// Returns every violation. `head` is the newest revision of the database at the end.
    pub(crate) fn check(&self, head: u64) -> Vec<FoundViolation> {
        // I5: a change that was answered as effective is in the database. Nodes write again what an older copy has
        // lost; other invariants find out whether they did.
        let head = head + EPOCH * u64::try_from(self.put_back.len()).unwrap_or(0);
        let lost = self.changes.iter().filter(|change| change.effective > Some(head));
        let mut found: Vec<_> = lost
            .map(|change| FoundViolation {
                invariant: "I5",
                verification: format!("{change:?}"),
            })
            .collect();
        // L1: no change waits longer than necessary.
        let slow = self
            .changes
            .iter()
            .filter(|change| change.took.is_some_and(|(most, took)| took > most));
        found.extend(slow.map(|change| FoundViolation {
            invariant: "L1",
            verification: format!("{change:?}"),
        }));
        // R19: after an older copy has replaced the database, nodes answer again.
        found.extend(self.silent.iter().map(|owner| FoundViolation {
            invariant: "R19",
            verification: format!("{owner:?} answers nothing at the end"),
        }));
        for verification in &self.verifications {
            let broken = match verification.said {
                VerifyOutcome::Unavailable => None,
                // I3: no answer without a lease.
                VerifyOutcome::Valid | VerifyOutcome::Denied(_) | VerifyOutcome::Blocked(_)
                    if verification.was_without_lease =>
                {
                    Some("I3")
                }
                VerifyOutcome::Valid => self
                    .breaks_denial(verification)
                    .or_else(|| self.breaks_order(verification)),
                VerifyOutcome::Denied(ground) => self.breaks_activation(verification, &[ground]),
                VerifyOutcome::Blocked(grounds) => self.breaks_activation(verification, &grounds),
            };
            found.extend(broken.map(|invariant| FoundViolation {
                invariant,
                verification: format!("{verification:?}"),
            }));
        }
        found
    }

    /// R17: no change waits for a machine that stops repeatedly, once it has lost its lease often enough.
    pub(crate) fn waited_too_long(&self, stutterer: TaskOwner, after: Nanos, most: Nanos) -> Vec<FoundViolation> {
        let waits = self.waits.iter();
        let long = waits.filter(|wait| wait.by != stutterer && wait.sent > after && wait.took >= most);
        let violation = |wait: &Wait| FoundViolation {
            invariant: "R17",
            verification: format!("{wait:?}"),
        };
        long.map(violation).collect()
    }

    /// Whether an older copy replaced the database before a time.
    fn was_put_back(&self, before: u64) -> bool {
        self.put_back.iter().any(|&at| at < before)
    }

    fn of(&self, ground: Ground, is_denial: bool) -> impl Iterator<Item = &GroundChange> {
        let is_it = move |change: &&GroundChange| change.ground == ground && change.is_denial == is_denial;
        self.changes.iter().filter(is_it)
    }

    /// Returns the newest answered change of a kind that was over when a verification was sent.
    fn newest_before(&self, verification: &Verification, ground: Ground, is_denial: bool) -> Option<u64> {
        let over = self
            .of(ground, is_denial)
            .filter(|change| change.answered < verification.sent);
        over.filter_map(|change| change.effective).max()
    }

    /// Whether a change of a kind may have come after a revision and before the end of a verification. A change whose
    /// answer was lost may have come at any time after it was sent.
    fn may_follow(&self, verification: &Verification, ground: Ground, is_denial: bool, revision: u64) -> bool {
        self.of(ground, is_denial)
            .filter(|change| change.sent < verification.answered)
            .any(|change| change.effective.is_none_or(|later| later > revision))
    }

    /// I1: VALID after an answered denial needs an activation that is newer than it.
    fn breaks_denial(&self, verification: &Verification) -> Option<&'static str> {
        let breaks = |&&ground: &&Ground| {
            let denied = self.newest_before(verification, ground, true);
            denied.is_some_and(|revision| !self.may_follow(verification, ground, false, revision))
        };
        verification.grounds.iter().find(breaks).map(|_| "I1")
    }

    /// I2: a denial after an answered activation needs a denial that is newer than it. A ground that was never denied
    /// was active from the start.
    fn breaks_activation(&self, verification: &Verification, grounds: &[Ground]) -> Option<&'static str> {
        // An older copy loses activations too, and these are not written again: a re-activated key is then denied.
        if self.was_put_back(verification.answered) {
            return None;
        }
        let is_explained = |&ground: &Ground| {
            let active = self.newest_before(verification, ground, false).unwrap_or(0);
            self.may_follow(verification, ground, true, active)
        };
        let is_known = |&ground: &Ground| {
            self.newest_before(verification, ground, false).is_some() || self.of(ground, false).next().is_none()
        };
        (grounds.iter().all(is_known) && !grounds.iter().any(is_explained)).then_some("I2")
    }

    /// I4: at one process a ground does not become valid again without an activation that may have come since.
    fn breaks_order(&self, verification: &Verification) -> Option<&'static str> {
        let earlier = self
            .verifications
            .iter()
            .filter(|other| other.process == verification.process && other.answered < verification.sent)
            // A denial that was not answered may be lost with an older copy.
            .filter(|other| {
                !self
                    .put_back
                    .iter()
                    .any(|&at| other.sent < at && at < verification.answered)
            });
        let mut last: BTreeMap<Ground, u64> = BTreeMap::new();
        for other in earlier {
            if let VerifyOutcome::Denied(ground) = other.said {
                let newest = last.entry(ground).or_default();
                *newest = (*newest).max(other.sent);
            }
        }
        let breaks = |ground: &&Ground| {
            last.get(ground).is_some_and(|&denied| {
                let mut activations = self.of(**ground, false);
                !activations.any(|change| {
                    change.sent < verification.answered && (change.effective.is_none() || change.answered > denied)
                })
            })
        };
        verification.grounds.iter().find(breaks).map(|_| "I4")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(is_denial: bool, sent: u64, effective: Option<u64>) -> GroundChange {
        GroundChange {
            ground: 1,
            is_denial,
            sent,
            answered: sent + 5,
            effective,
            took: None,
        }
    }

    fn said(said: VerifyOutcome, sent: u64) -> Verification {
        Verification {
            grounds: vec![1],
            process: 1,
            sent,
            answered: sent + 2,
            said,
            was_without_lease: false,
        }
    }

    fn invariants(changes: Vec<GroundChange>, verifications: Vec<Verification>) -> Vec<&'static str> {
        let history = RunHistory {
            changes,
            verifications,
            ..RunHistory::default()
        };
        history.check(9).iter().map(|violation| violation.invariant).collect()
    }

    #[test]
    fn a_sound_history_is_found_sound() {
        let changes = vec![change(false, 1, Some(1)), change(true, 10, Some(2))];
        let asked = vec![
            said(VerifyOutcome::Valid, 8),
            said(VerifyOutcome::Denied(1), 12),
            said(VerifyOutcome::Denied(1), 20),
        ];
        assert_eq!(invariants(changes, asked), Vec::<&str>::new());
    }

    #[test]
    fn an_answer_without_a_lease_and_a_change_that_is_not_there_are_found() {
        let guessed = Verification {
            was_without_lease: true,
            ..said(VerifyOutcome::Valid, 8)
        };
        assert_eq!(invariants(vec![change(false, 1, Some(1))], vec![guessed]), ["I3"]);
        assert_eq!(invariants(vec![change(false, 1, Some(10))], vec![]), ["I5"]);
    }

    #[test]
    fn an_answer_that_waits_for_what_it_need_not_is_found() {
        let slow = GroundChange {
            took: Some((5, 6)),
            ..change(true, 10, Some(2))
        };
        assert_eq!(invariants(vec![slow.clone()], vec![]), ["L1"]);
        let quick = GroundChange {
            took: Some((5, 5)),
            ..slow
        };
        assert_eq!(invariants(vec![quick], vec![]), Vec::<&str>::new());
    }

    #[test]
    fn what_is_planted_is_found() {
        let made = change(false, 1, Some(1));
        let denied = change(true, 10, Some(2));
        let lost = change(true, 10, None);
        let table = [
            (
                vec![made.clone(), denied.clone()],
                vec![said(VerifyOutcome::Valid, 16)],
                vec!["I1"],
            ),
            (
                vec![made.clone(), lost.clone()],
                vec![said(VerifyOutcome::Valid, 16)],
                vec![],
            ),
            (vec![made.clone()], vec![said(VerifyOutcome::Denied(1), 16)], vec!["I2"]),
            (
                vec![made.clone(), lost.clone()],
                vec![said(VerifyOutcome::Denied(1), 12), said(VerifyOutcome::Valid, 16)],
                vec!["I4"],
            ),
            (
                vec![made, denied, change(false, 20, Some(3))],
                vec![said(VerifyOutcome::Denied(1), 16), said(VerifyOutcome::Valid, 26)],
                vec![],
            ),
        ];
        for (changes, asked, expected) in table {
            assert_eq!(invariants(changes, asked), expected);
        }
    }
}
