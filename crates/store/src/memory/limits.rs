//! What is counted of hard limits.

use super::tx::MemoryTx;
use crate::tx::{LimitTx, Result};
use async_trait::async_trait;
use keyreeve_core::KeyId;
use keyreeve_core::limits::Counter;
use keyreeve_core::text::LimitName;

#[async_trait]
impl LimitTx for MemoryTx<'_> {
    async fn counters(&mut self, key: KeyId) -> Result<Vec<(LimitName, Counter)>> {
        let rows = self.tables.counters.rows().iter().filter(|((of, _), _)| *of == key);
        Ok(rows.map(|((_, name), counter)| (name.clone(), *counter)).collect())
    }

    async fn put_counters(&mut self, key: KeyId, counters: &[(LimitName, Counter)]) -> Result<()> {
        for (name, counter) in counters {
            self.tables.counters.put((key, name.clone()), *counter);
        }
        Ok(())
    }
}
