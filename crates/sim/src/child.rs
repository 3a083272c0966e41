//! A verifier inside an application: the shipped state of a downstream verifier (a child), with a connection to one of
//! the nodes.

mod answers;
mod node_side;

use crate::database::Database;
use crate::executor::{MS, Nanos, Sim, TaskOwner};
use crate::history::Ground;
use crate::node::{Clocks, Process};
use crate::pipe::{Cable, Receiver, Sender, pipe};
use keyreeve_authority::env::Clock as _;
use keyreeve_core::access::Reach;
use keyreeve_core::coherence::child::{Child, LeaseGrant};
use keyreeve_core::coherence::downstream::Order;
use keyreeve_core::coherence::invariants::InvariantResult;
use keyreeve_core::coherence::{Entry, Moment};
use keyreeve_core::{Digest, RootKeyId, Timestamp};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Secrets that it remembers: few, so that it also evicts some.
const REMEMBERED: usize = 128;
const PING: Nanos = 300 * MS;
/// After this long without a message the other end counts as gone: for the child and for the node.
const SILENCE: (Nanos, Nanos) = (2_500 * MS, 6_000 * MS);
/// When a child of [`Manner::Hangs`] stops reading.
const HANGS_AFTER: Nanos = 2_000 * MS;
/// Longer than any lease lasts by any clock.
const STAYS: Nanos = 3_500 * MS;

/// How an application behaves towards its node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Manner {
    /// It follows the protocol.
    Honest,
    /// It carries out every order and never acknowledges it.
    NeverSaysSo,
    /// It carries out every order and acknowledges it late.
    SaysSoLate(Nanos),
    /// Its thread for the connection is slow, while its other threads answer from memory.
    IsSlow(Nanos),
    /// It stops reading, asks for leases, and answers from the lease that it has.
    Hangs,
    /// When it is sent away, it stays and answers from the lease that it has.
    Stays,
}

/// A root key of a child, and the ground of its revocation.
#[derive(Clone)]
pub(crate) struct RootKeyHeld {
    pub(crate) id: RootKeyId,
    pub(crate) secret: Arc<str>,
    pub(crate) ground: Ground,
}

/// The properties of a child.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) manner: Manner,
    pub(crate) reach: Reach,
    /// `None` until it is created.
    pub(crate) root_key: Arc<Mutex<Option<RootKeyHeld>>>,
    /// The lease that it requests, in milliseconds; `None` requests the longest.
    pub(crate) lease_ms: Option<u64>,
}

impl Identity {
    pub(crate) fn root_key(&self) -> Option<RootKeyHeld> {
        self.root_key.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

enum FromChild {
    Ping(u64),
    Fetch(u64, Digest),
    Ack(u64),
}

enum FromNode {
    Grant {
        number: u64,
        length_ms: u64,
        revision: u64,
        now: Timestamp,
        /// For the checker: when the node's own lease was last renewed.
        renewed: Nanos,
    },
    /// With whether the owner or the tenant was blocked when it was sent.
    Found(u64, Option<(Option<(Entry, bool)>, u64)>),
    Forget(Order, bool),
}

#[derive(Clone)]
pub(crate) struct ChildProcess {
    pub(crate) owner: TaskOwner,
    pub(crate) identity: Identity,
    /// The ground of the root key of its present connection.
    ground: Arc<Mutex<Option<Ground>>>,
    told_wrong: Arc<AtomicBool>,
    sim: Sim,
    clocks: Clocks,
    child: Arc<Child>,
    connection: Arc<Mutex<Option<ChildConnection>>>,
    /// When the lease of the node behind the last grant was renewed, in real time.
    pub(crate) renewed: Arc<AtomicU64>,
    /// Counts connections. For I4 each connection is another verifier: while a change is in progress two nodes may
    /// disagree about a key, and so may their answers to one child.
    session: Arc<AtomicU32>,
}

/// Separates the sessions of different children.
const SESSIONS: u32 = 10_000;

/// What a node found, and the revision up to which that is true.
type LookUpAnswer = (Option<(Entry, bool)>, u64);

struct ChildConnection {
    to_node: Arc<Sender<FromChild>>,
    cable: Cable,
    last_number: u64,
    ping: Option<(u64, Moment)>,
    asked: HashMap<u64, oneshot::Sender<LookUpAnswer>>,
}

impl ChildProcess {
    pub(crate) fn start(
        database: &Database,
        number: u32,
        identity: Identity,
        told_wrong: Arc<AtomicBool>,
        parents: impl Fn() -> Option<Process> + Send + 'static,
    ) -> Self {
        let sim = database.sim.clone();
        let me = Self {
            owner: TaskOwner::Process(number),
            identity,
            ground: Arc::default(),
            told_wrong,
            sim: sim.clone(),
            clocks: Clocks::new(database),
            child: Arc::new(Child::new(REMEMBERED)),
            connection: Arc::default(),
            renewed: Arc::default(),
            session: Arc::new(AtomicU32::new(number * SESSIONS)),
        };
        sim.note(
            "child",
            format_args!("starts as process {number}, {:?}", me.identity.manner),
        );
        sim.spawn(me.owner, me.clone().hang_on(parents));
        me
    }

    fn connection(&self) -> MutexGuard<'_, Option<ChildConnection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks what must always hold in its memory.
    pub(crate) fn check(&self) -> InvariantResult {
        self.child.check()
    }

    /// Cuts the connection to its node until a time.
    pub(crate) fn cut(&self, until: Nanos) {
        if let Some(connection) = &*self.connection() {
            connection.cable.cut(until);
        }
    }

    fn note(&self, what: impl std::fmt::Display) {
        self.sim.note("child", format_args!("{:?} {what}", self.owner));
    }

    async fn hang_on(self, parents: impl Fn() -> Option<Process> + Send + 'static) {
        loop {
            self.sim.sleep(self.sim.range(MS, 200 * MS)).await;
            let (Some(parent), Some(root_key)) = (parents(), self.identity.root_key()) else {
                continue;
            };
            self.child.begin_anew();
            *self.ground.lock().unwrap_or_else(PoisonError::into_inner) = Some(root_key.ground);
            self.session.fetch_add(1, Ordering::Relaxed);
            let cable = Cable::default();
            let (to_node, from_child) = pipe(&self.sim, &cable);
            let (to_child, from_node) = pipe(&self.sim, &cable);
            let owner = parent.owner;
            self.note(format_args!("hangs on {owner:?}"));
            self.sim
                .spawn(owner, self.clone().node_side(parent, root_key, from_child, to_child));
            let to_node = Arc::new(to_node);
            *self.connection() = Some(ChildConnection {
                to_node: Arc::clone(&to_node),
                cable,
                last_number: 0,
                ping: None,
                asked: HashMap::new(),
            });
            self.sim.spawn(self.owner, self.clone().ping(Arc::downgrade(&to_node)));
            drop(to_node);
            let was_sent_away = self.listen(from_node).await;
            self.note("lost its node");
            *self.connection() = None;
            if was_sent_away || matches!(self.identity.manner, Manner::Hangs) {
                // It does not start again before the lease that it answers from has ended.
                self.sim.sleep(STAYS).await;
            }
        }
    }

    async fn ping(self, line: std::sync::Weak<Sender<FromChild>>) {
        while line.strong_count() > 0 {
            if let Some(connection) = &mut *self.connection() {
                connection.last_number += 1;
                connection.ping = Some((connection.last_number, self.clocks.moment()));
                connection.to_node.send(FromChild::Ping(connection.last_number));
            }
            self.sim.sleep(PING).await;
        }
    }

    /// Reads messages until the connection ends. Returns whether it was sent away and stayed.
    async fn listen(&self, mut from_node: Receiver<FromNode>) -> bool {
        let hangs_at = self.sim.now() + HANGS_AFTER;
        while let Some(said) = from_node.recv(SILENCE.0).await {
            match self.identity.manner {
                Manner::IsSlow(by) if self.sim.percent(20) => self.sim.sleep(by).await,
                Manner::Hangs if self.sim.now() > hangs_at => {
                    while from_node.recv(SILENCE.0).await.is_some() {}
                    return false;
                }
                _ => {}
            }
            match said {
                FromNode::Grant {
                    number,
                    length_ms,
                    revision,
                    now,
                    renewed,
                } => {
                    let ping = self.connection().as_mut().and_then(|connection| connection.ping.take());
                    if let Some((_, asked)) = ping.filter(|(asked, _)| *asked == number) {
                        self.renewed.fetch_max(renewed, Ordering::Relaxed);
                        self.note(format_args!("may answer for {length_ms} ms, as of {revision}"));
                        self.child.granted(&LeaseGrant {
                            asked,
                            length_ms,
                            now,
                            revision,
                        });
                    }
                }
                FromNode::Found(number, found) => {
                    let asked = self.connection().as_mut().and_then(|one| one.asked.remove(&number));
                    if let (Some(asked), Some(found)) = (asked, found) {
                        // The caller may have been dropped.
                        drop(asked.send(found));
                    }
                }
                FromNode::Forget(_, true) if self.identity.manner == Manner::Stays => {
                    self.note("stays");
                    while from_node.recv(SILENCE.0).await.is_some() {}
                    return true;
                }
                FromNode::Forget(order, is_last) => {
                    self.note(format_args!("forgets for {}: order {}", order.revision, order.number));
                    if is_last {
                        self.child.begin_anew();
                    }
                    self.child.forget(order.revision, &order.what);
                    self.say_so(order.number);
                }
            }
        }
        false
    }

    fn say_so(&self, number: u64) {
        let connection = self.connection();
        let Some(to_node) = connection
            .as_ref()
            .map(|connection| Arc::downgrade(&connection.to_node))
        else {
            return;
        };
        match self.identity.manner {
            Manner::NeverSaysSo => {}
            Manner::SaysSoLate(by) => {
                let sim = self.sim.clone();
                self.sim.spawn(self.owner, async move {
                    sim.sleep(by).await;
                    if let Some(to_node) = to_node.upgrade() {
                        to_node.send(FromChild::Ack(number));
                    }
                });
            }
            Manner::Honest | Manner::IsSlow(_) | Manner::Hangs | Manner::Stays => {
                if let Some(connection) = &*connection {
                    connection.to_node.send(FromChild::Ack(number));
                }
            }
        }
    }
}
