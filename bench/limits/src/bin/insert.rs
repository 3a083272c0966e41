//! The least that a durable creation costs: one row, one commit, WAL and `synchronous=FULL`.
//! usage: insert FILE SECONDS    prints rows per second

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use std::time::{Duration, Instant};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS keys (id INTEGER PRIMARY KEY, digest BLOB UNIQUE NOT NULL, \
     owner TEXT, name TEXT, expires INTEGER, revoked INTEGER)";
const INSERT: &str = "INSERT INTO keys (digest, owner, name, expires, revoked) VALUES (randomblob(32), ?1, ?2, ?3, 0)";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(file), Some(seconds)) = (arguments.next(), arguments.next()) else {
        panic!("usage: insert FILE SECONDS");
    };
    let mut connection = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .connect()
        .await
        .expect("a database");
    connection.execute(TABLE).await.expect("a table");
    let time = Duration::from_secs_f64(seconds.parse().expect("seconds"));
    let (began, mut rows) = (Instant::now(), 0_u32);
    while began.elapsed() < time {
        sqlx::query(INSERT)
            .bind("user_2f4KmXyZ")
            .bind("production")
            .bind(1_799_999_999_000_i64)
            .execute(&mut connection)
            .await
            .expect("a row");
        rows += 1;
    }
    println!("{}", f64::from(rows) / began.elapsed().as_secs_f64());
    connection.close().await.expect("closing");
}
