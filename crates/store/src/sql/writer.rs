//! The one writer, and group commit.
//!
//! Changes wait in a queue. The writer takes one and all others that are waiting, up to a bound, and runs them in one
//! transaction, each but the first in a savepoint of its own. It commits once, calls the observer once, and only then
//! answers each. One disk sync thus serves many callers, and a change that has begun is committed and applied even if
//! its caller gives up.

use super::health::WriterHealth;
use super::tx::SqlTx;
use super::{Engine, Statement};
use crate::error::{StoreError, WriteError};
use crate::operations::Written;
use crate::store::{Commit, CommitObserver, WriteHealth};
use crate::tx::Tx;
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

/// Maximum number of changes in the queue. Beyond it callers wait for a place.
const QUEUE: usize = 1_024;
/// Maximum number of changes in one commit, so that the first does not wait long for the last.
const GROUP: usize = 256;
/// How long a caller waits for its change to begin: it learns within two seconds that the database does not answer.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// The connection that writes. While it has a transaction open, no other connection writes, on any node.
#[async_trait]
pub(crate) trait WriteEngine: Engine + Sized + 'static {
    /// Starts the writer where this database's statements may block.
    fn launch(task: impl Future<Output = ()> + Send + 'static) -> Result<(), StoreError> {
        drop(tokio::spawn(task));
        Ok(())
    }

    /// Runs statements in this order, before the commit at the latest. Each of them that inserts or updates must touch a
    /// row.
    async fn change(&mut self, statements: Vec<Statement<'_>>) -> Result<(), StoreError>;
    /// Opens a transaction, connecting first if needed. Waits for other writers until `until`.
    async fn begin(&mut self, until: Instant) -> Result<(), StoreError>;
    /// Sets a savepoint.
    async fn save(&mut self) -> Result<(), StoreError>;
    /// Releases the savepoint: what was done since is kept.
    async fn keep(&mut self) -> Result<(), StoreError>;
    /// Rolls back to the savepoint.
    async fn undo(&mut self) -> Result<(), StoreError>;
    /// Commits, and sends other nodes a hint if it is news to them. [`StoreError::Unavailable`] or
    /// [`StoreError::Corrupt`] if certainly nothing was written, [`StoreError::OutcomeUnknown`] if something may have
    /// been.
    async fn commit(&mut self, is_news: bool) -> Result<(), StoreError>;
    /// Rolls the transaction back, also one that the database has rolled back already.
    async fn roll_back(&mut self);
    /// Closes the connection.
    async fn close(self);
}

/// A change in the queue.
struct WriteJob<E> {
    /// Runs on the writer's connection.
    run: Run<E>,
    place: Arc<JobState>,
    /// Until when the caller waits for it to begin.
    until: Instant,
}

type Run<E> = Box<dyn for<'c> FnOnce(&'c mut E) -> BoxFuture<'c, Finished> + Send>;

/// The state of a queued change: the writer begins it or its caller withdraws it, whichever comes first.
#[derive(Debug, Default)]
struct JobState(AtomicU8);

impl JobState {
    const WAITING: u8 = 0;
    const BEGUN: u8 = 1;
    const WITHDRAWN: u8 = 2;

    /// False if it was withdrawn.
    fn begin(&self) -> bool {
        self.leave(Self::BEGUN)
    }

    /// False if it was begun.
    fn withdraw(&self) -> bool {
        self.leave(Self::WITHDRAWN)
    }

    fn is_begun(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::BEGUN
    }

    fn is_withdrawn(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::WITHDRAWN
    }

    fn leave(&self, to: u8) -> bool {
        self.0
            .compare_exchange(Self::WAITING, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

type AnswerSender = Box<dyn FnOnce(JobOutcome) + Send>;

/// A change that ran inside the transaction and waits for the commit.
struct Finished {
    result: JobResult,
    answer: AnswerSender,
}

enum JobResult {
    /// To be committed.
    Done(Box<Commit>),
    /// Refused: its savepoint is rolled back, and the others continue.
    Refused,
    /// The database failed: nothing in this transaction can be relied on.
    Broken,
}

/// The outcome of a transaction.
#[derive(Clone)]
enum JobOutcome {
    Committed,
    /// All changes in it were refused.
    Refused,
    RolledBack(String),
    /// Rolled back because of what the only change in it tried to write.
    Corrupt(String),
    Unknown(String),
}

/// The handle for callers.
pub(crate) struct Writer<E> {
    queue: Mutex<Option<mpsc::Sender<WriteJob<E>>>>,
    /// Resolves when the writer has ended.
    ended: Mutex<Option<oneshot::Receiver<()>>>,
    /// Why no change is accepted, if that was so from the start.
    read_only: Option<String>,
    health: Arc<WriterHealth>,
}

impl<E: WriteEngine> Writer<E> {
    pub(crate) fn start(engine: E, observer: Arc<dyn CommitObserver>) -> Result<Self, StoreError> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (ends, ended) = oneshot::channel();
        let health = Arc::new(WriterHealth::default());
        let noted = Arc::clone(&health);
        E::launch(async move {
            run(engine, receiver, observer, &noted).await;
            drop(ends);
        })?;
        Ok(Self {
            queue: Mutex::new(Some(sender)),
            ended: Mutex::new(Some(ended)),
            read_only: None,
            health,
        })
    }

    /// Returns a writer that refuses every change, for a reason.
    #[cfg(feature = "sqlite")]
    pub(crate) fn read_only(why: String) -> Self {
        Self {
            queue: Mutex::new(None),
            ended: Mutex::new(None),
            read_only: Some(why),
            health: Arc::default(),
        }
    }

    /// Whether writing succeeds.
    pub(crate) fn health(&self) -> WriteHealth {
        self.health.read()
    }

    /// Runs an operation in a transaction. Returns when the change is durable.
    pub(crate) async fn write<T, F>(&self, operation: F) -> Result<T, WriteError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut dyn Tx) -> BoxFuture<'t, Result<Written<T>, WriteError>> + Send + 'static,
    {
        let closed = || match &self.read_only {
            Some(why) => StoreError::ReadOnly(why.clone()),
            None => StoreError::Unavailable("the store is closed".to_owned()),
        };
        let queue = self
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or_else(closed)?;
        let (sender, mut answer) = oneshot::channel();
        let run: Run<E> = Box::new(move |engine| {
            Box::pin(async move {
                let actions = Vec::new();
                let mut tx = SqlTx { engine, actions };
                let mut written = operation(&mut tx).await;
                if let Ok(written) = &mut written {
                    written.commit.actions = tx.actions;
                }
                finished(written, sender)
            })
        });
        let until = Instant::now() + PATIENCE;
        let place = Arc::new(JobState::default());
        let job = WriteJob {
            run,
            place: Arc::clone(&place),
            until,
        };
        let busy = || {
            let why = "the database is busy with earlier changes";
            self.health.failed(why);
            StoreError::Unavailable(why.to_owned())
        };
        let queued = timeout_at(until, queue.send(job)).await;
        queued.map_err(|_| busy())?.map_err(|_| closed())?;
        drop(queue);
        let answered = match timeout_at(until, &mut answer).await {
            Ok(answered) => answered,
            Err(_) if place.withdraw() => return Err(busy().into()),
            // It has begun, so the caller must wait for the outcome: it may be committed.
            Err(_) => answer.await,
        };
        let lost = |_| match place.is_begun() {
            true => StoreError::OutcomeUnknown("the writer ended".to_owned()),
            false => StoreError::Unavailable("the database did not begin the transaction".to_owned()),
        };
        answered.map_err(lost)?
    }

    /// Finishes what is queued and closes the connection.
    pub(crate) async fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ended) = ended {
            // A writer that panicked has dropped its answers; there is nothing left to save here.
            drop(ended.await);
        }
    }
}

fn finished<T: Send + 'static>(
    result: Result<Written<T>, WriteError>,
    sender: oneshot::Sender<Result<T, WriteError>>,
) -> Finished {
    // A caller that went away is not an error: the change is made nevertheless.
    match result {
        Ok(Written { value, commit }) => Finished {
            result: JobResult::Done(Box::new(commit)),
            answer: Box::new(move |outcome| drop(sender.send(outcome.result().map(|()| value)))),
        },
        Err(error) => Finished {
            result: match &error {
                WriteError::Store(StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_)) => JobResult::Broken,
                _ => JobResult::Refused,
            },
            answer: Box::new(move |_| drop(sender.send(Err(error)))),
        },
    }
}

impl JobOutcome {
    fn result(self) -> Result<(), WriteError> {
        match self {
            Self::Committed | Self::Refused => Ok(()),
            Self::RolledBack(why) => Err(StoreError::Unavailable(why).into()),
            Self::Corrupt(why) => Err(StoreError::Corrupt(why).into()),
            Self::Unknown(why) => Err(StoreError::OutcomeUnknown(why).into()),
        }
    }
}

async fn run<E: WriteEngine>(
    mut engine: E,
    mut queue: mpsc::Receiver<WriteJob<E>>,
    observer: Arc<dyn CommitObserver>,
    health: &WriterHealth,
) {
    while let Some(first) = queue.recv().await {
        let mut answers: Vec<AnswerSender> = Vec::new();
        let outcome = group(&mut engine, first, &mut queue, observer.as_ref(), &mut answers).await;
        match &outcome {
            JobOutcome::Committed => health.succeeded(),
            JobOutcome::RolledBack(why) | JobOutcome::Unknown(why) => health.failed(why),
            // The database refused only this change, or there was nothing to commit.
            JobOutcome::Corrupt(_) | JobOutcome::Refused => {}
        }
        for answer in answers {
            answer(outcome.clone());
        }
    }
    engine.close().await;
}

/// Runs all waiting jobs in one transaction. A job that is not run is dropped, and its caller learns that it was not.
///
/// The first job needs no savepoint: until another one is done, a rollback undoes only its own writes. A job that is
/// alone, which is the usual case, thus costs two statements less.
async fn group<E: WriteEngine>(
    engine: &mut E,
    first: WriteJob<E>,
    queue: &mut mpsc::Receiver<WriteJob<E>>,
    observer: &dyn CommitObserver,
    answers: &mut Vec<AnswerSender>,
) -> JobOutcome {
    let mut commit = Commit::default();
    let mut is_alone = true;
    let mut next = Some(first);
    while let Some(job) = next {
        if job.place.is_withdrawn() {
            next = queue.try_recv().ok();
            continue;
        }
        if is_alone && let Err(error) = engine.begin(job.until).await {
            engine.roll_back().await;
            return JobOutcome::RolledBack(error.to_string());
        }
        if !job.place.begin() {
            // Its caller has given up while the transaction was opened.
            if is_alone {
                engine.roll_back().await;
            }
            next = queue.try_recv().ok();
            continue;
        }
        let finished = match is_alone {
            true => (job.run)(engine).await,
            false => run_saved(engine, job.run).await,
        };
        answers.push(finished.answer);
        match finished.result {
            JobResult::Done(one) => {
                commit.merge(*one);
                is_alone = false;
            }
            JobResult::Refused if is_alone => engine.roll_back().await,
            JobResult::Refused => {}
            JobResult::Broken => {
                engine.roll_back().await;
                return JobOutcome::RolledBack(
                    "the transaction was rolled back because a statement in it failed".to_owned(),
                );
            }
        }
        next = if answers.len() < GROUP {
            queue.try_recv().ok()
        } else {
            None
        };
    }
    if is_alone {
        // Nothing is open, and no change waits for a commit.
        return JobOutcome::Refused;
    }
    match engine.commit(commit.is_news()).await {
        Ok(()) => {
            observer.committed(&commit);
            JobOutcome::Committed
        }
        Err(error) => {
            let outcome = match error {
                // Which of several changes caused it is not known. Each may be tried again; the one at fault fails
                // alone.
                StoreError::Corrupt(why) if answers.len() == 1 => JobOutcome::Corrupt(why),
                StoreError::Unavailable(why) | StoreError::Corrupt(why) => JobOutcome::RolledBack(why),
                other => JobOutcome::Unknown(other.to_string()),
            };
            // What was certainly rolled back has touched nothing.
            if let JobOutcome::Unknown(_) = outcome {
                observer.outcome_unknown(&commit);
            }
            engine.roll_back().await;
            outcome
        }
    }
}

/// Runs a job in a savepoint, so that a refusal undoes only its own writes.
async fn run_saved<E: WriteEngine>(engine: &mut E, run: Run<E>) -> Finished {
    let broken = |finished: Finished| Finished {
        result: JobResult::Broken,
        ..finished
    };
    let is_saved = engine.save().await.is_ok();
    let finished = run(engine).await;
    let end = match finished.result {
        JobResult::Done(_) => engine.keep().await,
        JobResult::Refused => engine.undo().await,
        JobResult::Broken => return finished,
    };
    if is_saved && end.is_ok() {
        finished
    } else {
        broken(finished)
    }
}
