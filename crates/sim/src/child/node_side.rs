//! The node's side of a child's connection: the shipped authority answers the child's messages.

use super::{ChildProcess, FromChild, FromNode, REMEMBERED, RootKeyHeld, SILENCE};
use crate::executor::Sim;
use crate::node::Process;
use crate::pipe::{Receiver, Sender};
use keyreeve_authority::children::{Newcomer, VerifierLine};
use keyreeve_core::KeyId;
use keyreeve_core::access::Reach;
use keyreeve_core::coherence::Entry;
use keyreeve_core::coherence::downstream::{Forget, Order};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

struct ToChild {
    sender: Mutex<Option<Sender<FromNode>>>,
    reach: Reach,
    sim: Sim,
    told_wrong: Arc<AtomicBool>,
}

impl ToChild {
    fn send(&self, message: FromNode) -> bool {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        sender.as_ref().is_some_and(|sender| sender.send(message))
    }

    fn is_closed(&self) -> bool {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

impl VerifierLine for ToChild {
    fn order(&self, order: Order, _: &[KeyId], is_last: bool) -> bool {
        self.sim.note("child", format_args!("is told {order:?}"));
        if let Forget::Tenant(slug) = &order.what
            && !self.reach.has(slug)
        {
            self.told_wrong.store(true, Ordering::Relaxed);
        }
        self.send(FromNode::Forget(order, is_last))
    }

    fn close(&self) {
        self.sim.note("child", "is closed");
        drop(self.sender.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl ChildProcess {
    /// Serves one child at the node until the connection ends.
    pub(super) async fn node_side(
        self,
        parent: Process,
        root_key: RootKeyHeld,
        mut from_child: Receiver<FromChild>,
        to_child: Sender<FromNode>,
    ) {
        let (sim, authority) = (self.sim, Arc::clone(&parent.authority));
        let line = Arc::new(ToChild {
            sender: Mutex::new(Some(to_child)),
            reach: self.identity.reach.clone(),
            sim: sim.clone(),
            told_wrong: self.told_wrong,
        });
        let Ok(Some(pass)) = authority.root_key(&root_key.secret).await else {
            return;
        };
        let newcomer = Newcomer {
            capacity: REMEMBERED,
            lease_ms: self.identity.lease_ms,
            reach: self.identity.reach,
            pass: Some(pass),
            peer: "".into(),
        };
        let verifiers = authority.verifiers();
        let Ok(id) = verifiers
            .register(newcomer, Arc::clone(&line) as Arc<dyn VerifierLine>)
            .await
        else {
            return;
        };
        while let Some(said) = from_child.recv(SILENCE.1).await {
            if line.is_closed() {
                break;
            }
            match said {
                FromChild::Ping(number) => {
                    let renewed = parent.renewed.load(Ordering::Relaxed);
                    let Some(granted) = verifiers.grant(id).await else {
                        if authority.children().is_leaving(id) {
                            continue;
                        }
                        break;
                    };
                    line.send(FromNode::Grant {
                        number,
                        length_ms: granted.length_ms,
                        revision: granted.revision,
                        now: granted.now,
                        renewed,
                    });
                }
                FromChild::Fetch(number, digest) => {
                    let asks = format!("{id} of {:?} asks for {:02x?}", parent.owner, digest.spread());
                    sim.note("child", asks);
                    let (authority, line) = (Arc::clone(&authority), Arc::clone(&line));
                    sim.spawn(parent.owner, async move {
                        let found = authority.verifiers().answer_fetch(id, digest).await.ok();
                        let found = found.map(|(entry, revision)| (entry.map(with_gate), revision));
                        line.send(FromNode::Found(number, found));
                    });
                }
                FromChild::Ack(number) => {
                    sim.note(
                        "child",
                        format_args!("{id} of {:?} acknowledged {number}", parent.owner),
                    );
                    authority.children().acknowledged(id, number);
                }
            }
        }
        line.close();
        authority.children().lost(id);
    }
}

fn with_gate(entry: Entry) -> (Entry, bool) {
    let is_blocked = entry.facts().owner_blocked;
    (entry, is_blocked)
}
