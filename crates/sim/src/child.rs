//! A verifier inside an application: the shipped memory of a child, hanging on one of the nodes by a connection.

use crate::database::Database;
use crate::executor::{MS, Nanos, Owner, Sim};
use crate::node::{Clocks, Process};
use crate::pipe::{Cable, Receiver, Sender, pipe};
use keyreeve_authority::children::Line;
use keyreeve_authority::env::Clock as _;
use keyreeve_authority::verify::{Source, Verdict};
use keyreeve_core::access::Reach;
use keyreeve_core::coherence::child::{Child, Grant};
use keyreeve_core::coherence::nursery::Order;
use keyreeve_core::coherence::{Entry, Filled, Moment, NewEntry};
use keyreeve_core::key::Presented;
use keyreeve_core::verdict::{Denial, judge};
use keyreeve_core::{Digest, KeyId, Timestamp};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Secrets that it remembers: few, so that it also forgets.
const REMEMBERED: usize = 128;
const PING: Nanos = 300 * MS;
/// Whoever is silent for so long is gone, for the child and for the node.
const SILENCE: (Nanos, Nanos) = (2_500 * MS, 6_000 * MS);
const FILL_TRIES: usize = 8;

enum ChildSays {
    Ping(u64),
    Fetch(u64, Digest),
    Ack(u64),
}

enum NodeSays {
    Grant {
        number: u64,
        length_ms: u64,
        revision: u64,
        now: Timestamp,
        /// For the checker: when the node's own lease was last renewed.
        renewed: Nanos,
    },
    Found(u64, Option<(Option<Entry>, u64)>),
    Forget(Order),
}

struct ToChild(Sender<NodeSays>);

impl Line for ToChild {
    fn order(&self, order: Order, _: &[KeyId], _: bool) -> bool {
        self.0.sim.note("child", format_args!("is told {order:?}"));
        self.0.send(NodeSays::Forget(order))
    }
}

/// One start of one child.
#[derive(Clone)]
pub(crate) struct ChildProcess {
    pub(crate) owner: Owner,
    sim: Sim,
    clocks: Clocks,
    child: Arc<Child>,
    connection: Arc<Mutex<Option<Connection>>>,
    /// When the lease of the node behind the last grant was renewed, in real time.
    pub(crate) renewed: Arc<AtomicU64>,
    /// Counts connections. With another node it is another verifier for I4: while a change is on its way, two nodes may
    /// disagree about a key, and so may what a child hears from one after the other.
    session: Arc<AtomicU32>,
}

/// Sets apart the sessions of one child.
const SESSIONS: u32 = 10_000;

struct Connection {
    to_node: Arc<Sender<ChildSays>>,
    cable: Cable,
    last_number: u64,
    ping: Option<(u64, Moment)>,
    asked: HashMap<u64, oneshot::Sender<(Option<Entry>, u64)>>,
}

impl ChildProcess {
    pub(crate) fn start(
        database: &Database,
        number: u32,
        parents: impl Fn() -> Option<Process> + Send + 'static,
    ) -> Self {
        let sim = database.sim.clone();
        let me = Self {
            owner: Owner::Process(number),
            sim: sim.clone(),
            clocks: Clocks::new(database),
            child: Arc::new(Child::new(REMEMBERED)),
            connection: Arc::default(),
            renewed: Arc::default(),
            session: Arc::new(AtomicU32::new(number * SESSIONS)),
        };
        sim.note("child", format_args!("starts as process {number}"));
        sim.spawn(me.owner, me.clone().hang_on(parents));
        me
    }

    fn connection(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts it off from its node.
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
            let Some(parent) = parents() else { continue };
            self.child.begin_anew();
            self.session.fetch_add(1, Ordering::Relaxed);
            let cable = Cable::default();
            let (to_node, from_child) = pipe(&self.sim, &cable);
            let (to_child, from_node) = pipe(&self.sim, &cable);
            let owner = parent.owner;
            self.note(format_args!("hangs on {owner:?}"));
            self.sim
                .spawn(owner, node_side(self.sim.clone(), parent, from_child, to_child));
            let to_node = Arc::new(to_node);
            *self.connection() = Some(Connection {
                to_node: Arc::clone(&to_node),
                cable,
                last_number: 0,
                ping: None,
                asked: HashMap::new(),
            });
            self.sim.spawn(self.owner, self.clone().ping(Arc::downgrade(&to_node)));
            drop(to_node);
            self.listen(from_node).await;
            self.note("lost its node");
            *self.connection() = None;
        }
    }

    async fn ping(self, line: std::sync::Weak<Sender<ChildSays>>) {
        while line.strong_count() > 0 {
            if let Some(connection) = &mut *self.connection() {
                connection.last_number += 1;
                connection.ping = Some((connection.last_number, self.clocks.moment()));
                connection.to_node.send(ChildSays::Ping(connection.last_number));
            }
            self.sim.sleep(PING).await;
        }
    }

    async fn listen(&self, mut from_node: Receiver<NodeSays>) {
        while let Some(said) = from_node.recv(SILENCE.0).await {
            match said {
                NodeSays::Grant {
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
                        self.child.granted(&Grant {
                            asked,
                            length_ms,
                            now,
                            revision,
                        });
                    }
                }
                NodeSays::Found(number, found) => {
                    let asked = self.connection().as_mut().and_then(|one| one.asked.remove(&number));
                    if let (Some(asked), Some(found)) = (asked, found) {
                        // Whoever asked may have been given up.
                        drop(asked.send(found));
                    }
                }
                NodeSays::Forget(order) => {
                    self.note(format_args!("forgets for {}: order {}", order.revision, order.number));
                    self.child.forget(order.revision, &order.what);
                    if let Some(connection) = &*self.connection() {
                        connection.to_node.send(ChildSays::Ack(order.number));
                    }
                }
            }
        }
    }

    /// What the application is told, with a pause where a thread may lose the processor for any time; and in which session.
    pub(crate) async fn verify(&self, secret: &str, pause: Nanos) -> (Verdict, u32) {
        let verdict = self.verdict(secret, pause).await;
        (verdict, self.session.load(Ordering::Relaxed))
    }

    async fn verdict(&self, secret: &str, pause: Nanos) -> Verdict {
        let Ok(presented) = Presented::parse(secret) else {
            return said(Err(Denial::Malformed), None, 0);
        };
        let digest = presented.digest();
        let looked = self.child.look_up(&digest);
        self.sim.sleep(pause).await;
        if let Some((entry, revision)) = self.child.settle(looked, self.clocks.moment()) {
            return self.judged(entry, revision);
        }
        match self.fill(digest).await {
            Some((Some(entry), revision)) => self.judged(entry, revision),
            Some((None, revision)) => said(Err(Denial::Unknown), None, revision),
            None => said(Err(Denial::Unavailable), None, 0),
        }
    }

    fn judged(&self, entry: Entry, revision: u64) -> Verdict {
        let now = self.child.time(self.clocks.moment());
        let outcome = judge(&entry.facts(), [], None, now);
        said(outcome, Some(entry), revision)
    }

    async fn fill(&self, digest: Digest) -> Option<(Option<Entry>, u64)> {
        for _ in 0..FILL_TRIES {
            let deadline = self.child.deadline();
            if !self.child.covers(deadline, self.clocks.moment()) {
                return None;
            }
            let ticket = self.child.begin_fill(digest)?;
            let (answer, answered) = oneshot::channel();
            if let Some(connection) = &mut *self.connection() {
                connection.last_number += 1;
                connection.asked.insert(connection.last_number, answer);
                connection
                    .to_node
                    .send(ChildSays::Fetch(connection.last_number, digest));
            }
            let (entry, revision) = answered.await.ok()?;
            let entry = entry.and_then(|entry| self.own(digest, &entry));
            if ticket.finish(revision, entry.clone()) == Filled::Kept
                && self.child.covers(deadline, self.clocks.moment())
            {
                return Some((entry, revision));
            }
        }
        None
    }

    /// A child has entries of its own: nothing is shared with its node but words.
    fn own(&self, digest: Digest, entry: &Entry) -> Option<Entry> {
        let facts = entry.facts();
        let gate = entry.gate();
        Entry::new(&NewEntry {
            digest,
            key_id: entry.key_id(),
            gate: self.child.gate(gate.slug().clone(), gate.reveal(), facts.owner_blocked),
            secret: facts.secret,
            key: facts.key,
            expires_at: facts.expires_at,
            subject: entry.subject(),
            name: entry.name(),
            scopes: entry.scopes(),
            claims: entry.claims(),
            limits: entry.limits(),
            is_presented: true,
        })
    }
}

fn said(outcome: Result<(), Denial>, entry: Option<Entry>, revision: u64) -> Verdict {
    Verdict {
        outcome,
        entry,
        revision,
        source: Source::Memory,
        budget: None,
    }
}

/// What the node does for one child.
async fn node_side(sim: Sim, parent: Process, mut from_child: Receiver<ChildSays>, to_child: Sender<NodeSays>) {
    let authority = Arc::clone(&parent.authority);
    let line = Arc::new(ToChild(to_child));
    let Ok(id) = authority
        .adopt(REMEMBERED, None, Arc::clone(&line) as Arc<dyn Line>)
        .await
    else {
        return;
    };
    while let Some(said) = from_child.recv(SILENCE.1).await {
        match said {
            ChildSays::Ping(number) => {
                let renewed = parent.renewed.load(Ordering::Relaxed);
                let Some(granted) = authority.grant(id) else { break };
                line.0.send(NodeSays::Grant {
                    number,
                    length_ms: granted.length_ms,
                    revision: granted.revision,
                    now: granted.now,
                    renewed,
                });
            }
            ChildSays::Fetch(number, digest) => {
                sim.note(
                    "child",
                    format_args!("{id} of {:?} asks for {:02x?}", parent.owner, digest.spread()),
                );
                let (authority, line) = (Arc::clone(&authority), Arc::clone(&line));
                sim.spawn(parent.owner, async move {
                    let found = authority.tell(id, &Reach::Instance, digest).await.ok();
                    line.0.send(NodeSays::Found(number, found));
                });
            }
            ChildSays::Ack(number) => {
                sim.note(
                    "child",
                    format_args!("{id} of {:?} acknowledged {number}", parent.owner),
                );
                authority.children().acknowledged(id, number);
            }
        }
    }
    authority.children().lost(id);
}
