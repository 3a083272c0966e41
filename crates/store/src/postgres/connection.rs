//! The connection that writes.
//!
//! A round trip to the server costs more than most statements, so a transaction makes few of them. BEGIN is sent
//! together with the first query; statements without a result are queued until the next query or the commit; and
//! queries that are certain to come are prefetched ([`Engine::prefetch`]).

use super::batch;
use super::connect::{Link, Slots, failed, reason};
use super::engine::{DIALECT, Driver, slow};
use super::prepared::{PreparedSession, Use};
use super::tx_state::{Late, TxState};
use crate::error::StoreError;
use crate::sql::tx::HEAD;
use crate::sql::writer::WriteEngine;
use crate::sql::{Dialect, Engine, Statement, query};
use async_trait::async_trait;
use futures_util::future::{Either, join, select, try_join_all, try_join4};
use std::pin::pin;
use std::time::Duration;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::{Client, Config, Row};

/// Maximum time of one round trip of the writer.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);
/// Minimum wait for the head lock, even for a caller that has already waited in the queue. A new caller waits longer
/// than [`SETTINGS`] let a stopped node hold the lock.
const TURN_LEAST: Duration = Duration::from_millis(400);

/// Maximum number of messages sent at once. `try_join_all` polls up to 30 futures in their order, so the messages are
/// sent in order; it does not guarantee an order for more.
const MAX_PIPELINED: usize = 30;

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
/// `idle_in_transaction_session_timeout` ends the session of a node that stops in a transaction after 1 s. The settings
/// apply to the transaction only.
const SETTINGS: &str = "SELECT set_config('synchronous_commit', \
         CASE WHEN current_setting('synchronous_commit') = 'remote_apply' THEN 'remote_apply' ELSE 'on' END, TRUE), \
         set_config('keyreeve.writer', 'on', TRUE), \
         set_config('idle_in_transaction_session_timeout', '1000', TRUE), \
         set_config('lock_timeout', '1500', TRUE), \
         set_config('statement_timeout', '4000', TRUE)";
/// Locks the end of the log first, so that the writers of all nodes run one after the other: limits and unique names
/// need no further locks, a group of changes cannot deadlock with another node's, and revision order is commit order.
const TAKE_HEAD: &str = "SELECT revision, chain FROM head WHERE id = 1 FOR UPDATE";
const COMMIT: &str = "COMMIT";
/// The hint has no payload: a node that receives it polls. It follows the commit in a transaction of its own that does
/// not wait for the disk, because notifying transactions of all databases on the server hold one lock until they end.
const NOTIFY: &str = "SELECT set_config('synchronous_commit', 'off', TRUE); NOTIFY keyreeve";
/// Maximum number of consecutive commits without a hint. Then a hint is sent even if a commit is no news, so that nodes
/// do not have too many changes to read when a change waits for them.
const COMMITS_WITHOUT_NOTIFY_MAX: u32 = 16;

/// The writing connection. It connects when needed and discards a connection that failed.
pub(crate) struct PostgresConnection {
    config: Config,
    slots: Slots,
    link: Option<Link>,
    tx: TxState,
    /// Until when the first caller of the group waits for the head lock.
    until: Instant,
    /// Commits since the last hint.
    quiet: u32,
}

impl PostgresConnection {
    pub(super) fn new(config: Config, slots: Slots) -> Self {
        Self {
            config,
            slots,
            link: None,
            tx: TxState::default(),
            until: Instant::now(),
            quiet: 0,
        }
    }

    fn session(&self) -> Result<&PreparedSession, StoreError> {
        let away = || StoreError::Unavailable("the connection is lost".to_owned());
        self.link.as_ref().map(|link| &link.session).ok_or_else(away)
    }

    fn is_connected(&self) -> bool {
        self.link.as_ref().is_some_and(|link| !link.client().is_closed())
    }

    async fn connect(&mut self) -> Result<(), StoreError> {
        self.link = None;
        self.link = Some(Link::open(&self.config, Use::Writes, &self.slots, self.until).await?);
        Ok(())
    }

    /// Notes an answer that missed its deadline: the server may still be running the statement.
    fn in_time<T>(&mut self, asked: Result<T, Elapsed>) -> Result<T, StoreError> {
        if asked.is_err() {
            self.tx.late = Some(Late::Statement);
        }
        asked.map_err(|_| slow())
    }

    /// Sends queries, after the queued statements. Returns the rows by run of queries.
    async fn ask(&mut self, runs: &[&[Statement<'_>]]) -> Result<Vec<Vec<Row>>, StoreError> {
        let are_reads = runs.iter().all(|run| are_reads(run));
        if self.tx.is_open {
            return self.exchange(runs).await;
        }
        // If BEGIN fails, statements sent behind it run in transactions of their own: harmless for reads, not for
        // writes.
        if are_reads && self.tx.waiting.is_empty() {
            return self.open(runs).await;
        }
        self.open(&[]).await?;
        self.exchange(runs).await
    }

    async fn open(&mut self, runs: &[&[Statement<'_>]]) -> Result<Vec<Vec<Row>>, StoreError> {
        let opened = self.try_to_open(runs).await;
        if opened.is_ok() || self.is_connected() {
            return opened;
        }
        // The connection was closed since, for example by a restart of the database. Nothing has begun, so another
        // connection may begin it.
        self.connect().await?;
        self.try_to_open(runs).await
    }

    async fn try_to_open(&mut self, runs: &[&[Statement<'_>]]) -> Result<Vec<Vec<Row>>, StoreError> {
        self.tx.is_sent = true;
        let session = self.session()?;
        let (settings, take) = ([query(SETTINGS)], [query(TAKE_HEAD)]);
        let opening: [&[_]; 2] = [&settings, &take];
        let all = async {
            session.prepare(opening.into_iter().chain(runs.iter().copied())).await?;
            let asked = try_join_all(runs.iter().map(|run| session.rows(run)));
            // They are sent in this order.
            let begun = session.client().batch_execute(BEGIN);
            try_join4(begun, session.rows(&settings), session.rows(&take), asked).await
        };
        let answered = timeout_at(self.until, all).await;
        let answered = self.in_time(answered)?;
        let ((), _, head, rows) = self.noted(answered)?;
        self.tx.is_open = true;
        self.tx.prefetched.push((query(HEAD), head));
        Ok(rows)
    }

    async fn exchange(&mut self, runs: &[&[Statement<'_>]]) -> Result<Vec<Vec<Row>>, StoreError> {
        self.tx.before_flush();
        self.flush_excess().await?;
        let waiting = std::mem::take(&mut self.tx.waiting);
        let session = self.session()?;
        let both = async {
            session
                .prepare(batch::runs(&waiting).chain(runs.iter().copied()))
                .await?;
            let asked = try_join_all(runs.iter().map(|run| session.rows(run)));
            Ok(join(send(session, &waiting), asked).await)
        };
        let both = timeout(WRITE_DEADLINE, both).await;
        let both = self.in_time(both)?;
        let (sent, asked) = self.noted(both)?;
        self.must_hold(sent)?;
        self.noted(asked)
    }

    /// Sends the queued statements run by run if they are more than can be sent at once in a guaranteed order.
    async fn flush_excess(&mut self) -> Result<(), StoreError> {
        if batch::runs(&self.tx.waiting).map(batch::count).sum::<usize>() <= MAX_PIPELINED {
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.tx.waiting);
        for run in batch::runs(&waiting) {
            let sent = timeout(WRITE_DEADLINE, send(self.session()?, run)).await;
            let sent = self.in_time(sent)?;
            self.must_hold(sent)?;
        }
        Ok(())
    }

    /// A queued statement may belong to a change whose job has already returned: if it fails, the transaction must not
    /// commit.
    fn must_hold(&mut self, sent: Driver<bool>) -> Result<(), StoreError> {
        match sent {
            Ok(true) => Ok(()),
            Ok(false) => Err(StoreError::Unavailable("a row that was just read is gone".to_owned())),
            Err(error) => {
                self.tx.has_failed = true;
                Err(StoreError::Unavailable(reason(&error)))
            }
        }
    }

    fn noted<T>(&mut self, answer: Driver<T>) -> Result<T, StoreError> {
        self.tx.has_failed |= answer.as_ref().is_err_and(|error| !is_passing(error));
        answer.map_err(failed)
    }

    async fn say(&self, sql: &str, deadline: Duration) -> Result<(), StoreError> {
        let said = timeout(deadline, self.session()?.client().batch_execute(sql)).await;
        said.map_err(|_| slow())?.map_err(failed)
    }
}

/// Whether the server refused a statement because of concurrent activity: lock timeout, cancelled statement,
/// serialization failure, deadlock. The connection remains usable.
fn is_passing(error: &tokio_postgres::Error) -> bool {
    let code = error.code().map_or("", tokio_postgres::error::SqlState::code);
    matches!(code, "55P03" | "57014" | "40001" | "40P01")
}

fn are_reads(statements: &[Statement<'_>]) -> bool {
    statements.iter().all(|one| one.sql.starts_with("SELECT"))
}

/// Sends statements. Returns whether each statement that must change one row found it.
async fn send(session: &PreparedSession, statements: &[Statement<'_>]) -> Driver<bool> {
    let runs: Vec<_> = batch::runs(statements).collect();
    let runs = runs.into_iter().map(async |run| {
        let touched = session.run(run).await?;
        let wants_one = run.iter().any(Statement::touches_one);
        Ok(!wants_one || usize::try_from(touched) == Ok(run.len()))
    });
    Ok(try_join_all(runs).await?.into_iter().all(|is_good| is_good))
}

/// Sends the hint directly behind a commit and does not wait for its answer.
async fn then_hint<T>(commit: impl Future<Output = T>, client: Option<&Client>) -> T {
    let Some(client) = client else {
        return commit.await;
    };
    match select(pin!(commit), pin!(client.batch_execute(NOTIFY))).await {
        Either::Left((committed, _)) => committed,
        // Nothing depends on the hint.
        Either::Right((_, commit)) => commit.await,
    }
}

#[async_trait]
impl Engine for PostgresConnection {
    type Row = Row;
    const DIALECT: Dialect = DIALECT;
    const IS_REMOTE: bool = true;

    async fn run(&mut self, statement: Statement<'_>) -> Result<u64, StoreError> {
        if !self.tx.is_open {
            self.open(&[]).await?;
        }
        self.tx.forget_prefetched();
        self.exchange(&[]).await?;
        let session = self.session()?;
        let statement = [statement];
        let ran = async {
            session.prepare([statement.as_slice()]).await?;
            session.run(&statement).await
        };
        let ran = timeout(WRITE_DEADLINE, ran).await;
        let ran = self.in_time(ran)?;
        self.noted(ran)
    }

    async fn rows(&mut self, statement: Statement<'_>) -> Result<Vec<Row>, StoreError> {
        self.rows_of_all(vec![statement]).await
    }

    async fn rows_of_all(&mut self, statements: Vec<Statement<'_>>) -> Result<Vec<Row>, StoreError> {
        if !are_reads(&statements) {
            self.tx.forget_prefetched();
        }
        if let Some(rows) = self.tx.all_prefetched(&statements) {
            return Ok(rows);
        }
        let runs: Vec<_> = batch::runs(&statements).collect();
        Ok(self.ask(&runs).await?.into_iter().flatten().collect())
    }

    async fn prefetch(&mut self, questions: Vec<Statement<'_>>) -> Result<(), StoreError> {
        let mut questions = questions;
        if self.tx.is_open && !self.tx.prefetched.iter().any(|(known, _)| known.sql == HEAD) {
            questions.push(query(HEAD));
        }
        let runs: Vec<_> = questions.chunks(1).collect();
        let answers = self.ask(&runs).await?;
        let kept = questions.into_iter().map(Statement::kept);
        self.tx.prefetched.extend(kept.zip(answers));
        Ok(())
    }
}

#[async_trait]
impl WriteEngine for PostgresConnection {
    async fn change(&mut self, statements: Vec<Statement<'_>>) -> Result<(), StoreError> {
        self.tx.wait_with(statements.into_iter().map(Statement::kept));
        Ok(())
    }

    async fn begin(&mut self, until: Instant) -> Result<(), StoreError> {
        self.tx = TxState::default();
        self.until = until.max(Instant::now() + TURN_LEAST);
        if self.is_connected() {
            Ok(())
        } else {
            self.connect().await
        }
    }

    async fn save(&mut self) -> Result<(), StoreError> {
        self.tx.save();
        Ok(())
    }

    async fn keep(&mut self) -> Result<(), StoreError> {
        self.tx.keep();
        Ok(())
    }

    async fn undo(&mut self) -> Result<(), StoreError> {
        self.tx.undo();
        Ok(())
    }

    /// Commits. A warning from the server means that it did not wait for the commit as configured, so the outcome is
    /// unknown.
    async fn commit(&mut self, is_news: bool) -> Result<(), StoreError> {
        if !self.tx.is_open {
            self.open(&[]).await?;
        }
        self.flush_excess().await?;
        let tells = is_news || self.quiet >= COMMITS_WITHOUT_NOTIFY_MAX;
        self.quiet = if tells { 0 } else { self.quiet + 1 };
        let unknown = |why: String| StoreError::OutcomeUnknown(why);
        let waiting = std::mem::take(&mut self.tx.waiting);
        // The commit is not sent yet, so a failure here has a known outcome.
        let prepared = timeout(WRITE_DEADLINE, self.session()?.prepare(batch::runs(&waiting))).await;
        let prepared = self.in_time(prepared)?;
        self.noted(prepared)?;
        let lost = || unknown("the connection is lost".to_owned());
        let link = self.link.as_ref().ok_or_else(lost)?;
        link.forget_warnings();
        let both = join(send(&link.session, &waiting), link.client().batch_execute(COMMIT));
        let both = timeout(WRITE_DEADLINE, then_hint(both, tells.then_some(link.client())));
        let Ok((sent, committed)) = both.await else {
            self.tx.late = Some(Late::Commit);
            return Err(unknown("the commit is not answered in time".to_owned()));
        };
        self.tx.has_failed = sent.is_err() || committed.is_err();
        match (sent, committed) {
            // The server refused a statement, and with it the commit behind it.
            (Err(error), _) if error.code().is_some() => Err(failed(error)),
            (Err(error), _) => Err(unknown(reason(&error))),
            (Ok(_), Err(error)) => match error.code() {
                // Class 23 (integrity constraint) and 40 (transaction rollback): the server reports that everything was
                // rolled back.
                Some(code) if code.code().starts_with("23") || code.code().starts_with("40") => Err(failed(error)),
                _ => Err(unknown(reason(&error))),
            },
            (Ok(false), Ok(())) => Err(unknown("a row that was just read is gone".to_owned())),
            (Ok(true), Ok(())) if link.has_warned() => Err(unknown(
                "the database warned that the commit is not safe yet".to_owned(),
            )),
            (Ok(true), Ok(())) => Ok(()),
        }
    }

    async fn roll_back(&mut self) {
        let tx = std::mem::take(&mut self.tx);
        let late = match tx.late {
            None if tx.is_sent && self.say("ROLLBACK", Duration::from_secs(1)).await.is_err() => Some(Late::Statement),
            late => late,
        };
        // A failure may be permanent for statements prepared on this connection: a migration may have changed a table.
        if late.is_none() && !tx.has_failed {
            return;
        }
        // The server rolls back when it finds the connection closed.
        let Some(link) = self.link.take() else { return };
        match late {
            Some(Late::Statement) => link.cancel(),
            // A pending commit is never cancelled: the server would complete it without waiting for the standby.
            Some(Late::Commit) | None => link.release(),
        }
    }

    async fn close(self) {
        drop(self.link);
    }
}
