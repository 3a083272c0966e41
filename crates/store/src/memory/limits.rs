//! Counters of hard limits.

use super::tx::MemoryTx;
use crate::tx::{LimitTx, Result};
use async_trait::async_trait;
use keyreeve_core::KeyId;
use keyreeve_core::limits::Counter;
use keyreeve_core::text::LimitName;

#[async_trait]
impl LimitTx for MemoryTx<'_> {
    async fn counters(&mut self, key: KeyId) -> Result<Vec<(LimitName, Counter)>> {
        Ok(self.tables.counters_of(key))
    }

    async fn put_counters(&mut self, key: KeyId, counters: &[(LimitName, Counter)]) -> Result<()> {
        for (name, counter) in counters {
            self.tables.counters.put((key, name.clone()), *counter);
        }
        Ok(())
    }

    async fn drop_counters(&mut self, key: KeyId, names: &[LimitName]) -> Result<()> {
        for name in names {
            self.tables.counters.remove(&(key, name.clone()));
        }
        Ok(())
    }
}
