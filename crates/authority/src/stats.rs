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
    /// Instance root keys that work and have every permission: their ids, and since when they have their secret.
    pub mighty_root_keys: Vec<(String, Timestamp)>,
    /// Root keys that work and expire: their ids, and when.
    pub expiring_root_keys: Vec<(String, Timestamp)>,
    /// Root keys that work: their ids, and when they were last used, or else created or rotated.
    pub idle_root_keys: Vec<(String, Timestamp)>,
    /// The newest change.
    pub revision: u64,
}

/// Collects statistics of a store.
pub async fn collect_stats(store: &dyn Store, now: Timestamp) -> Result<Inventory, Failure> {
    let is_mighty = |key: &&RootKey| key.reach == Reach::Instance && key.permissions.covers(Permissions::all());
    let mut root_keys = store.root_keys(None, ROOT_KEYS_MAX).await?;
    root_keys.retain(|key| key.revoked_at.is_none() && !key.is_expired(now));
    let since = |key: &RootKey| key.rotated_at.unwrap_or(key.created_at);
    let mighty = root_keys.iter().filter(is_mighty);
    let expiring = root_keys
        .iter()
        .filter_map(|key| Some((key.id.to_string(), key.expires_at?)));
    let idle = root_keys.iter().map(|key| {
        let newest = key.last_used_at.max(Some(since(key)));
        (key.id.to_string(), newest.unwrap_or(key.created_at))
    });
    Ok(Inventory {
        census: store.census(now).await?,
        mighty_root_keys: mighty.map(|key| (key.id.to_string(), since(key))).collect(),
        expiring_root_keys: expiring.collect(),
        idle_root_keys: idle.collect(),
        revision: store.head().await?.revision,
    })
}

impl Authority {
    /// Collects statistics of this store.
    pub async fn inventory(&self) -> Result<Inventory, Failure> {
        collect_stats(self.store.as_ref(), self.now()).await
    }
}
