//! A downstream verifier: the memory inside an application.
//!
//! It keeps the same rules as a node, with its node (`parent` in names) in the place of the database: its lease counts
//! from when it sent its request and lasts no longer than what is left of the node's; what an order names is
//! forgotten before it is acknowledged; a fill that an order overtakes is void. The caller brings messages and clocks.

use super::downstream::Forget;
use super::invariants::InvariantResult;
use super::lease::{Deadline, Lease, Moment};
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

/// The node's clock may run this much faster than the verifier's: a tenth.
const SLACK_PART: u64 = 10;

/// The memory of one downstream verifier.
#[derive(Debug)]
pub struct Child {
    keys: Cache<Entry>,
    lease: Lease,
    applied: AtomicU64,
    gates: Mutex<HashMap<(Slug, bool, bool), Arc<Gate>>>,
    clock: ParentClock,
}

/// An upper bound of the node's clock. Expiry is decided by it: a little early, never late.
#[derive(Debug, Default)]
struct ParentClock {
    /// The node's time in Unix ms, from the last grant.
    said: AtomicI64,
    /// When that was requested, in ms of this process's boot clock.
    asked: AtomicU64,
}

/// What a look-up found, before the clock is read (rule R4).
#[derive(Debug)]
pub struct Looked {
    deadline: Deadline,
    revision: u64,
    entry: Option<Entry>,
}

/// What a node grants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaseGrant {
    /// When the verifier sent its request, by its own clock. The lease counts from here.
    pub asked: Moment,
    /// How long it lasts, in milliseconds.
    pub length_ms: u64,
    /// The node's time.
    pub now: Timestamp,
    /// Orders for every change up to this revision were sent before.
    pub revision: u64,
}

impl Child {
    /// Creates an empty memory for at most `capacity` secrets, without a lease.
    pub fn new(capacity: usize) -> Self {
        Self {
            keys: Cache::new(capacity),
            lease: Lease::none(),
            applied: AtomicU64::new(0),
            gates: Mutex::default(),
            clock: ParentClock::default(),
        }
    }

    /// The first half of rule R4: the deadline, then the memory.
    pub fn look_up(&self, digest: &Digest) -> Looked {
        // The fields are evaluated as they are written, which is the order of rule R4.
        Looked {
            deadline: self.lease.deadline(),
            revision: self.applied.load(Ordering::Acquire),
            entry: self.keys.get(digest).filter(|entry| !entry.gate().is_void()),
        }
    }

    /// The second half: compares the clock with the deadline that was loaded first. Returns the entry to answer from,
    /// and the revision up to which it covers every change.
    pub fn settle(&self, looked: Looked, now: Moment) -> Option<(Entry, u64)> {
        let entry = looked.entry?;
        self.covers(looked.deadline, now).then_some((entry, looked.revision))
    }

    /// Returns the present end of the lease. Load it before a request to the node is sent.
    pub fn deadline(&self) -> Deadline {
        self.lease.deadline()
    }

    /// Whether the answer to a request that was sent after the deadline was loaded may be used.
    pub fn covers(&self, deadline: Deadline, now: Moment) -> bool {
        deadline.covers(now) || !keeps(Rule::NoLeaseNoAnswer)
    }

    /// Takes a ticket for a fill from the node; `None` if too many are open.
    pub fn begin_fill(&self, digest: Digest) -> Option<Ticket<'_, Entry>> {
        self.keys.begin_fill(digest)
    }

    /// Applies a grant. Every order that came before it must have been carried out.
    pub fn granted(&self, grant: &LeaseGrant) {
        // The floor first: from when verdicts name this revision, no older fill may be stored.
        self.keys.apply(grant.revision, []);
        self.applied.fetch_max(grant.revision, Ordering::AcqRel);
        // Stored in this order and loaded in the opposite one, so that a reader in between gets a later time, not an
        // earlier one.
        self.clock.said.store(grant.now.millis(), Ordering::Release);
        self.clock.asked.store(grant.asked.boot / 1_000_000, Ordering::Release);
        if grant.length_ms > 0 {
            self.lease.extend(grant.asked, grant.length_ms);
        }
        debug_assert_eq!(self.check(), Ok(()));
    }

    /// Checks [`Invariant::FillFloor`](super::invariants::Invariant::FillFloor). Call on the thread of the connection.
    pub fn check(&self) -> InvariantResult {
        self.keys.check_floor(self.applied.load(Ordering::Acquire))
    }

    /// Carries out an order, and returns the entries that it removed. Acknowledge it afterwards.
    pub fn forget(&self, revision: u64, what: &Forget) -> Vec<Entry> {
        match what {
            Forget::Secrets(digests) => {
                // Before they are removed: the application is notified of their keys.
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

    /// Entries share their tenant's gate, so making it void voids all of them. Open fills are voided too: their answers
    /// may be about this tenant.
    fn forget_tenant(&self, tenant: &Slug) {
        // The fills first: one that ends in between would store an old answer under a new gate.
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

    /// Call before a new connection. Nothing from the old one may be used any more, because no order would reach it.
    pub fn begin_anew(&self) {
        // The lease first: a look-up that begins from here on has none, whatever is still in memory.
        self.lease.drop_now();
        if keeps(Rule::EmptyAtRegistration) {
            self.forget(0, &Forget::Everything);
        }
        // The next node may have applied less than the last one (rule R19).
        self.keys.begin(0);
        self.applied.store(0, Ordering::Release);
        debug_assert_eq!(self.check(), Ok(()));
    }

    /// Returns the gate for the tenant state in an answer of the node. It never changes: when the tenant does, its
    /// secrets are forgotten.
    pub fn gate(&self, slug: Slug, reveal: Reveal, is_blocked: bool) -> Arc<Gate> {
        let status = if is_blocked { Status::Suspended } else { Status::Active };
        let mut gates = self.gates();
        let place = (slug, reveal == Reveal::OwnerSafe, is_blocked);
        let gate = gates.entry(place);
        Arc::clone(gate.or_insert_with_key(|(slug, ..)| Arc::new(Gate::new(slug.clone(), status, reveal))))
    }

    /// Returns the node's time now, or a little later.
    pub fn time(&self, now: Moment) -> Timestamp {
        // `asked` before `said`, see `granted`.
        let elapsed = (now.boot / 1_000_000).saturating_sub(self.clock.asked.load(Ordering::Acquire));
        let elapsed = elapsed.saturating_add(elapsed / SLACK_PART);
        let elapsed = i64::try_from(elapsed).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.clock.said.load(Ordering::Acquire).saturating_add(elapsed))
    }

    /// Returns the entry of a secret without marking it as used.
    pub fn peek(&self, digest: &Digest) -> Option<Entry> {
        self.keys.peek(digest).filter(|entry| !entry.gate().is_void())
    }

    /// Returns the number of secrets remembered now.
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

    fn grant(asked: u64, length_ms: u64, revision: u64) -> LeaseGrant {
        LeaseGrant {
            asked: at(asked),
            length_ms,
            now: Timestamp::from_millis(50_000),
            revision,
        }
    }

    /// A verifier that remembers one secret under a lease from 100 to 1 100 ms.
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
