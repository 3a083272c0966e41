//! What a database reads for [`crate::Store`], outside write transactions.

use crate::model::{
    AuditQuery, AuditRecord, Census, CheckPolicyRecord, Credential, Head, KeyPage, KeyQuery, KeyRecord, Login,
    RefusalQuery, RootKey, Stamped, Tenant, Trace, UsageCount,
};
use crate::tx::Result;
use keyreeve_core::limits::Counter;
use keyreeve_core::text::{LimitName, Slug, Subject};
use keyreeve_core::user::Email;
use keyreeve_core::{Digest, KeyId, Timestamp, User, UserId};

/// The reads of [`crate::Store`], which documents them. Each sees one snapshot.
pub(crate) trait Reads: Send {
    fn tenant(&mut self, slug: &Slug) -> impl Future<Output = Result<Option<Tenant>>> + Send;
    fn tenants(&mut self, after: Option<Slug>, limit: u32) -> impl Future<Output = Result<Vec<Tenant>>> + Send;
    fn blocked_owners(&mut self, slug: &Slug) -> impl Future<Output = Result<Vec<Subject>>> + Send;
    fn check_policies(&mut self, tenant: &Slug)
    -> impl Future<Output = Result<Stamped<Vec<CheckPolicyRecord>>>> + Send;
    fn user(&mut self, tenant: &Slug, id: UserId) -> impl Future<Output = Result<Option<User>>> + Send;
    fn users(
        &mut self,
        tenant: &Slug,
        after: Option<UserId>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<User>>> + Send;
    fn people(&mut self, email: &Email, limit: u32) -> impl Future<Output = Result<Vec<User>>> + Send;
    fn root_keys(&mut self, tenant: Option<Slug>, limit: u32) -> impl Future<Output = Result<Vec<RootKey>>> + Send;
    fn find_root_key(&mut self, digest: &Digest) -> impl Future<Output = Result<Stamped<Option<RootKey>>>> + Send;
    fn key(
        &mut self,
        tenant: &Slug,
        id: KeyId,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<KeyRecord>>> + Send;
    fn list(&mut self, query: &KeyQuery) -> impl Future<Output = Result<KeyPage>> + Send;
    fn find_credential(&mut self, digest: &Digest) -> impl Future<Output = Result<Stamped<Option<Credential>>>> + Send;
    fn lapsed(&mut self, now: Timestamp, limit: u32) -> impl Future<Output = Result<Vec<(Slug, KeyId)>>> + Send;
    fn counters(&mut self, key: KeyId) -> impl Future<Output = Result<Vec<(LimitName, Counter)>>> + Send;
    fn usage(
        &mut self,
        key: KeyId,
        since: Timestamp,
        until: Timestamp,
    ) -> impl Future<Output = Result<Vec<UsageCount>>> + Send;
    fn usage_of(
        &mut self,
        keys: &[KeyId],
        since: Timestamp,
        until: Timestamp,
    ) -> impl Future<Output = Result<Vec<UsageCount>>> + Send;
    fn refusals(&mut self, wanted: &RefusalQuery) -> impl Future<Output = Result<Vec<UsageCount>>> + Send;
    fn census(&mut self, now: Timestamp) -> impl Future<Output = Result<Census>> + Send;
    fn traces(&mut self, key: KeyId) -> impl Future<Output = Result<Vec<Trace>>> + Send;
    fn login(&mut self, digest: &Digest, now: Timestamp) -> impl Future<Output = Result<Option<Login>>> + Send;
    fn head(&mut self) -> impl Future<Output = Result<Head>> + Send;
    fn audit_after(&mut self, revision: u64, limit: u32) -> impl Future<Output = Result<Vec<AuditRecord>>> + Send;
    fn instance_events(&mut self, limit: u32) -> impl Future<Output = Result<Vec<AuditRecord>>> + Send;
    fn audit(&mut self, query: &AuditQuery) -> impl Future<Output = Result<Vec<AuditRecord>>> + Send;
}
