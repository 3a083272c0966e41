//! The minimum cost of a durable creation: one row, one commit, WAL and `synchronous=FULL`.
//! usage: insert FILE SECONDS    prints rows per second

use rusqlite::Connection;
use std::time::{Duration, Instant};

const SETTINGS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
     CREATE TABLE IF NOT EXISTS keys (id INTEGER PRIMARY KEY, digest BLOB UNIQUE NOT NULL, \
     owner TEXT, name TEXT, expires INTEGER, revoked INTEGER)";
const INSERT: &str = "INSERT INTO keys (digest, owner, name, expires, revoked) VALUES (randomblob(32), ?1, ?2, ?3, 0)";

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(file), Some(seconds)) = (arguments.next(), arguments.next()) else {
        panic!("usage: insert FILE SECONDS");
    };
    let connection = Connection::open(file).expect("a database");
    connection.execute_batch(SETTINGS).expect("a table");
    let mut insert = connection.prepare(INSERT).expect("a statement");
    let time = Duration::from_secs_f64(seconds.parse().expect("seconds"));
    let (began, mut rows) = (Instant::now(), 0_u32);
    while began.elapsed() < time {
        insert
            .execute(("user_2f4KmXyZ", "production", 1_799_999_999_000_i64))
            .expect("a row");
        rows += 1;
    }
    println!("{}", f64::from(rows) / began.elapsed().as_secs_f64());
}
