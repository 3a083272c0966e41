//! Bounds for the verifiers of one root key, of one tenant and of all, so that none exhausts what others need (rule
//! R15).

use crate::access::Reach;
use crate::coherence::Moment;
use crate::id::RootKeyId;
use std::collections::HashMap;

/// Most verifiers. A disconnected one counts until its last lease is over.
pub const CHILDREN_MAX: Most = Most {
    root_key: 256,
    tenant: 1_024,
    all: 4_096,
};
/// Most secrets that verifiers may remember. A verifier that looks up more is first ordered to forget everything.
pub const HOLDS_MAX: Most = Most {
    root_key: 2_000_000,
    tenant: 4_000_000,
    all: 16_000_000,
};
/// Most look-ups in progress. One more is answered as unavailable.
pub const LOOK_UPS_MAX: Most = Most {
    root_key: 512,
    tenant: 1_024,
    all: 4_096,
};
/// Most orders that one verifier may leave unacknowledged. With more it is overdue at once.
pub const ORDERS_MAX: usize = 4_096;

// Rule R12: an order to forget a complete tenant in place of so many secrets is sent to a verifier only if it was given
// one of them. Fewer could all be secrets that it looks up and does not reach.
const _: () = assert!(super::FORGOTTEN_MAX > LOOK_UPS_MAX.all, "see above");

/// An order that is unacknowledged for this long ends grants and the connection, in milliseconds (rule R13).
pub const OVERDUE_MS: u64 = 2_000;
/// How long a verifier that was sent away may still acknowledge, in milliseconds. Then its connection is closed.
pub const GOODBYE_MS: u64 = 500;
/// If verifiers of one root key are overdue this often ...
pub const STRIKES_MAX: usize = 3;
/// ... within this time, in milliseconds, the root key is refused the stream for the same time.
pub const STRIKES_MS: u64 = 600_000;
/// Connections of one root key that end within this time with unacknowledged orders count once, in milliseconds: an
/// application of many processes that is restarted is one cause.
pub const ENDED_TOGETHER_MS: u64 = 10_000;
/// Most root keys whose overdue verifiers are remembered.
const STRUCK_MAX: usize = 4_096;

/// A bound at three levels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Most {
    /// For one root key.
    pub root_key: usize,
    /// For all verifiers bound to one tenant; for all that are bound to none; and for those on the same machine.
    pub tenant: usize,
    /// For all verifiers.
    pub all: usize,
}

/// The bound that is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full {
    /// The bound.
    pub max: usize,
    /// What it is for, as text.
    pub of: &'static str,
}

/// The verifiers that share bounds: their root key and reach.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Class {
    pub(super) root_key: Option<RootKeyId>,
    pub(super) reach: Reach,
}

impl Class {
    /// Whether another class shares the tenant bound with this one. Verifiers without a root key have their own.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        self.root_key.is_some() == other.root_key.is_some() && (self.root_key.is_none() || self.reach == other.reach)
    }
}

impl Most {
    /// Fails if one more exceeds a bound. `counts`: of the root key, of the tenant, in all.
    pub(super) fn check(&self, counts: [usize; 3]) -> Result<(), Full> {
        let bounds = [
            (self.root_key, "of this root key"),
            (self.tenant, "of this tenant"),
            (self.all, "in all"),
        ];
        let reached = bounds.into_iter().zip(counts).find(|((max, _), count)| count >= max);
        reached.map_or(Ok(()), |((max, of), _)| Err(Full { max, of }))
    }
}

/// A count of something by class.
#[derive(Debug, Default)]
pub(super) struct Tally(HashMap<Class, usize>);

impl Tally {
    pub(super) fn add(&mut self, class: &Class) {
        match self.0.get_mut(class) {
            Some(count) => *count += 1,
            None => _ = self.0.insert(class.clone(), 1),
        }
    }

    pub(super) fn remove(&mut self, class: &Class, count: usize) {
        if let Some(known) = self.0.get_mut(class) {
            *known = known.saturating_sub(count);
            if *known == 0 {
                self.0.remove(class);
            }
        }
    }

    /// Returns the count in all.
    pub(super) fn len(&self) -> usize {
        self.0.values().sum()
    }

    /// Returns the counts of the root key, of the tenant, in all.
    pub(super) fn counts(&self, class: &Class) -> [usize; 3] {
        let of = |is_it: &dyn Fn(&Class) -> bool| {
            let some = self.0.iter().filter(|(other, _)| is_it(other));
            some.map(|(_, count)| count).sum()
        };
        [
            of(&|other| class.root_key.is_some() && other.root_key == class.root_key),
            of(&|other| class.is_beside(other)),
            of(&|_| true),
        ]
    }
}

/// When verifiers of root keys were overdue.
#[derive(Debug, Default)]
pub(super) struct Strikes(HashMap<RootKeyId, Vec<Moment>>);

impl Strikes {
    pub(super) fn note(&mut self, root_key: RootKeyId, now: Moment) {
        if self.0.len() >= STRUCK_MAX {
            self.0
                .retain(|_, times| times.iter().any(|at| now.ms_since(*at) < STRIKES_MS));
        }
        if self.0.len() >= STRUCK_MAX && !self.0.contains_key(&root_key) {
            // Recent strikes of other root keys take all places: this one is not noted, and the memory stays bounded.
            return;
        }
        let times = self.0.entry(root_key).or_default();
        times.retain(|at| now.ms_since(*at) < STRIKES_MS);
        times.push(now);
        if times.len() > STRIKES_MAX {
            times.remove(0);
        }
    }

    /// Notes that a connection ended with unacknowledged orders, unless one was counted shortly before.
    pub(super) fn note_ended(&mut self, root_key: RootKeyId, now: Moment) {
        let last = self.0.get(&root_key).and_then(|times| times.last());
        if last.is_none_or(|last| now.ms_since(*last) >= ENDED_TOGETHER_MS) {
            self.note(root_key, now);
        }
    }

    /// Returns how long a root key is still refused, in milliseconds; `None` if it is not.
    pub(super) fn refused_ms(&self, root_key: RootKeyId, now: Moment) -> Option<u64> {
        let times = self.0.get(&root_key)?;
        let (first, last) = (times.first()?, times.last()?);
        let is_often = times.len() >= STRIKES_MAX && last.ms_since(*first) < STRIKES_MS;
        let left = STRIKES_MS.saturating_sub(now.ms_since(*last));
        (is_often && left > 0).then_some(left)
    }
}
