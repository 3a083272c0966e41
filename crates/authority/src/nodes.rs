//! What callers may know about nodes, and about changes in progress.

use crate::caller::ActingRootKey;
use crate::keys::KeyUseCases;
use crate::{Authority, Call, Failure};
use keyreeve_core::access::{Actor, Permission, Reach};
use keyreeve_core::coherence::holding::Awaited;
use keyreeve_core::coherence::wait_ms;
use keyreeve_core::lifecycle::State;
use keyreeve_core::text::Slug;
use keyreeve_store::cluster::NodeSession;
use keyreeve_store::model::{AuditQuery, KeyRecord};

/// All nodes at one time.
#[derive(Clone, Debug)]
pub struct NodesSeen {
    /// The newest change.
    pub revision: u64,
    /// Every living session; none in a single process.
    pub sessions: Vec<NodeSession>,
}

impl Authority {
    /// Returns every node.
    pub async fn nodes(&self, call: &Call) -> Result<NodesSeen, Failure> {
        // A user belongs to a tenant, and may see how far its changes have got. A root key sees no more as a user than
        // as itself.
        let is_of_a_tenant = |root_key: &ActingRootKey| matches!(root_key.reach, Reach::Tenant(_));
        match (&call.caller.actor, &call.caller.acting) {
            (Actor::User(..), acting) if !acting.as_ref().is_some_and(is_of_a_tenant) => {
                call.require(Permission::AuditRead)?;
            }
            _ => call.require_instance(Permission::AuditRead)?,
        }
        let sessions = match self.node() {
            None => Vec::new(),
            Some(node) => node.sessions().await?,
        };
        let revision = self.store.head().await?.revision;
        Ok(NodesSeen { revision, sessions })
    }

    /// Returns how many verifiers have acknowledged a change of the caller's tenant, or `None` if it is not effective
    /// everywhere. A change of another tenant is not found.
    pub async fn operation(&self, call: &Call, named: Option<&Slug>, revision: u64) -> Result<Option<u32>, Failure> {
        call.require(Permission::KeysRead)?;
        let change = self.change_of(call, named, revision).await?;
        let Some(node) = self.node() else {
            return Ok(self.children_have(&change).then_some(1));
        };
        let pending = node.asked(change);
        Ok(node.look(&pending).await.map(|reached| reached.verifiers()))
    }

    /// Returns how long a change waits at most, in milliseconds.
    fn wait_ms(&self) -> u64 {
        self.node()
            .map_or_else(|| wait_ms(self.children().lease_ms()), |node| node.wait_ms())
    }

    /// Changes older than this, in milliseconds, are effective. The margin is wide because the clocks of several
    /// machines have written the times.
    pub(crate) fn longest_wait_ms(&self) -> i64 {
        i64::try_from(self.wait_ms()).map_or(i64::MAX, |wait| wait.saturating_mul(2).saturating_add(60_000))
    }
}

impl KeyUseCases<'_> {
    /// Whether a key is disabled or revoked and some verifier may not know it yet.
    pub async fn is_ending(self, call: &Call, record: &KeyRecord) -> Result<bool, Failure> {
        if self.0.node().is_none() && self.0.children().is_empty() {
            return Ok(false);
        }
        if record.key.state == State::Active {
            return Ok(false);
        }
        // The time of its end is no evidence: the wall clock may have been set since. Its revision is.
        let newest = AuditQuery {
            tenant: Some(call.tenant.clone()),
            target_id: Some(record.key.id.to_string()),
            // A refused attempt is logged about the key too, but ends nothing.
            action: Some("key.".to_owned()),
            limit: 1,
            ..AuditQuery::default()
        };
        let entries = self.0.store.audit(newest).await?;
        let Some(entry) = entries.first() else {
            return Ok(false);
        };
        let change = Awaited::one(&call.tenant, entry.revision);
        let Some(node) = self.0.node() else {
            return Ok(!self.0.children_have(&change));
        };
        let pending = node.asked(change);
        Ok(node.look(&pending).await.is_none())
    }
}
