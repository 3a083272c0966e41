//! Prepared statements, on connections that certainly lead to one session of the server.
//!
//! Parsing and planning a statement costs the server more than most rows. But a pooler that uses another session for
//! every transaction (PgBouncer) may run one client's statement for another's of the same name. So a connection
//! prepares nothing unless it finds its own process at the other end: a server announces the process that serves the
//! connection when the connection starts, and a pooler, which has no such process, makes up a number.

use super::batch::{messages, text_of};
use super::engine::Driver;
use crate::sql::Statement;
use futures_util::future::{try_join_all, try_join3};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio::io::AsyncReadExt as _;
use tokio_postgres::{Client, NoTls, Row};

/// Bytes of a cancel request: length, code, process, secret, four bytes each (PostgreSQL documentation, Message
/// Formats, `CancelRequest`).
const CANCEL_REQUEST: usize = 16;
/// One plan for all parameters, because planning is what costs: writes and polls find rows by key, whatever its value.
/// The plan outlives the table sizes that it was made for, so it must not scan a table.
const PLANS: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off";
/// When the server gives up a client that it cannot reach: after six seconds of silence, or five in which sent data was
/// not acknowledged. These have no effect on a Unix socket.
const REACH: &str = "SET tcp_keepalives_idle = 3; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 3; \
     SET tcp_user_timeout = 5000";

/// The purpose of a connection, and so how long the server may work after the client has given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Use {
    /// Reads, each on its own: as long as a caller waits.
    Reads,
    /// Writes in transactions, each of which has timeouts of its own.
    Writes,
    /// Polls: as long as a poll may take.
    Polls,
    /// Migrations and copies, which may take long.
    Long,
}

impl Use {
    /// Timeouts of the session, if this connection is its only user.
    const fn of_session(self) -> Option<&'static str> {
        match self {
            Self::Reads => Some("SET statement_timeout = 1500; SET lock_timeout = 1500"),
            Self::Polls => Some("SET statement_timeout = 2000; SET lock_timeout = 2000"),
            Self::Writes => Some("SET statement_timeout = 4000; SET lock_timeout = 1500"),
            Self::Long => None,
        }
    }

    /// The same for one transaction, if a pooler shares the session with other clients.
    const fn of_transaction(self) -> &'static str {
        match self {
            Self::Reads | Self::Writes => {
                "BEGIN; SET LOCAL statement_timeout = 1500; SET LOCAL idle_in_transaction_session_timeout = 1000"
            }
            Self::Polls => {
                "BEGIN; SET LOCAL statement_timeout = 2000; SET LOCAL idle_in_transaction_session_timeout = 1000"
            }
            Self::Long => "BEGIN",
        }
    }

    /// Whether its statements recur, so that it is worthwhile to prepare them.
    const fn repeats(self) -> bool {
        matches!(self, Self::Writes | Self::Polls)
    }
}

/// A connection and its prepared statements.
pub(super) struct PreparedSession {
    client: Client,
    /// Whether this connection alone uses the server's session.
    is_own: bool,
    purpose: Use,
    /// By the text as it is written in the source.
    prepared: Mutex<HashMap<&'static str, tokio_postgres::Statement>>,
}

impl PreparedSession {
    /// A session that prepares nothing and that a pooler may share with other clients.
    #[cfg(test)]
    fn of(client: Client) -> Self {
        Self::new(client, false, Use::Reads)
    }

    fn new(client: Client, is_own: bool, purpose: Use) -> Self {
        Self {
            client,
            is_own,
            purpose,
            prepared: Mutex::default(),
        }
    }

    /// Finds out whether the server's session is this connection's alone. If so, sets its timeouts and plan settings.
    pub(super) async fn open(client: Client, purpose: Use) -> Driver<Self> {
        let serving = client.query_typed_one("SELECT pg_backend_pid()", &[]).await?;
        let is_own = announced(&client).await == Some(serving.try_get(0)?);
        if is_own {
            if let Some(timeouts) = purpose.of_session() {
                client.batch_execute(timeouts).await?;
            }
            if purpose.repeats() {
                client.batch_execute(PLANS).await?;
            }
            // A server without these settings has to notice a lost client in another way.
            drop(client.batch_execute(REACH).await);
        }
        Ok(Self::new(client, is_own, purpose))
    }

    /// Runs statements of the same text in a transaction of their own, which the server ends in time even if the client
    /// has given up. Returns how many rows they touched.
    pub(super) async fn run_alone(&self, run: &[Statement<'_>]) -> Driver<u64> {
        self.alone(self.run(run)).await
    }

    /// The same for statements that return rows.
    pub(super) async fn rows_alone(&self, run: &[Statement<'_>]) -> Driver<Vec<Row>> {
        self.alone(self.rows(run)).await
    }

    async fn alone<T>(&self, asked: impl Future<Output = Driver<T>>) -> Driver<T> {
        if self.is_own {
            // Each statement is a transaction, and the session has the timeouts.
            return asked.await;
        }
        // They are sent in this order.
        let begun = self.client.batch_execute(self.purpose.of_transaction());
        let ended = self.client.batch_execute("COMMIT");
        Ok(try_join3(begun, asked, ended).await?.1)
    }

    /// Whether the connection leads to the server without a pooler.
    pub(super) const fn is_own(&self) -> bool {
        self.is_own
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// Prepares what is not prepared yet. Call it before messages whose order matters: each preparation is a round trip
    /// of its own.
    pub(super) async fn prepare<'r>(&self, runs: impl IntoIterator<Item = &'r [Statement<'r>]>) -> Driver<()> {
        if !(self.is_own && self.purpose.repeats()) {
            return Ok(());
        }
        let unknown = runs
            .into_iter()
            .filter(|run| text_of(run).is_some_and(|text| self.prepared(text).is_none()));
        let missing = unknown.flat_map(messages).map(|message| (message.text, message));
        let missing: HashMap<_, _> = missing.collect();
        if missing.is_empty() {
            return Ok(());
        }
        let made = missing.into_iter().map(async |(text, message)| {
            Ok((text, self.client.prepare_typed(&message.sql(), &message.types()).await?))
        });
        let made = try_join_all(made).await?;
        let mut known = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(made);
        Ok(())
    }

    fn prepared(&self, text: &str) -> Option<tokio_postgres::Statement> {
        let known = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(text).cloned()
    }

    /// Runs statements of the same text. Returns how many rows they touched.
    pub(super) async fn run(&self, run: &[Statement<'_>]) -> Driver<u64> {
        let all = messages(run)
            .into_iter()
            .map(async |message| match self.prepared(message.text) {
                Some(prepared) => self.client.execute(&prepared, &message.values()).await,
                None => self.client.execute_typed(&message.sql(), &message.typed_values()).await,
            });
        Ok(try_join_all(all).await?.iter().sum())
    }

    /// The same for statements that return rows.
    pub(super) async fn rows(&self, run: &[Statement<'_>]) -> Driver<Vec<Row>> {
        let all = messages(run)
            .into_iter()
            .map(async |message| match self.prepared(message.text) {
                Some(prepared) => self.client.query(&prepared, &message.values()).await,
                None => self.client.query_typed(&message.sql(), &message.typed_values()).await,
            });
        Ok(try_join_all(all).await?.into_iter().flatten().collect())
    }
}

/// Returns the process that the other end announced for this connection. The driver does not expose the number, but
/// writes it into a cancel request, which is read here and not sent.
async fn announced(client: &Client) -> Option<i32> {
    let (own, mut other) = tokio::io::duplex(CANCEL_REQUEST);
    client.cancel_token().cancel_query_raw(own, NoTls).await.ok()?;
    let mut request = [0; CANCEL_REQUEST];
    other.read_exact(&mut request).await.ok()?;
    let (_, rest) = request.split_first_chunk::<8>()?;
    let (process, _) = rest.split_first_chunk::<4>()?;
    Some(i32::from_be_bytes(*process))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Batched, query};

    /// A connection to the tests' server, whose URL is in `KEYREEVE_TEST_POSTGRES`.
    #[expect(clippy::disallowed_methods, reason = "the test's own setting")]
    async fn connection() -> Option<Client> {
        let url = std::env::var("KEYREEVE_TEST_POSTGRES").ok()?;
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.expect("a server");
        tokio::spawn(connection);
        Some(client)
    }

    async fn prepared_there(session: &PreparedSession) -> i64 {
        let row = session
            .client()
            .query_typed_one("SELECT count(*) FROM pg_prepared_statements", &[])
            .await;
        row.expect("an answer").get(0)
    }

    #[tokio::test]
    async fn a_statement_is_prepared_once_on_a_connection_of_our_own() {
        let Some(client) = connection().await else { return };
        let session = PreparedSession::open(client, Use::Writes).await.expect("a session");
        assert!(session.is_own, "nothing is between here and the server");
        let next = Batched {
            one: "SELECT ?1 + 1",
            many: "SELECT given.number + 1 FROM unnest($1) AS given(number)",
        };
        let asked = [next.query(1).bind(1_i64)];
        let many = [next.query(1).bind(1_i64), next.query(1).bind(2_i64)];
        for _ in 0..2 {
            session.prepare([&asked[..], &many[..]]).await.expect("prepared");
            let sum = session.rows(&asked).await.expect("an answer");
            assert_eq!(sum[0].get::<_, i64>(0), 2);
            let sums = session.rows(&many).await.expect("an answer");
            assert_eq!(sums.iter().map(|row| row.get::<_, i64>(0)).collect::<Vec<_>>(), [2, 3]);
            assert_eq!(prepared_there(&session).await, 2, "one, and many at once");
        }
    }

    #[tokio::test]
    async fn nothing_is_prepared_where_somebody_else_may_be_served() {
        let Some(client) = connection().await else { return };
        let session = PreparedSession::of(client);
        let asked = [query("SELECT ?1 + 1").bind(1_i64)];
        session.prepare([&asked[..]]).await.expect("nothing to do");
        assert_eq!(session.rows(&asked).await.expect("an answer")[0].get::<_, i64>(0), 2);
        assert_eq!(prepared_there(&session).await, 0);
    }
}
