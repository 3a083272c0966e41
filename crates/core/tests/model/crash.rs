//! A database that crashes, or fails over to a standby that lags, while one node holds a lease and another one waits
//! for that lease to end (rules R9 and R18).
//!
//! The first node polls; a poll may be committed asynchronously, and then a crash takes it back. The other node reads a
//! count in the session's row, and marks the session dead when it has not moved for W; a change then does not wait for
//! it any more. Clocks are ideal and W is L: the margin for clock rates is tested in `coherence::lease`.

use crate::violated;
use stateright::{Model, Property};

const LEASE: u8 = 2;
const END: u8 = 3;
const CRASHES: u8 = 1;

/// The rule that is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Broken {
    Nothing,
    /// R18: a lease grows only by a renewal that is on disk.
    RenewalsAreNotDurable,
    /// R18: the count that is timed moves only by polls that are on disk.
    PollsAreTimed,
    /// R18: observations are not timed across a failover.
    SightsOfAnyEra,
    /// R9: a session is dead only after it has not moved for W.
    BuriedAtOnce,
}

/// The session's row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Row {
    /// Polls of any kind.
    polls: u8,
    /// Renewals that extended a lease.
    leases: u8,
    /// Whether the change is acknowledged.
    is_acked: bool,
    /// Whether the session was marked dead. That is on disk, and on the standby.
    is_dead: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Poll {
    sent: u8,
    is_renewal: bool,
    acks: bool,
    /// Whether the change was in the answer; `None` until there is one.
    answer: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Sight {
    count: u8,
    era: u8,
    at: u8,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    now: u8,
    row: Row,
    /// The row after a crash.
    disk: Row,
    /// The row on the standby.
    standby: Row,
    era: u8,
    crashes: u8,
    poll: Option<Poll>,
    lease_end: u8,
    has_applied: bool,
    is_committed: bool,
    sight: Option<Sight>,
    has_returned: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Event {
    Tick,
    Send { is_renewal: bool },
    Execute,
    Receive,
    Lose,
    WriteToDisk,
    Replicate,
    Crash,
    FailOver,
    Commit,
    Look,
    Return,
}

struct Crashes(Broken);

impl State {
    fn look(&mut self, broken: Broken) {
        let count = match broken {
            Broken::PollsAreTimed => self.row.polls,
            _ => self.row.leases,
        };
        let is_same =
            |sight: &Sight| sight.count == count && (sight.era == self.era || broken == Broken::SightsOfAnyEra);
        match self.sight.filter(is_same) {
            Some(sight) if self.now >= sight.at + LEASE || broken == Broken::BuriedAtOnce => {
                self.row.is_dead = true;
                self.disk = self.row;
                self.standby.is_dead = true;
            }
            Some(_) => {}
            None => {
                self.sight = Some(Sight {
                    count,
                    era: self.era,
                    at: self.now,
                });
            }
        }
    }

    fn execute(&mut self, broken: Broken) {
        if self.row.is_dead {
            self.poll = None;
            return;
        }
        let Some(poll) = &mut self.poll else { return };
        poll.answer = Some(self.is_committed);
        self.row.polls += 1;
        self.row.is_acked |= poll.acks;
        if poll.is_renewal {
            self.row.leases += 1;
            if broken != Broken::RenewalsAreNotDurable {
                self.disk = self.row;
            }
        }
    }

    fn receive(&mut self) {
        let Some(poll) = self.poll.take() else { return };
        self.has_applied |= poll.answer == Some(true);
        if poll.is_renewal {
            self.lease_end = self.lease_end.max(poll.sent + LEASE);
        }
    }

    /// A statement that was not executed fails with its connection; an answer may already be in transit.
    fn lose_connections(&mut self) {
        self.poll = self.poll.filter(|poll| poll.answer.is_some());
        self.crashes += 1;
    }
}

impl Model for Crashes {
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
        may(
            Event::Send { is_renewal: true },
            state.poll.is_none() && state.row.polls < 3,
        );
        may(
            Event::Send { is_renewal: false },
            state.poll.is_none() && state.row.polls < 3,
        );
        may(Event::Execute, state.poll.is_some_and(|poll| poll.answer.is_none()));
        may(Event::Receive, state.poll.is_some_and(|poll| poll.answer.is_some()));
        may(Event::Lose, state.poll.is_some());
        may(Event::WriteToDisk, state.disk != state.row);
        may(Event::Replicate, state.standby != state.disk);
        may(Event::Crash, state.crashes < CRASHES);
        may(Event::FailOver, state.crashes < CRASHES);
        may(Event::Commit, !state.is_committed);
        may(Event::Look, !state.row.is_dead);
        let is_everywhere = state.row.is_acked || state.row.is_dead;
        may(
            Event::Return,
            state.is_committed && is_everywhere && !state.has_returned,
        );
    }

    fn next_state(&self, before: &State, event: Event) -> Option<State> {
        let mut state = before.clone();
        match event {
            Event::Tick => state.now += 1,
            Event::Send { is_renewal } => {
                state.poll = Some(Poll {
                    sent: state.now,
                    is_renewal,
                    acks: state.has_applied,
                    answer: None,
                });
            }
            Event::Execute => state.execute(self.0),
            Event::Receive => state.receive(),
            Event::Lose => state.poll = None,
            Event::WriteToDisk => state.disk = state.row,
            Event::Replicate => state.standby = state.disk,
            // The process of one connection crashes: the server keeps its start time, and loses what was not on disk.
            Event::Crash => {
                state.row = state.disk;
                state.lose_connections();
            }
            // A change that is lost with the old primary is not part of this model: here the standby has it (R16 covers
            // the other).
            Event::FailOver => {
                state.row = state.standby;
                state.disk = state.standby;
                state.era += 1;
                state.lose_connections();
            }
            Event::Commit => {
                state.is_committed = true;
                state.disk = state.row;
            }
            Event::Look => state.look(self.0),
            Event::Return => state.has_returned = true,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(
            "I1: nothing is accepted after the answer",
            |_, state: &State| !(state.has_returned && !state.has_applied && state.now < state.lease_end),
        )]
    }
}

const I1: Option<&str> = Some("I1: nothing is accepted after the answer");

#[test]
fn no_living_session_is_taken_for_dead_whatever_a_crash_takes_back() {
    assert_eq!(violated(Crashes(Broken::Nothing)), None);
}

#[test]
fn each_rule_about_crashes_is_needed() {
    for broken in [
        Broken::RenewalsAreNotDurable,
        Broken::PollsAreTimed,
        Broken::SightsOfAnyEra,
        Broken::BuriedAtOnce,
    ] {
        assert_eq!(violated(Crashes(broken)), I1, "{broken:?}");
    }
}
