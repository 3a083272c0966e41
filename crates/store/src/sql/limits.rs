//! Counters of hard limits: the rows.

use super::rows::{int, parsed};
use super::tx::SqlTx;
use super::writer::WriteEngine;
use super::{Columns, Engine, query};
use crate::tx::{LimitTx, Result};
use async_trait::async_trait;
use keyreeve_core::KeyId;
use keyreeve_core::limits::Counter;
use keyreeve_core::text::LimitName;

/// The transaction holds the head, so no other writer changes counters at the same time.
const OF_KEY: &str = "SELECT name, since, value, other_since, other_value FROM limit_counters WHERE key_id = ?1";
const DROP: &str = "DELETE FROM limit_counters WHERE key_id = ?1 AND name = ?2";
const PUT: &str = "INSERT INTO limit_counters (key_id, name, since, value, other_since, other_value) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (key_id, name) DO UPDATE SET since = excluded.since, \
     value = excluded.value, other_since = excluded.other_since, other_value = excluded.other_value";

fn counter(row: &impl Columns) -> Result<(LimitName, Counter)> {
    let name = parsed(row, "name", |text| LimitName::parse(text).ok())?;
    let counter = Counter {
        since: int(row, "since")?,
        value: int(row, "value")?,
        other: row.int("other_since")?.zip(row.int("other_value")?),
    };
    Ok((name, counter))
}

pub(crate) async fn counters(engine: &mut impl Engine, key: KeyId) -> Result<Vec<(LimitName, Counter)>> {
    let rows = engine.rows(query(OF_KEY).bind(key.bytes())).await?;
    rows.iter().map(counter).collect()
}

#[async_trait]
impl<E: WriteEngine> LimitTx for SqlTx<'_, E> {
    async fn counters(&mut self, key: KeyId) -> Result<Vec<(LimitName, Counter)>> {
        let rows = self.engine.rows(query(OF_KEY).bind(key.bytes())).await?;
        rows.iter().map(counter).collect()
    }

    async fn put_counters(&mut self, key: KeyId, counters: &[(LimitName, Counter)]) -> Result<()> {
        let statements = counters.iter().map(|(name, counter)| {
            let statement = query(PUT).bind(key.bytes()).bind(name.as_str());
            let other = |part: fn((i64, i64)) -> i64| counter.other.map(part);
            let statement = statement.bind(counter.since).bind(counter.value);
            statement.bind(other(|other| other.0)).bind(other(|other| other.1))
        });
        self.engine.change(statements.collect()).await
    }

    async fn drop_counters(&mut self, key: KeyId, names: &[LimitName]) -> Result<()> {
        let statements = names
            .iter()
            .map(|name| query(DROP).bind(key.bytes()).bind(name.as_str()));
        self.engine.change(statements.collect()).await
    }
}
