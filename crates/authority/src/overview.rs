//! Queries of the dashboard: refused keys, addresses that keys are used from, recent events.

use crate::audit::AuditUseCases;
use crate::keys::KeyUseCases;
use crate::{Call, Failure};
use keyreeve_core::access::Permission;
use keyreeve_core::key::Presented;
use keyreeve_core::{KeyId, Timestamp};
use keyreeve_store::model::{AuditQuery, AuditRecord, KeyRecord, RefusalQuery, Trace, UsageCount};

/// Most refused keys that are returned.
const REFUSED_MAX: u32 = 20;

impl KeyUseCases<'_> {
    /// Returns the counts of keys that the caller has read.
    pub async fn usage_of(
        self,
        call: &Call,
        keys: &[KeyRecord],
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<UsageCount>, Failure> {
        call.require(Permission::KeysRead)?;
        let ids: Vec<KeyId> = keys.iter().map(|record| record.key.id).collect();
        Ok(self.0.store.usage_of(&ids, since, until).await?)
    }

    /// Returns the keys that were refused most since a time, and why. A member sees their own.
    pub async fn refused(self, call: &Call, since: Timestamp) -> Result<Vec<UsageCount>, Failure> {
        call.require(Permission::KeysRead)?;
        let wanted = RefusalQuery {
            tenant: call.tenant.clone(),
            subject: call.caller.own.clone(),
            since,
            limit: REFUSED_MAX,
        };
        Ok(self.0.store.refusals(wanted).await?)
    }

    /// Returns the addresses that verdicts on a key were requested for, newest first.
    pub async fn traces(self, call: &Call, id: KeyId) -> Result<Vec<Trace>, Failure> {
        let record = self.get(call, id).await?;
        self.0.flush_activity_of(&record.key).await;
        Ok(self.0.store.traces(id).await?)
    }

    /// Returns the key that a complete secret belongs to, if the caller may see it. For a person who found a secret.
    pub async fn find(self, call: &Call, secret: &str) -> Result<Option<KeyRecord>, Failure> {
        call.require(Permission::KeysRead)?;
        let Ok(presented) = Presented::parse(secret) else {
            return Ok(None);
        };
        let found = self.0.store.find_credential(&presented.digest()).await?.value;
        let Some(credential) = found.filter(|credential| credential.tenant == call.tenant) else {
            return Ok(None);
        };
        match self.get(call, credential.key_id).await {
            Ok(record) => Ok(Some(record)),
            Err(Failure::NotFound) => Ok(None),
            Err(other) => Err(other),
        }
    }
}

impl AuditUseCases<'_> {
    /// Returns the newest events: of the tenant for callers who may read the audit log, of their own keys for members.
    pub async fn recent(self, call: &Call, limit: u32) -> Result<Vec<AuditRecord>, Failure> {
        if call.caller.own.is_none() {
            call.require(Permission::AuditRead)?;
        }
        let query = AuditQuery {
            tenant: Some(call.tenant.clone()),
            subject: call.caller.own.as_ref().map(ToString::to_string),
            limit,
            ..AuditQuery::default()
        };
        Ok(self.0.store.audit(query).await?)
    }
}
