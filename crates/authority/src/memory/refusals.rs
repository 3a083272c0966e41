//! Refused calls of the last minute, by caller: the first few are logged at once, the others are counted.

use crate::caller::Call;
use keyreeve_core::coherence::Moment;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// How long refusals of one caller are counted together, in milliseconds.
const TOGETHER_MS: u64 = 60_000;
/// Different refusals of one caller that are logged individually in that time.
const ALONE_MAX: usize = 5;
/// Callers that are remembered. Those beyond it are counted together as one.
const CALLERS_MAX: usize = 10_000;
/// Refusals that wait for the next second. Those beyond it are counted with the others of their caller.
const SOON_MAX: usize = 1_000;
/// The name of those.
const OTHERS: &str = "";

/// A refusal to be logged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// The kind of record that it is about.
    pub target_type: &'static str,
    /// The record: an id, or the address template. Never text from the caller.
    pub target_id: String,
    /// The error code and what was requested.
    pub what: String,
}

impl Refused {
    /// Returns the reason in the audit log, of an entry for so many calls. 0 is an entry for one call.
    pub(crate) fn reason(&self, together: u64) -> String {
        match together {
            0 => self.what.clone(),
            count => format!("{} ({count} refused calls of this caller taken together)", self.what),
        }
    }
}

/// The refusals of one caller since `since`.
#[derive(Debug)]
struct CallerRefusals {
    since: Moment,
    alone: Vec<Refused>,
    /// The last one that was not logged, and how many of them there are.
    more: Option<RefusedCall>,
}

impl CallerRefusals {
    fn new(since: Moment) -> Self {
        Self {
            since,
            alone: Vec::new(),
            more: None,
        }
    }

    /// Counts calls that are logged together later.
    fn count(&mut self, (call, refused, count): RefusedCall) {
        let before = self.more.as_ref().map_or(0, |(.., count)| *count);
        self.more = Some((call, refused, before.saturating_add(count)));
    }

    fn is_over(&self, now: Moment) -> bool {
        now.ms_since(self.since) >= TOGETHER_MS
    }
}

/// An entry to be logged: the refusal of one call, or the last one of so many.
pub(crate) type RefusedCall = (Call, Refused, u64);

/// The refusals of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    callers: Mutex<HashMap<String, CallerRefusals>>,
    /// What is logged within a second.
    soon: Mutex<Vec<RefusedCall>>,
}

impl Refusals {
    /// Takes a refusal. Returns what is to be logged now; the rest is logged later.
    pub(crate) fn take(&self, call: &Call, refused: Refused, now: Moment) -> Vec<RefusedCall> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = Vec::new();
        let name = place(&callers, call);
        let caller = callers.entry(name).or_insert_with(|| CallerRefusals::new(now));
        if caller.is_over(now) {
            entries.extend(std::mem::replace(caller, CallerRefusals::new(now)).more);
        }
        if !caller.alone.contains(&refused) && caller.alone.len() < ALONE_MAX {
            caller.alone.push(refused.clone());
            entries.push((call.clone(), refused, 0));
        } else {
            caller.count((call.clone(), refused, 1));
        }
        entries
    }

    /// As [`Refusals::take`], where all is logged later: what would be logged now is due at the next call of
    /// [`Refusals::due`].
    pub(crate) fn take_soon(&self, call: &Call, refused: Refused, now: Moment) {
        for entry in self.take(call, refused, now) {
            let mut soon = self.soon.lock().unwrap_or_else(PoisonError::into_inner);
            match soon.len() < SOON_MAX {
                true => soon.push(entry),
                false => {
                    drop(soon);
                    self.put_back(entry, now);
                }
            }
        }
    }

    /// Keeps what could not be logged: it is counted with the others of its caller.
    pub(crate) fn put_back(&self, entry: RefusedCall, now: Moment) {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let name = place(&callers, &entry.0);
        let caller = callers.entry(name).or_insert_with(|| CallerRefusals::new(now));
        caller.count((entry.0, entry.1, entry.2.max(1)));
    }

    /// Takes what was counted and is a minute old, or `all` of it.
    pub(crate) fn due(&self, now: Moment, all: bool) -> Vec<RefusedCall> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = std::mem::take(&mut *self.soon.lock().unwrap_or_else(PoisonError::into_inner));
        callers.retain(|_, caller| {
            let is_due = all || caller.is_over(now);
            if is_due {
                entries.extend(caller.more.take());
            }
            !is_due
        });
        entries
    }
}

/// Returns the name that a caller's refusals are counted under.
fn place(callers: &HashMap<String, CallerRefusals>, call: &Call) -> String {
    let name = format!("{} {}", call.caller.actor.id(), call.tenant);
    match callers.len() >= CALLERS_MAX && !callers.contains_key(&name) {
        true => OTHERS.to_owned(),
        false => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Caller;
    use keyreeve_core::text::Slug;

    fn call(tenant: &str) -> Call {
        Call {
            caller: Caller::operator(),
            tenant: Slug::parse(tenant).unwrap(),
            address: None,
            request_id: "req_1".into(),
            idempotency: None,
            only_if: None,
            is_awaited: true,
        }
    }

    fn refused(target: usize) -> Refused {
        Refused {
            target_type: "route",
            target_id: target.to_string(),
            what: "PERMISSION_DENIED".to_owned(),
        }
    }

    fn at(ms: u64) -> Moment {
        Moment::default().plus_ms(ms)
    }

    #[test]
    fn what_is_logged_later_is_due_within_a_second_and_bounded() {
        let refusals = Refusals::default();
        refusals.take_soon(&call("a"), refused(1), at(0));
        let due = refusals.due(at(1), false);
        assert!(matches!(&*due, [(_, first, 0)] if *first == refused(1)), "{due:?}");
        assert!(refusals.due(at(1), false).is_empty(), "reported once");
        for number in 0..=SOON_MAX {
            refusals.take_soon(&call(&format!("t{number}")), refused(1), at(2));
        }
        assert_eq!(refusals.due(at(3), false).len(), SOON_MAX);
        assert_eq!(refusals.due(at(2 + TOGETHER_MS), false).len(), 1, "nothing is lost");
    }

    #[test]
    fn the_same_refusal_again_and_again_is_one_entry_and_their_number() {
        let refusals = Refusals::default();
        let written: usize = (0..1_000)
            .map(|_| refusals.take(&call("a"), refused(1), at(0)).len())
            .sum();
        assert_eq!(written, 1);
        assert!(refusals.due(at(TOGETHER_MS - 1), false).is_empty());
        let due = refusals.due(at(TOGETHER_MS), false);
        assert_eq!(due.len(), 1);
        assert!(due[0].1.reason(due[0].2).contains("999 refused calls"), "{due:?}");
        assert!(refusals.due(at(TOGETHER_MS), true).is_empty(), "reported once");
        assert_eq!(
            refusals.take(&call("a"), refused(1), at(TOGETHER_MS)).len(),
            1,
            "a new minute"
        );
    }

    #[test]
    fn different_refusals_are_bounded_as_well_and_each_caller_has_its_own() {
        let refusals = Refusals::default();
        let written: usize = (0..1_000)
            .map(|target| refusals.take(&call("a"), refused(target), at(0)).len())
            .sum();
        assert_eq!(written, ALONE_MAX);
        assert_eq!(refusals.take(&call("b"), refused(1), at(0)).len(), 1);
        // The next refusal logs those of the minute before, without waiting for the tick.
        let entries = refusals.take(&call("a"), refused(7), at(TOGETHER_MS));
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].2, 995, "{entries:?}");
    }

    #[test]
    fn what_could_not_be_written_is_written_later_with_its_number() {
        let refusals = Refusals::default();
        let one = refusals.take(&call("a"), refused(1), at(0)).remove(0);
        assert!(refusals.take(&call("a"), refused(1), at(0)).is_empty());
        refusals.put_back(one, at(0));
        let due = refusals.due(at(TOGETHER_MS), false).remove(0);
        assert_eq!(due.2, 2);
        refusals.put_back(due, at(TOGETHER_MS));
        assert!(
            refusals.due(at(2 * TOGETHER_MS - 1), false).is_empty(),
            "a minute later"
        );
        assert_eq!(refusals.due(at(2 * TOGETHER_MS), false)[0].2, 2);
    }

    #[test]
    fn many_callers_do_not_fill_the_memory() {
        let refusals = Refusals::default();
        for number in 0..CALLERS_MAX + 50 {
            refusals.take(&call(&format!("t{number}")), refused(1), at(0));
        }
        assert_eq!(refusals.callers.lock().unwrap().len(), CALLERS_MAX + 1);
        assert_eq!(refusals.due(at(0), true).len(), 1);
        assert!(refusals.callers.lock().unwrap().is_empty());
    }
}
