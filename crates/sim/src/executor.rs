//! Time and scheduling. One thread runs all tasks, and the seed decides which of the ready ones runs next. Time does
//! not advance while a task is ready; then it jumps to the next timer.

use crate::random::Random;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Nanoseconds of simulated time.
pub(crate) type Nanos = u64;
/// A millisecond.
pub(crate) const MS: Nanos = 1_000_000;

/// The owner of a task: a process that can be paused or killed, or none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum TaskOwner {
    /// Clients, the network, observers.
    World,
    /// One start of one node.
    Process(u32),
}

type TaskFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The simulation. A clone is another handle to it.
#[derive(Clone)]
pub(crate) struct Sim {
    inner: Arc<Mutex<Inner>>,
    ready: Arc<Mutex<Vec<u64>>>,
}

struct Inner {
    now: Nanos,
    /// Numbers all observed events: their total order is real time for the checker.
    stamps: u64,
    random: Random,
    next_task: u64,
    tasks: BTreeMap<u64, (TaskOwner, Option<TaskFuture>)>,
    timers: BTreeMap<(Nanos, u64), Waker>,
    paused: BTreeMap<TaskOwner, Nanos>,
    trace: Option<Vec<String>>,
    steps: u64,
}

struct TaskWaker {
    id: u64,
    ready: Arc<Mutex<Vec<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        lock(&self.ready).push(self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sim {
    pub(crate) fn new(seed: u64, is_traced: bool) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                now: 0,
                stamps: 0,
                random: Random::new(seed),
                next_task: 0,
                tasks: BTreeMap::new(),
                timers: BTreeMap::new(),
                paused: BTreeMap::new(),
                trace: is_traced.then(Vec::new),
                steps: 0,
            })),
            ready: Arc::default(),
        }
    }

    pub(crate) fn now(&self) -> Nanos {
        lock(&self.inner).now
    }

    /// Returns the next stamp in the total order of events.
    pub(crate) fn stamp(&self) -> u64 {
        let mut inner = lock(&self.inner);
        inner.stamps += 1;
        inner.stamps
    }

    pub(crate) fn random<T>(&self, choose: impl FnOnce(&mut Random) -> T) -> T {
        choose(&mut lock(&self.inner).random)
    }

    pub(crate) fn range(&self, low: u64, high: u64) -> u64 {
        self.random(|random| random.range(low, high))
    }

    pub(crate) fn percent(&self, chance: u64) -> bool {
        self.random(|random| random.percent(chance))
    }

    /// Adds a line to the trace, if there is one.
    pub(crate) fn note(&self, who: &str, what: impl Display) {
        let mut inner = lock(&self.inner);
        let now = inner.now;
        if let Some(trace) = &mut inner.trace {
            trace.push(format!("{:>12} {who:<8} {what}", now / 1_000));
        }
    }

    pub(crate) fn trace(&self) -> String {
        let inner = lock(&self.inner);
        inner.trace.as_ref().map(|lines| lines.join("\n")).unwrap_or_default()
    }

    /// Returns how often a task was run.
    pub(crate) fn steps(&self) -> u64 {
        lock(&self.inner).steps
    }

    pub(crate) fn spawn(&self, owner: TaskOwner, job: impl Future<Output = ()> + Send + 'static) {
        let mut inner = lock(&self.inner);
        inner.next_task += 1;
        let id = inner.next_task;
        inner.tasks.insert(id, (owner, Some(Box::pin(job))));
        drop(inner);
        lock(&self.ready).push(id);
    }

    /// Runs no task of a process until a time.
    pub(crate) fn pause(&self, owner: TaskOwner, until: Nanos) {
        lock(&self.inner).paused.insert(owner, until);
    }

    /// Drops all tasks of a process at their present await point.
    pub(crate) fn kill(&self, owner: TaskOwner) {
        let mut inner = lock(&self.inner);
        let doomed: Vec<u64> = inner
            .tasks
            .iter()
            .filter(|(_, (whose, _))| *whose == owner)
            .map(|(id, _)| *id)
            .collect();
        let jobs: Vec<_> = doomed.iter().filter_map(|id| inner.tasks.remove(id)).collect();
        inner.paused.remove(&owner);
        drop(inner);
        // Dropping them may wake other tasks.
        drop(jobs);
    }

    /// Drops all tasks. They hold handles of the simulation that owns them.
    pub(crate) fn end(&self) {
        let mut inner = lock(&self.inner);
        let tasks = std::mem::take(&mut inner.tasks);
        let timers = std::mem::take(&mut inner.timers);
        drop(inner);
        drop((tasks, timers));
    }

    pub(crate) fn sleep(&self, nanos: Nanos) -> Sleep {
        Sleep {
            sim: self.clone(),
            until: self.now().saturating_add(nanos),
        }
    }

    /// Runs until a time, or until no task is left. Calls `look` after every step.
    pub(crate) fn run_until(&self, end: Nanos, mut look: impl FnMut()) {
        loop {
            if let Some(id) = self.choose() {
                self.step(id);
                look();
            } else if !self.advance(end) {
                return;
            }
        }
    }

    /// Returns one of the ready tasks, if any.
    fn choose(&self) -> Option<u64> {
        let mut inner = lock(&self.inner);
        let mut ready = lock(&self.ready);
        let now = inner.now;
        inner.paused.retain(|_, until| *until > now);
        // Tasks may be woken in any order. Sorted, the choice depends on the seed alone.
        ready.sort_unstable();
        ready.dedup();
        ready.retain(|id| inner.tasks.contains_key(id));
        let is_free = |id: &u64| {
            let owner = inner.tasks.get(id).map(|(owner, _)| *owner);
            owner.is_some_and(|owner| !inner.paused.contains_key(&owner))
        };
        let free: Vec<usize> = (0..ready.len())
            .filter(|&place| ready.get(place).is_some_and(is_free))
            .collect();
        if free.is_empty() {
            return None;
        }
        let chosen = *free.get(inner.random.place(free.len()))?;
        Some(ready.remove(chosen))
    }

    fn step(&self, id: u64) {
        let taken = {
            let mut inner = lock(&self.inner);
            inner.steps += 1;
            inner.tasks.get_mut(&id).and_then(|(_, job)| job.take())
        };
        let Some(mut job) = taken else { return };
        let waker = Waker::from(Arc::new(TaskWaker {
            id,
            ready: Arc::clone(&self.ready),
        }));
        let is_done = job.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let mut inner = lock(&self.inner);
        let leftover = match inner.tasks.get_mut(&id) {
            Some((_, place)) if !is_done => {
                *place = Some(job);
                None
            }
            Some(_) => {
                let ended = inner.tasks.remove(&id);
                Some((Some(job), ended))
            }
            None => Some((Some(job), None)),
        };
        // Without the lock: dropping a task may wake others.
        drop(inner);
        drop(leftover);
    }

    /// Jumps to the next timer. Returns false if there is none before the end.
    fn advance(&self, end: Nanos) -> bool {
        let mut inner = lock(&self.inner);
        let timer = inner.timers.keys().next().map(|(at, _)| *at);
        let pause = inner.paused.values().min().copied();
        let Some(next) = timer.into_iter().chain(pause).min() else {
            return false;
        };
        if next > end {
            return false;
        }
        inner.now = inner.now.max(next);
        let now = inner.now;
        let later = inner.timers.split_off(&(now.saturating_add(1), 0));
        let due = std::mem::replace(&mut inner.timers, later);
        drop(inner);
        for waker in due.into_values() {
            waker.wake();
        }
        true
    }
}

/// Completes at a time.
pub(crate) struct Sleep {
    sim: Sim,
    until: Nanos,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut inner = lock(&self.sim.inner);
        if inner.now >= self.until {
            return Poll::Ready(());
        }
        inner.stamps += 1;
        let place = (self.until, inner.stamps);
        inner.timers.insert(place, context.waker().clone());
        Poll::Pending
    }
}
