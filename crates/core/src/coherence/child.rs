//! A verifier that hangs on another one: the memory inside an application.
//!
//! It keeps the same rules as a node, with its parent in the place of the database: its lease counts from when it asked
//! for it and lasts no longer than what is left of the parent's; what the parent says to forget is forgotten before it
//! is acknowledged; a fill that such an order overtakes is thrown away. Whoever runs it brings messages and clocks.

use super::lease::{Deadline, Lease, Moment};
use super::nursery::Forget;
use super::rules::{Rule, keeps};
use super::{Cache, Entry, Gate, Ticket};
use crate::key::Digest;
use crate::policy::Reveal;
use crate::text::Slug;
use crate::time::Timestamp;
use crate::user::Status;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A parent's clock may run so much faster than the child's: a tenth.
const SLACK_PART: u64 = 10;

/// The memory of one child.
#[derive(Debug)]
pub struct Child {
    keys: Cache<Entry>,
    lease: Lease,
    applied: AtomicU64,
    gates: Mutex<HashMap<(Slug, bool, bool), Arc<Gate>>>,
    clock: ParentClock,
}

/// What the parent's clock says, at least (expiry is judged by it: early by a little, never late).
#[derive(Debug, Default)]
struct ParentClock {
    /// Unix ms as the parent said.
    said: AtomicI64,
    /// In ms of the own boot clock: when it was asked.
    asked: AtomicU64,
}

/// What a look-up found, before the clock has been read.
#[derive(Debug)]
pub struct Looked {
    deadline: Deadline,
    revision: u64,
    entry: Option<Entry>,
}

/// What a parent grants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grant {
    /// When the child asked for it, by its own clock: from here it counts.
    pub asked: Moment,
    /// How long it lasts, in milliseconds.
    pub length_ms: u64,
    /// The parent's time.
    pub now: Timestamp,
    /// Every change up to this revision was told before.
    pub revision: u64,
}

impl Child {
    /// An empty memory for at most `capacity` secrets, without a lease.
    pub fn new(capacity: usize) -> Self {
        Self {
            keys: Cache::new(capacity),
            lease: Lease::none(),
            applied: AtomicU64::new(0),
            gates: Mutex::default(),
            clock: ParentClock::default(),
        }
    }

    /// Rule R4, its first half: the deadline, then the memory.
    pub fn look_up(&self, digest: &Digest) -> Looked {
        Looked {
            deadline: self.lease.deadline(),
            revision: self.applied.load(Ordering::Acquire),
            entry: self.keys.get(digest).filter(|entry| !entry.gate().is_void()),
        }
    }

    /// Its second half: the clock against the deadline that was loaded first. What may be answered, and every change up
    /// to which revision it takes into account.
    pub fn settle(&self, looked: Looked, now: Moment) -> Option<(Entry, u64)> {
        let entry = looked.entry?;
        self.covers(looked.deadline, now).then_some((entry, looked.revision))
    }

    /// The end of the lease as it is now; to be loaded before something is asked for.
    pub fn deadline(&self) -> Deadline {
        self.lease.deadline()
    }

    /// Whether what was asked for after the deadline was loaded may be answered.
    pub fn covers(&self, deadline: Deadline, now: Moment) -> bool {
        deadline.covers(now) || !keeps(Rule::NoLeaseNoAnswer)
    }

    /// Takes a ticket for asking the parent; `None` if too many questions are open.
    pub fn begin_fill(&self, digest: Digest) -> Option<Ticket<'_, Entry>> {
        self.keys.begin_fill(digest)
    }

    /// Takes over a grant. Everything that the parent said before it must have been carried out.
    pub fn granted(&self, grant: &Grant) {
        self.keys.apply(grant.revision, []);
        self.applied.fetch_max(grant.revision, Ordering::AcqRel);
        self.clock.said.store(grant.now.millis(), Ordering::Release);
        self.clock.asked.store(grant.asked.boot / 1_000_000, Ordering::Release);
        if grant.length_ms > 0 {
            self.lease.extend(grant.asked, grant.length_ms);
        }
    }

    /// Carries out an order, and gives the entries that it took away. Acknowledge it afterwards.
    pub fn forget(&self, revision: u64, what: &Forget) -> Vec<Entry> {
        match what {
            Forget::Secrets(digests) => {
                let known = digests.iter().filter_map(|digest| self.keys.peek(digest)).collect();
                self.keys.apply(revision, digests);
                known
            }
            Forget::Tenant(tenant) => {
                self.forget_tenant(tenant);
                Vec::new()
            }
            Forget::Everything => {
                self.keys.flush();
                self.gates().clear();
                Vec::new()
            }
        }
    }

    /// Entries share their tenant's gate, so that one word makes all of them void; and an answer that is on its way may
    /// be about this tenant too.
    fn forget_tenant(&self, tenant: &Slug) {
        // The fills first: one that ends in between would bring what was known before under a gate that is new.
        self.keys.overtake_fills();
        let mut gates = self.gates();
        gates.retain(|(slug, ..), gate| {
            let is_kept = slug != tenant;
            if !is_kept {
                gate.make_void();
            }
            is_kept
        });
    }

    /// Before a new connection: nothing of the old one may be answered any more, because nobody would say when it ends.
    pub fn begin_anew(&self) {
        self.lease.drop_now();
        if keeps(Rule::EmptyAtRegistration) {
            self.forget(0, &Forget::Everything);
        }
        // The next node may be at an earlier revision than the last one was (rule R19).
        self.keys.begin(0);
        self.applied.store(0, Ordering::Release);
    }

    /// The gate of what the parent told of a secret's tenant. It never changes: when the tenant does, its secrets
    /// are forgotten.
    pub fn gate(&self, slug: Slug, reveal: Reveal, is_blocked: bool) -> Arc<Gate> {
        let status = if is_blocked { Status::Suspended } else { Status::Active };
        let mut gates = self.gates();
        let place = (slug, reveal == Reveal::OwnerSafe, is_blocked);
        let gate = gates.entry(place);
        Arc::clone(gate.or_insert_with_key(|(slug, ..)| Arc::new(Gate::new(slug.clone(), status, reveal))))
    }

    /// The parent's time now, or a little later.
    pub fn time(&self, now: Moment) -> Timestamp {
        let elapsed = (now.boot / 1_000_000).saturating_sub(self.clock.asked.load(Ordering::Acquire));
        let elapsed = elapsed.saturating_add(elapsed / SLACK_PART);
        let elapsed = i64::try_from(elapsed).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.clock.said.load(Ordering::Acquire).saturating_add(elapsed))
    }

    /// What is remembered of a secret, for whoever only looks.
    pub fn peek(&self, digest: &Digest) -> Option<Entry> {
        self.keys.peek(digest).filter(|entry| !entry.gate().is_void())
    }

    /// Secrets remembered now.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn gates(&self) -> MutexGuard<'_, HashMap<(Slug, bool, bool), Arc<Gate>>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coherence::{Cached as _, Filled, NewEntry};
    use crate::id::KeyId;
    use crate::verdict::{KeyStanding, SecretStanding};

    fn at(ms: u64) -> Moment {
        Moment::default().plus_ms(ms)
    }

    fn entry(child: &Child, digest: Digest) -> Entry {
        Entry::new(&NewEntry {
            digest,
            key_id: KeyId::from_bytes([1; 16]),
            gate: child.gate(Slug::parse("acme").unwrap(), Reveal::None, false),
            secret: SecretStanding::Live,
            key: KeyStanding::Active,
            expires_at: None,
            subject: "user_1",
            name: "one",
            scopes: "read",
            limits: "",
            claims: None,
            is_presented: true,
        })
        .unwrap()
    }

    fn grant(asked: u64, length_ms: u64, revision: u64) -> Grant {
        Grant {
            asked: at(asked),
            length_ms,
            now: Timestamp::from_millis(50_000),
            revision,
        }
    }

    /// A child that remembers one secret under a lease from 100 to 1 100 ms.
    fn filled() -> (Child, Digest) {
        let child = Child::new(64);
        let digest = Digest::of(b"x");
        child.granted(&grant(100, 1_000, 7));
        let ticket = child.begin_fill(digest).unwrap();
        assert_eq!(ticket.finish(7, Some(entry(&child, digest))), Filled::Kept);
        (child, digest)
    }

    #[test]
    fn it_answers_while_its_lease_lasts_and_no_longer() {
        let (child, digest) = filled();
        assert!(child.settle(child.look_up(&digest), at(1_099)).is_some());
        assert!(child.settle(child.look_up(&digest), at(1_100)).is_none());
        child.granted(&grant(900, 0, 7));
        assert!(
            child.settle(child.look_up(&digest), at(1_100)).is_none(),
            "an empty grant grants nothing"
        );
    }

    #[test]
    fn a_look_up_before_a_grant_is_not_renewed_by_it() {
        let (child, digest) = filled();
        let looked = child.look_up(&digest);
        child.granted(&grant(2_000, 1_000, 8));
        assert!(child.settle(looked, at(2_001)).is_none());
    }

    #[test]
    fn what_is_to_be_forgotten_is_forgotten_also_while_it_is_asked_for() {
        let (child, digest) = filled();
        let ticket = child.begin_fill(digest).unwrap();
        let gone = child.forget(8, &Forget::Secrets(vec![digest]));
        assert_eq!(gone.iter().map(Entry::digest).collect::<Vec<_>>(), [&digest]);
        assert!(child.look_up(&digest).entry.is_none());
        assert_eq!(ticket.finish(7, Some(entry(&child, digest))), Filled::Overtaken);
    }

    #[test]
    fn beginning_anew_ends_lease_and_memory_and_open_questions() {
        let (child, digest) = filled();
        let ticket = child.begin_fill(digest).unwrap();
        child.begin_anew();
        assert!(child.is_empty());
        assert_eq!(ticket.finish(9, Some(entry(&child, digest))), Filled::Overtaken);
        let again = child.begin_fill(digest).unwrap();
        assert_eq!(again.finish(9, Some(entry(&child, digest))), Filled::Kept);
        assert!(child.settle(child.look_up(&digest), at(200)).is_none(), "no lease yet");
    }

    #[test]
    fn the_parents_time_is_never_behind() {
        let (child, _) = filled();
        assert_eq!(child.time(at(100)).millis(), 50_000);
        assert_eq!(child.time(at(1_100)).millis(), 51_100);
    }
}
