//! The state of a transaction: what was sent, what is queued, and which answers are prefetched.

use crate::sql::tx::HEAD;
use crate::sql::{Statement, query};
use tokio_postgres::Row;

/// The state of a transaction.
#[derive(Default)]
pub(super) struct TxState {
    /// Something was sent, so the server may have a transaction open.
    pub(super) is_sent: bool,
    /// The server refused a statement.
    pub(super) has_failed: bool,
    /// The message that was not answered in time. The server may still be running it.
    pub(super) late: Option<Late>,
    /// The transaction holds the head.
    pub(super) is_open: bool,
    /// Statements that are queued and not sent yet, in order.
    pub(super) waiting: Vec<Statement<'static>>,
    /// Prefetched answers. Nothing was written since they were read.
    pub(super) prefetched: Vec<(Statement<'static>, Vec<Row>)>,
    point: Option<Point>,
}

/// The kind of message that was not answered in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Late {
    /// A statement, which can be cancelled.
    Statement,
    /// The commit, which must not be cancelled.
    Commit,
}

/// The start of the part that can be rolled back alone.
#[derive(Clone, Copy)]
enum Point {
    /// All statements that are queued from this index on. None of them was sent.
    Waiting(usize),
    /// Everything since the savepoint.
    Sent,
}

impl TxState {
    fn prefetched(&mut self, question: &Statement<'_>) -> Option<Vec<Row>> {
        let place = self.prefetched.iter().position(|(known, _)| known.is_like(question))?;
        Some(self.prefetched.swap_remove(place).1)
    }

    /// Returns the prefetched answers to all questions, or `None` if one is missing.
    pub(super) fn all_prefetched(&mut self, questions: &[Statement<'_>]) -> Option<Vec<Row>> {
        let is_known = |question: &Statement<'_>| self.prefetched.iter().any(|(known, _)| known.is_like(question));
        if !questions.iter().all(is_known) {
            return None;
        }
        let answers = questions.iter().map(|question| self.prefetched(question));
        Some(answers.collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
    }

    pub(super) fn wait_with(&mut self, statements: impl IntoIterator<Item = Statement<'static>>) {
        // The prefetched head stays true until this transaction moves it, and after that it is not queried again.
        self.prefetched.retain(|(question, _)| question.sql == HEAD);
        self.waiting.extend(statements);
    }

    /// Prepares for a statement that is sent at once.
    pub(super) fn forget_prefetched(&mut self) {
        self.wait_with([]);
        if let Some(Point::Waiting(place)) = self.point {
            self.save_at(place);
        }
    }

    /// Called before the queue is sent. Puts a savepoint before the part that may have to be rolled back alone.
    pub(super) fn before_flush(&mut self) {
        match self.point {
            Some(Point::Waiting(place)) if place < self.waiting.len() => self.save_at(place),
            Some(Point::Waiting(_)) => self.point = Some(Point::Waiting(0)),
            Some(Point::Sent) | None => {}
        }
    }

    /// Starts a part that can be rolled back alone.
    pub(super) fn save(&mut self) {
        self.prefetched.clear();
        self.point = Some(Point::Waiting(self.waiting.len()));
    }

    /// Keeps the part.
    pub(super) fn keep(&mut self) {
        if let Some(Point::Sent) = self.point.take() {
            self.waiting.push(query("RELEASE job"));
        }
    }

    /// Rolls the part back. A savepoint is needed only for statements that were sent.
    pub(super) fn undo(&mut self) {
        self.prefetched.clear();
        match self.point.take() {
            Some(Point::Waiting(place)) => self.waiting.truncate(place),
            Some(Point::Sent) => self.waiting.extend([query("ROLLBACK TO job"), query("RELEASE job")]),
            None => {}
        }
    }

    fn save_at(&mut self, place: usize) {
        self.waiting.insert(place, query("SAVEPOINT job"));
        self.point = Some(Point::Sent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "SELECT name FROM keys WHERE id = ?1";

    fn waiting(turn: &TxState) -> Vec<&'static str> {
        turn.waiting.iter().map(|statement| statement.sql).collect()
    }

    /// One change has queued "A"; a second one starts and can be rolled back alone.
    fn second() -> TxState {
        let mut turn = TxState::default();
        turn.wait_with([query("A")]);
        turn.save();
        turn
    }

    #[test]
    fn what_was_not_sent_is_undone_without_a_savepoint() {
        let mut turn = second();
        turn.wait_with([query("B")]);
        turn.undo();
        assert_eq!(waiting(&turn), ["A"]);

        let mut turn = second();
        turn.wait_with([query("B")]);
        turn.keep();
        assert_eq!(waiting(&turn), ["A", "B"]);

        let mut turn = second();
        turn.before_flush();
        assert_eq!(waiting(&turn), ["A"], "it only asks, and nothing of its own goes out");
        turn.waiting.clear();
        turn.wait_with([query("B")]);
        turn.undo();
        assert!(turn.waiting.is_empty());
    }

    #[test]
    fn what_may_be_undone_goes_out_behind_a_savepoint() {
        let mut turn = second();
        turn.wait_with([query("B")]);
        turn.before_flush();
        assert_eq!(waiting(&turn), ["A", "SAVEPOINT job", "B"]);
        turn.before_flush();
        turn.forget_prefetched();
        assert_eq!(waiting(&turn), ["A", "SAVEPOINT job", "B"], "behind one");
        turn.waiting.clear();
        turn.wait_with([query("C")]);
        turn.undo();
        assert_eq!(waiting(&turn), ["C", "ROLLBACK TO job", "RELEASE job"]);

        let mut turn = second();
        turn.forget_prefetched();
        assert_eq!(
            waiting(&turn),
            ["A", "SAVEPOINT job"],
            "what is written now comes behind it"
        );
        turn.keep();
        assert_eq!(waiting(&turn), ["A", "SAVEPOINT job", "RELEASE job"]);
    }

    #[test]
    fn what_was_asked_ahead_is_answered_once_and_not_after_a_change() {
        let mut turn = TxState::default();
        let asked = |id: &'static [u8]| query(NAME).bind(id);
        turn.prefetched = vec![(asked(b"one").kept(), Vec::new()), (query(HEAD), Vec::new())];
        assert!(turn.all_prefetched(&[asked(b"two")]).is_none(), "about something else");
        assert!(
            turn.all_prefetched(&[asked(b"one"), asked(b"two")]).is_none(),
            "not all"
        );
        assert!(turn.all_prefetched(&[asked(b"one")]).is_some());
        assert!(turn.all_prefetched(&[asked(b"one")]).is_none(), "once");

        turn.prefetched.push((asked(b"one").kept(), Vec::new()));
        turn.wait_with([query("UPDATE keys SET name = 'x'")]);
        assert!(
            turn.all_prefetched(&[asked(b"one")]).is_none(),
            "it may be another one now"
        );
        assert!(
            turn.all_prefetched(&[query(HEAD)]).is_some(),
            "nobody else moves the head"
        );
    }
}
