//! Statistics of the stored data, for the operator.

use crate::{Authority, Failure};
use keyreeve_core::Timestamp;
use keyreeve_core::access::{Permissions, Reach};
use keyreeve_store::Store;
use keyreeve_store::model::{Census, RootKey};

/// Most root keys that are read.
const ROOT_KEYS_MAX: u32 = 1_000;

/// Statistics of the stored data.
#[derive(Clone, Debug)]
pub struct Inventory {
    /// Counts of keys.
    pub census: Census,
    /// Instance root keys that work and have every permission: their names, and since when.
    pub mighty_root_keys: Vec<(String, Timestamp)>,
    /// The newest change.
    pub revision: u64,
}

/// Collects statistics of a store.
pub async fn collect_stats(store: &dyn Store, now: Timestamp) -> Result<Inventory, Failure> {
    let is_mighty = |key: &RootKey| {
        key.reach == Reach::Instance && key.revoked_at.is_none() && key.permissions.covers(Permissions::all())
    };
    let root_keys = store.root_keys(None, ROOT_KEYS_MAX).await?;
    let mighty = root_keys.iter().filter(|key| is_mighty(key));
    Ok(Inventory {
        census: store.census(now).await?,
        mighty_root_keys: mighty.map(|key| (key.id.to_string(), key.created_at)).collect(),
        revision: store.head().await?.revision,
    })
}

impl Authority {
    /// Collects statistics of this store.
    pub async fn inventory(&self) -> Result<Inventory, Failure> {
        collect_stats(self.store.as_ref(), self.now()).await
    }
}
