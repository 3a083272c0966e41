//! What is counted of hard limits: the rows.

use super::rows::{int, parsed};
use super::tx::SqlTx;
use super::writer::WriteEngine;
use super::{Columns, query};
use crate::tx::{LimitTx, Result};
use async_trait::async_trait;
use keyreeve_core::KeyId;
use keyreeve_core::limits::Counter;
use keyreeve_core::text::LimitName;

/// Whoever writes holds the head of the log, so that nobody else counts meanwhile.
const OF_KEY: &str = "SELECT name, since, value FROM limit_counters WHERE key_id = ?1";
const PUT: &str = "INSERT INTO limit_counters (key_id, name, since, value) VALUES (?1, ?2, ?3, ?4) \
     ON CONFLICT (key_id, name) DO UPDATE SET since = excluded.since, value = excluded.value";

fn counter(row: &impl Columns) -> Result<(LimitName, Counter)> {
    let name = parsed(row, "name", |text| LimitName::parse(text).ok())?;
    let counter = Counter {
        since: int(row, "since")?,
        value: int(row, "value")?,
    };
    Ok((name, counter))
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
            statement.bind(counter.since).bind(counter.value)
        });
        self.engine.change(statements.collect()).await
    }
}
