//! The store of the tests: the memory store, which can be made unavailable.

use crate::world::Stage;
use async_trait::async_trait;
use keyreeve_core::limits::{Counter, Slice};
use keyreeve_core::text::{LimitName, Slug, Subject};
use keyreeve_core::user::Email;
use keyreeve_core::{Digest, KeyId, RootKeyId, Timestamp, User, UserId};
use keyreeve_store::model::{
    Activity, AuditQuery, AuditRecord, Bootstrap, Census, ChangeManyRequest, ChangeRequest, Changed,
    ChangedCheckPolicy, ChangedMany, ChangedUser, CheckPolicyChange, CheckPolicyRecord, Credential, Event, Head,
    IssueRequest, Issued, KeyPage, KeyQuery, KeyRecord, Login, Refusals, RootKey, ShowRootKey, SliceRequest, Stamped,
    Tenant, TenantEdit, Trace, UsageCount, UserChange, WriteContext,
};
use keyreeve_store::{Store, StoreError, WriteError};
use std::sync::atomic::Ordering;

#[async_trait]
impl Store for Stage {
    async fn found(
        &self,
        context: WriteContext,
        tenant: Tenant,
        root_key: RootKey,
        show: ShowRootKey,
    ) -> Result<Bootstrap, WriteError> {
        self.inner.found(context, tenant, root_key, show).await
    }

    async fn create_tenant(&self, context: WriteContext, tenant: Tenant, root_key: RootKey) -> Result<u64, WriteError> {
        self.there()?;
        self.inner.create_tenant(context, tenant, root_key).await
    }

    async fn tenant(&self, slug: &Slug) -> Result<Option<Tenant>, StoreError> {
        self.there()?;
        self.inner.tenant(slug).await
    }

    async fn tenants(&self, after: Option<Slug>, limit: u32) -> Result<Vec<Tenant>, StoreError> {
        self.there()?;
        self.inner.tenants(after, limit).await
    }

    async fn create_root_key(&self, context: WriteContext, root_key: RootKey) -> Result<u64, WriteError> {
        self.there()?;
        self.inner.create_root_key(context, root_key).await
    }

    async fn revoke_root_key(
        &self,
        context: WriteContext,
        tenant: Option<Slug>,
        id: RootKeyId,
    ) -> Result<(RootKey, u64), WriteError> {
        self.there()?;
        self.inner.revoke_root_key(context, tenant, id).await
    }

    async fn root_keys(&self, tenant: Option<Slug>, limit: u32) -> Result<Vec<RootKey>, StoreError> {
        self.there()?;
        self.inner.root_keys(tenant, limit).await
    }

    async fn find_root_key(&self, digest: &Digest) -> Result<Stamped<Option<RootKey>>, StoreError> {
        self.there()?;
        self.inner.find_root_key(digest).await
    }

    async fn issue(&self, context: WriteContext, request: IssueRequest) -> Result<Issued, WriteError> {
        self.there()?;
        self.inner.issue(context, request).await
    }

    async fn change(&self, context: WriteContext, request: ChangeRequest) -> Result<Changed, WriteError> {
        self.there()?;
        self.inner.change(context, request).await
    }

    async fn change_many(&self, context: WriteContext, request: ChangeManyRequest) -> Result<ChangedMany, WriteError> {
        self.there()?;
        self.inner.change_many(context, request).await
    }

    async fn key(&self, tenant: &Slug, id: KeyId, now: Timestamp) -> Result<Option<KeyRecord>, StoreError> {
        self.there()?;
        self.inner.key(tenant, id, now).await
    }

    async fn list(&self, query: KeyQuery) -> Result<KeyPage, StoreError> {
        self.there()?;
        self.inner.list(query).await
    }

    async fn find_credential(&self, digest: &Digest) -> Result<Stamped<Option<Credential>>, StoreError> {
        self.there()?;
        self.look_ups.fetch_add(1, Ordering::Relaxed);
        let read = self.inner.find_credential(digest).await;
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile().await;
        }
        read
    }

    async fn change_tenant(
        &self,
        context: WriteContext,
        slug: Slug,
        edit: TenantEdit,
    ) -> Result<(Tenant, u64), WriteError> {
        self.there()?;
        self.inner.change_tenant(context, slug, edit).await
    }

    async fn blocked_owners(&self, slug: &Slug) -> Result<Vec<Subject>, StoreError> {
        self.there()?;
        let read = self.inner.blocked_owners(slug).await;
        let meanwhile = self.meanwhile_owners.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile().await;
        }
        read
    }

    async fn check_policies(&self, tenant: &Slug) -> Result<Stamped<Vec<CheckPolicyRecord>>, StoreError> {
        self.there()?;
        self.look_ups.fetch_add(1, Ordering::Relaxed);
        let read = self.inner.check_policies(tenant).await;
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile().await;
        }
        read
    }

    async fn change_check_policy(
        &self,
        context: WriteContext,
        tenant: Slug,
        change: CheckPolicyChange,
    ) -> Result<ChangedCheckPolicy, WriteError> {
        self.there()?;
        self.inner.change_check_policy(context, tenant, change).await
    }

    async fn create_user(&self, context: WriteContext, user: User) -> Result<u64, WriteError> {
        self.there()?;
        self.inner.create_user(context, user).await
    }

    async fn change_user(&self, context: WriteContext, change: UserChange) -> Result<ChangedUser, WriteError> {
        self.there()?;
        self.inner.change_user(context, change).await
    }

    async fn user(&self, tenant: &Slug, id: UserId) -> Result<Option<User>, StoreError> {
        self.there()?;
        self.inner.user(tenant, id).await
    }

    async fn users(&self, tenant: &Slug, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError> {
        self.there()?;
        self.inner.users(tenant, after, limit).await
    }

    async fn lapsed(&self, now: Timestamp, limit: u32) -> Result<Vec<(Slug, KeyId)>, StoreError> {
        self.there()?;
        self.inner.lapsed(now, limit).await
    }

    async fn record_activity(&self, activity: Activity) -> Result<(), StoreError> {
        // Other tasks run before it is written.
        tokio::task::yield_now().await;
        self.there()?;
        self.inner.record_activity(activity).await
    }

    async fn take_slices(&self, request: SliceRequest) -> Result<Vec<Slice>, StoreError> {
        self.there()?;
        self.inner.take_slices(request).await
    }

    async fn counters(&self, key: KeyId) -> Result<Vec<(LimitName, Counter)>, StoreError> {
        self.there()?;
        self.inner.counters(key).await
    }

    async fn usage(&self, key: KeyId, since: Timestamp, until: Timestamp) -> Result<Vec<UsageCount>, StoreError> {
        self.there()?;
        self.inner.usage(key, since, until).await
    }

    async fn usage_of(
        &self,
        keys: &[KeyId],
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<UsageCount>, StoreError> {
        self.there()?;
        self.inner.usage_of(keys, since, until).await
    }

    async fn refusals(&self, wanted: Refusals) -> Result<Vec<UsageCount>, StoreError> {
        self.there()?;
        self.inner.refusals(wanted).await
    }

    async fn census(&self, now: Timestamp) -> Result<Census, StoreError> {
        self.there()?;
        self.inner.census(now).await
    }

    async fn traces(&self, key: KeyId) -> Result<Vec<Trace>, StoreError> {
        self.there()?;
        self.inner.traces(key).await
    }

    async fn login(&self, digest: &Digest, now: Timestamp) -> Result<Option<Login>, StoreError> {
        self.there()?;
        self.inner.login(digest, now).await
    }

    async fn put_login(&self, login: Login, now: Timestamp) -> Result<(), StoreError> {
        self.there()?;
        self.inner.put_login(login, now).await
    }

    async fn take_login(&self, digest: Digest, now: Timestamp) -> Result<Option<Login>, StoreError> {
        self.there()?;
        self.inner.take_login(digest, now).await
    }

    async fn end_logins(&self, user: UserId, except: Option<Digest>) -> Result<u64, StoreError> {
        self.there()?;
        self.inner.end_logins(user, except).await
    }

    async fn people(&self, email: &Email, limit: u32) -> Result<Vec<User>, StoreError> {
        self.there()?;
        self.inner.people(email, limit).await
    }

    async fn record_events(&self, context: WriteContext, events: Vec<Event>) -> Result<u64, WriteError> {
        self.there()?;
        self.inner.record_events(context, events).await
    }

    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditRecord>, StoreError> {
        self.there()?;
        self.inner.audit(query).await
    }

    async fn head(&self) -> Result<Head, StoreError> {
        self.there()?;
        let head = self.inner.head().await;
        let meanwhile = self.meanwhile_head.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile().await;
        }
        head
    }

    async fn audit_after(&self, revision: u64, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        self.there()?;
        self.inner.audit_after(revision, limit).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
