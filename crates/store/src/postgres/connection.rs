//! The connection that writes.
//!
//! A journey to the server costs more than most statements, so a transaction makes few of them. It is opened with the
//! first question, which goes out right behind; what is only to be written waits for the next question, or for the
//! commit; and what surely will be asked is asked ahead ([`Engine::foresee`]).

use super::bulk;
use super::connect::{Link, failed, reason};
use super::engine::{DIALECT, rows_of, rows_together, run_on, run_together, slow};
use crate::error::StoreError;
use crate::sql::tx::HEAD;
use crate::sql::writer::WriteEngine;
use crate::sql::{Dialect, Engine, Statement, query};
use async_trait::async_trait;
use futures_util::future::{join, try_join_all, try_join3};
use std::time::Duration;
use tokio::time::timeout;
use tokio_postgres::{Client, Config, Row};

/// How long the writer waits for one journey.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);
/// How long the writer waits for its turn. Longer than [`BEGIN`] lets a stopped node hold everybody up.
const TURN_DEADLINE: Duration = Duration::from_millis(3_500);

/// Most messages that go out at once: so many futures are surely polled, and so sent, in their order.
const BREATH: usize = 30;

/// A node that stops in the middle is put out after a second. The settings hold for this transaction alone.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; \
     SELECT set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') = 'remote_apply' \
         THEN 'remote_apply' ELSE 'on' END, TRUE), \
         set_config('keyreeve.writer', 'on', TRUE), \
         set_config('idle_in_transaction_session_timeout', '1000', TRUE), \
         set_config('lock_timeout', '3000', TRUE), \
         set_config('statement_timeout', '4000', TRUE)";
/// Takes the end of the log first, so that all who write anywhere go one after the other: limits and names hold
/// without further locks, a group of changes cannot deadlock with another node's, and revision order is commit order.
const TAKE_HEAD: &str = "SELECT revision, chain FROM head WHERE id = 1 FOR UPDATE";
/// The hint carries nothing: whoever gets it looks.
const COMMIT: &str = "NOTIFY keyreeve; COMMIT";

/// It connects when it must, and throws away a connection that failed.
pub(crate) struct Connection {
    config: Config,
    link: Option<Link>,
    turn: Turn,
}

/// How far a transaction is.
#[derive(Default)]
struct Turn {
    /// Something was sent: the server may have a transaction open.
    is_sent: bool,
    /// The head is held.
    is_open: bool,
    /// What is to be written and not sent yet, in order.
    waiting: Vec<Statement<'static>>,
    /// Answers to what is asked only later. Nothing was written since they were given.
    foreseen: Vec<(Statement<'static>, Vec<Row>)>,
}

impl Turn {
    fn foreseen(&mut self, question: &Statement<'_>) -> Option<Vec<Row>> {
        let place = self.foreseen.iter().position(|(known, _)| known.is_like(question))?;
        Some(self.foreseen.swap_remove(place).1)
    }

    /// The answers to all questions, if all are here.
    fn all_foreseen(&mut self, questions: &[Statement<'_>]) -> Option<Vec<Row>> {
        let is_known = |question: &Statement<'_>| self.foreseen.iter().any(|(known, _)| known.is_like(question));
        if !questions.iter().all(is_known) {
            return None;
        }
        let answers = questions.iter().map(|question| self.foreseen(question));
        Some(answers.collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
    }

    fn wait_with(&mut self, statements: impl IntoIterator<Item = Statement<'static>>) {
        // What is known of the end of the log stays true until that is moved, and then nobody asks for what is here.
        self.foreseen.retain(|(question, _)| question.sql == HEAD);
        self.waiting.extend(statements);
    }
}

impl Connection {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            link: None,
            turn: Turn::default(),
        }
    }

    fn client(&self) -> Result<&Client, StoreError> {
        let away = || StoreError::Unavailable("the connection is lost".to_owned());
        self.link.as_ref().map(|link| &link.client).ok_or_else(away)
    }

    fn is_connected(&self) -> bool {
        self.link.as_ref().is_some_and(|link| !link.client.is_closed())
    }

    async fn connect(&mut self) -> Result<(), StoreError> {
        self.link = None;
        self.link = Some(Link::open(&self.config).await?);
        Ok(())
    }

    /// Asks, and sends ahead of it what waits. The answers come by run of questions.
    async fn ask(&mut self, runs: &[&[Statement<'_>]]) -> Result<Vec<Vec<Row>>, StoreError> {
        let are_reads = runs.iter().all(|run| are_reads(run));
        if self.turn.is_open {
            return self.exchange(runs).await;
        }
        // If the transaction could not be opened, what comes behind would be one of its own: reads may, writes not.
        if are_reads && self.turn.waiting.is_empty() {
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
        // The database was started anew since: nothing was begun, so it may be begun on another connection.
        self.connect().await?;
        self.try_to_open(runs).await
    }

    async fn try_to_open(&mut self, runs: &[&[Statement<'_>]]) -> Result<Vec<Vec<Row>>, StoreError> {
        self.turn.is_sent = true;
        let client = self.client()?;
        let take = query(TAKE_HEAD);
        let asked = try_join_all(runs.iter().map(|run| rows_together(client, run)));
        // They are sent in this order.
        let all = try_join3(client.batch_execute(BEGIN), rows_of(client, &take), asked);
        let answered = timeout(TURN_DEADLINE, all).await.map_err(|_| slow())?;
        let ((), head, rows) = answered.map_err(failed)?;
        self.turn.is_open = true;
        self.turn.foreseen.push((query(HEAD), head));
        Ok(rows)
    }

    async fn exchange(&mut self, runs: &[&[Statement<'_>]]) -> Result<Vec<Vec<Row>>, StoreError> {
        self.thin_out().await?;
        let waiting = std::mem::take(&mut self.turn.waiting);
        let client = self.client()?;
        let asked = try_join_all(runs.iter().map(|run| rows_together(client, run)));
        let both = join(send(client, &waiting), asked);
        let (sent, asked) = timeout(WRITE_DEADLINE, both).await.map_err(|_| slow())?;
        must_hold(sent)?;
        asked.map_err(failed)
    }

    /// Sends run by run what waits, if it is more than can go out at once in a sure order.
    async fn thin_out(&mut self) -> Result<(), StoreError> {
        let messages = |run: &[Statement<'_>]| if bulk::fits(run) { 1 } else { run.len() };
        if bulk::runs(&self.turn.waiting).map(messages).sum::<usize>() <= BREATH {
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.turn.waiting);
        let client = self.client()?;
        for run in bulk::runs(&waiting) {
            let sent = timeout(WRITE_DEADLINE, send(client, run)).await;
            must_hold(sent.map_err(|_| slow())?)?;
        }
        Ok(())
    }

    async fn say(&self, sql: &str, deadline: Duration) -> Result<(), StoreError> {
        let said = timeout(deadline, self.client()?.batch_execute(sql)).await;
        said.map_err(|_| slow())?.map_err(failed)
    }
}

fn are_reads(statements: &[Statement<'_>]) -> bool {
    statements.iter().all(|one| one.sql.starts_with("SELECT"))
}

/// Sends statements, and says whether each of those that change rows found one.
async fn send(client: &Client, statements: &[Statement<'_>]) -> Result<bool, tokio_postgres::Error> {
    let runs: Vec<_> = bulk::runs(statements).collect();
    let runs = runs.into_iter().map(async |run| {
        let touched = run_together(client, run).await?;
        let wants_one = run.iter().any(Statement::touches_one);
        Ok(!wants_one || usize::try_from(touched) == Ok(run.len()))
    });
    Ok(try_join_all(runs).await?.into_iter().all(|is_good| is_good))
}

/// What waited may be of a change that was answered for: without it, nothing in this transaction holds.
fn must_hold(sent: Result<bool, tokio_postgres::Error>) -> Result<(), StoreError> {
    match sent {
        Ok(true) => Ok(()),
        Ok(false) => Err(StoreError::Unavailable("a row that was just read is gone".to_owned())),
        Err(error) => Err(StoreError::Unavailable(reason(&error))),
    }
}

#[async_trait]
impl Engine for Connection {
    type Row = Row;
    const DIALECT: Dialect = DIALECT;
    const IS_FAR: bool = true;

    async fn run(&mut self, statement: Statement<'_>) -> Result<u64, StoreError> {
        if !self.turn.is_open {
            self.open(&[]).await?;
        }
        self.turn.wait_with([]);
        self.exchange(&[]).await?;
        let ran = timeout(WRITE_DEADLINE, run_on(self.client()?, &statement)).await;
        ran.map_err(|_| slow())?.map_err(failed)
    }

    async fn rows(&mut self, statement: Statement<'_>) -> Result<Vec<Row>, StoreError> {
        self.rows_of_all(vec![statement]).await
    }

    async fn rows_of_all(&mut self, statements: Vec<Statement<'_>>) -> Result<Vec<Row>, StoreError> {
        if !are_reads(&statements) {
            self.turn.wait_with([]);
        }
        if let Some(rows) = self.turn.all_foreseen(&statements) {
            return Ok(rows);
        }
        let runs: Vec<_> = bulk::runs(&statements).collect();
        Ok(self.ask(&runs).await?.into_iter().flatten().collect())
    }

    async fn change(&mut self, statements: Vec<Statement<'_>>) -> Result<(), StoreError> {
        self.turn.wait_with(statements.into_iter().map(Statement::kept));
        Ok(())
    }

    async fn foresee(&mut self, questions: Vec<Statement<'_>>) -> Result<(), StoreError> {
        let mut questions = questions;
        if self.turn.is_open && !self.turn.foreseen.iter().any(|(known, _)| known.sql == HEAD) {
            questions.push(query(HEAD));
        }
        let runs: Vec<_> = questions.chunks(1).collect();
        let answers = self.ask(&runs).await?;
        let kept = questions.into_iter().map(Statement::kept);
        self.turn.foreseen.extend(kept.zip(answers));
        Ok(())
    }
}

#[async_trait]
impl WriteEngine for Connection {
    async fn begin(&mut self) -> Result<(), StoreError> {
        self.turn = Turn::default();
        if self.is_connected() {
            Ok(())
        } else {
            self.connect().await
        }
    }

    async fn save(&mut self) -> Result<(), StoreError> {
        self.turn.foreseen.clear();
        self.turn.waiting.push(query("SAVEPOINT job"));
        Ok(())
    }

    async fn keep(&mut self) -> Result<(), StoreError> {
        self.turn.waiting.push(query("RELEASE job"));
        Ok(())
    }

    async fn undo(&mut self) -> Result<(), StoreError> {
        self.turn.foreseen.clear();
        self.turn
            .waiting
            .extend([query("ROLLBACK TO job"), query("RELEASE job")]);
        Ok(())
    }

    /// A warning with the answer means that the commit was not waited for as it must be (coherence.md, finding 5).
    async fn commit(&mut self) -> Result<(), StoreError> {
        if !self.turn.is_open {
            self.open(&[]).await?;
        }
        self.thin_out().await?;
        let unknown = |why: String| StoreError::OutcomeUnknown(why);
        let waiting = std::mem::take(&mut self.turn.waiting);
        let lost = || unknown("the connection is lost".to_owned());
        let link = self.link.as_ref().ok_or_else(lost)?;
        link.forget_warnings();
        let both = join(send(&link.client, &waiting), link.client.batch_execute(COMMIT));
        let Ok((sent, committed)) = timeout(WRITE_DEADLINE, both).await else {
            return Err(unknown("the commit is not answered in time".to_owned()));
        };
        match (sent, committed) {
            // The server refused a statement, and so the commit behind it.
            (Err(error), _) if error.code().is_some() => Err(failed(error)),
            (Err(error), _) => Err(unknown(reason(&error))),
            (Ok(_), Err(error)) => match error.code() {
                // Integrity constraint and transaction rollback: the server says that it undid everything.
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
        let turn = std::mem::take(&mut self.turn);
        if turn.is_sent && self.say("ROLLBACK", Duration::from_secs(1)).await.is_err() {
            // The server ends the transaction when it finds the connection gone.
            self.link = None;
        }
    }

    async fn close(self) {
        drop(self.link);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "SELECT name FROM keys WHERE id = ?1";

    #[test]
    fn what_was_asked_ahead_is_answered_once_and_not_after_a_change() {
        let mut turn = Turn::default();
        let asked = |id: &'static [u8]| query(NAME).bind(id);
        turn.foreseen = vec![(asked(b"one").kept(), Vec::new()), (query(HEAD), Vec::new())];
        assert!(turn.all_foreseen(&[asked(b"two")]).is_none(), "about something else");
        assert!(turn.all_foreseen(&[asked(b"one"), asked(b"two")]).is_none(), "not all");
        assert!(turn.all_foreseen(&[asked(b"one")]).is_some());
        assert!(turn.all_foreseen(&[asked(b"one")]).is_none(), "once");

        turn.foreseen.push((asked(b"one").kept(), Vec::new()));
        turn.wait_with([query("UPDATE keys SET name = 'x'")]);
        assert!(
            turn.all_foreseen(&[asked(b"one")]).is_none(),
            "it may be another one now"
        );
        assert!(
            turn.all_foreseen(&[query(HEAD)]).is_some(),
            "nobody else moves the head"
        );
    }
}
