//! A downstream verifier (`child`) that acknowledges, acknowledges late, never does, is sent away, or is partitioned,
//! and four changes: a rotation and a revocation of one key that the verifier knows, a change of another tenant, and
//! the revocation of the verifier's own root key (rules R12 to R14).
//!
//! Each direction of the connection keeps its order. The verifier may stop at any message for any time. Clocks are
//! ideal.

use crate::violated;
use stateright::{Model, Property};

const LEASE: u8 = 2;
const OVERDUE: u8 = 1;
const END: u8 = 3;

/// Changes, by index.
const ROTATION: usize = 0;
const REVOCATION: usize = 1;
const OTHER_TENANT: usize = 2;
const ROOT_KEY: usize = 3;
const CHANGES: usize = 4;

/// The rule that is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Broken {
    Nothing,
    /// 2.5: a change waits for the verifiers that may know what it touched.
    ChildrenAreNotWaitedFor,
    /// 2.5: a change of a key waits for an unacknowledged order of an earlier one.
    LaterChangesDoNotJoin,
    /// 2.5: also if it arrived before the earlier one.
    EarlyChangesDoNotJoin,
    /// R12: a set of changes instead of one low-water mark.
    LowWaterMark,
    /// R13: a change waits for the lease that the verifier had when the order was sent.
    NewestLeaseIsWaitedFor,
    /// R13: an overdue verifier gets no lease.
    OverdueIsGranted,
    /// A grant does not overtake an order on the connection.
    GrantsOvertakeOrders,
    /// R14: changes of what a verifier knew that was sent away wait for it.
    SentAwayIsForgotten,
    /// 2.5: also if its connection is lost.
    LostIsForgotten,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Stage {
    #[default]
    Connected,
    SentAway,
    Lost,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Message {
    Order(u8),
    Grant(u8),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Order {
    number: u8,
    changes: [bool; CHANGES],
    /// When the lease is over that the verifier had when the order was sent.
    over_at: u8,
    sent: u8,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    now: u8,
    stage: Stage,
    /// The end of the newest lease that the node granted.
    granted: u8,
    orders: Vec<Order>,
    last_order: u8,
    has_applied: [bool; CHANGES],
    has_returned: [bool; CHANGES],
    to_child: Vec<Message>,
    to_node: Vec<u8>,
    /// The verifier has forgotten what it knew.
    has_forgotten: bool,
    carried_out: u8,
    lease_end: u8,
    was_granted_overdue: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Event {
    Tick,
    Grant,
    Deliver,
    Acknowledge,
    DeliverAcknowledgement,
    Cut,
    Apply(usize),
    Return(usize),
}

struct Children(Broken);

impl State {
    fn is_overdue(&self) -> bool {
        self.orders
            .first()
            .is_some_and(|order| self.now >= order.sent + OVERDUE)
    }

    fn order(&mut self, changes: [bool; CHANGES]) {
        self.last_order += 1;
        self.orders.push(Order {
            number: self.last_order,
            changes,
            over_at: self.granted,
            sent: self.now,
        });
        if self.stage != Stage::Lost {
            self.to_child.push(Message::Order(self.last_order));
        }
    }

    /// The node's memory forgets what a change touched, and an order is sent to the verifier.
    fn apply(&mut self, change: usize, broken: Broken) {
        self.has_applied[change] = true;
        let mut changes = [false; CHANGES];
        changes[change] = true;
        match change {
            ROTATION => {
                changes[REVOCATION] = self.has_applied[REVOCATION] && broken != Broken::EarlyChangesDoNotJoin;
                match self.orders.first_mut() {
                    // There is an order to forget everything already.
                    Some(order) => (0..CHANGES).for_each(|place| order.changes[place] |= changes[place]),
                    None => self.order(changes),
                }
            }
            // It touches the current secret, which the verifier does not know.
            REVOCATION if broken == Broken::LaterChangesDoNotJoin => {}
            REVOCATION => {
                let about_key = |order: &&mut Order| order.changes[ROTATION];
                self.orders
                    .iter_mut()
                    .filter(about_key)
                    .for_each(|order| order.changes[REVOCATION] = true);
            }
            ROOT_KEY => {
                self.order(changes);
                if self.stage == Stage::Connected {
                    self.stage = Stage::SentAway;
                }
                if broken == Broken::SentAwayIsForgotten {
                    self.orders.clear();
                }
            }
            _ => {}
        }
    }

    fn is_held(&self, change: usize, broken: Broken) -> bool {
        if broken == Broken::ChildrenAreNotWaitedFor {
            return false;
        }
        let holds = |order: &Order| {
            let end = match broken {
                Broken::NewestLeaseIsWaitedFor => self.granted,
                _ => order.over_at,
            };
            self.now < end && (order.changes[change] || broken == Broken::LowWaterMark)
        };
        self.orders.iter().any(holds)
    }

    fn acknowledged(&mut self, number: u8) {
        self.orders.retain(|order| order.number > number);
    }

    fn may_return(&self, change: usize, broken: Broken) -> bool {
        // A change of this node is effective when the node has applied the log up to it.
        let is_in_order = change != REVOCATION || self.has_applied[ROTATION];
        self.has_applied[change] && is_in_order && !self.has_returned[change] && !self.is_held(change, broken)
    }

    fn accepts(&self) -> bool {
        !self.has_forgotten && self.now < self.lease_end
    }
}

impl Model for Children {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, state: &State, events: &mut Vec<Event>) {
        let mut may = |event, is_possible: bool| {
            if is_possible {
                events.push(event);
            }
        };
        may(Event::Tick, state.now < END);
        let is_granted = state.stage == Stage::Connected && state.granted < state.now + LEASE;
        may(
            Event::Grant,
            is_granted && (!state.is_overdue() || self.0 == Broken::OverdueIsGranted),
        );
        may(Event::Deliver, !state.to_child.is_empty());
        may(
            Event::Acknowledge,
            state.stage != Stage::Lost && !state.to_node.contains(&state.carried_out),
        );
        may(Event::DeliverAcknowledgement, !state.to_node.is_empty());
        may(Event::Cut, state.stage != Stage::Lost);
        for change in 0..CHANGES {
            may(Event::Apply(change), !state.has_applied[change]);
            may(Event::Return(change), state.may_return(change, self.0));
        }
    }

    fn next_state(&self, before: &State, event: Event) -> Option<State> {
        let mut state = before.clone();
        match event {
            Event::Tick => state.now += 1,
            Event::Grant => {
                state.was_granted_overdue |= state.is_overdue();
                state.granted = state.now + LEASE;
                let place = match self.0 {
                    Broken::GrantsOvertakeOrders => 0,
                    _ => state.to_child.len(),
                };
                state.to_child.insert(place, Message::Grant(state.granted));
            }
            Event::Deliver => match state.to_child.remove(0) {
                Message::Order(number) => {
                    state.has_forgotten = true;
                    state.carried_out = number;
                }
                Message::Grant(end) => state.lease_end = state.lease_end.max(end),
            },
            Event::Acknowledge => state.to_node.push(state.carried_out),
            Event::DeliverAcknowledgement => {
                let number = state.to_node.remove(0);
                state.acknowledged(number);
            }
            Event::Cut => {
                state.stage = Stage::Lost;
                state.to_child.clear();
                state.to_node.clear();
                if self.0 == Broken::LostIsForgotten {
                    state.orders.clear();
                    state.granted = 0;
                }
            }
            Event::Apply(change) => state.apply(change, self.0),
            Event::Return(change) => state.has_returned[change] = true,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("I1: nothing is accepted after the answer", |_, state: &State| {
                let ended = [ROTATION, REVOCATION, ROOT_KEY];
                !(state.accepts() && ended.iter().any(|change| state.has_returned[*change]))
            }),
            Property::always(
                "R12: a change waits only for verifiers that were sent it",
                |model, state: &State| !state.is_held(OTHER_TENANT, model.0),
            ),
            Property::always(
                "R13: it waits for the lease at the time of the order at most",
                |model, state: &State| {
                    let last = state.orders.iter().map(|order| order.over_at).max().unwrap_or(0);
                    state.now < last || (0..CHANGES).all(|change| !state.is_held(change, model.0))
                },
            ),
            Property::always("R13: one that is overdue gets no lease", |_, state: &State| {
                !state.was_granted_overdue
            }),
        ]
    }
}

#[test]
fn a_child_delays_no_other_tenant_and_nothing_is_accepted_after_an_answer() {
    assert_eq!(violated(Children(Broken::Nothing)), None);
}

#[test]
fn each_rule_about_children_is_needed() {
    let accepted = "I1: nothing is accepted after the answer";
    for (broken, property) in [
        (Broken::ChildrenAreNotWaitedFor, accepted),
        (Broken::LaterChangesDoNotJoin, accepted),
        (Broken::EarlyChangesDoNotJoin, accepted),
        (
            Broken::LowWaterMark,
            "R12: a change waits only for verifiers that were sent it",
        ),
        (
            Broken::NewestLeaseIsWaitedFor,
            "R13: it waits for the lease at the time of the order at most",
        ),
        (Broken::OverdueIsGranted, "R13: one that is overdue gets no lease"),
        (Broken::GrantsOvertakeOrders, accepted),
        (Broken::SentAwayIsForgotten, accepted),
        (Broken::LostIsForgotten, accepted),
    ] {
        assert_eq!(violated(Children(broken)), Some(property), "{broken:?}");
    }
}
