//! [`Store`] for every database: a change is an operation in a write transaction, a read goes to a reader.

use crate::error::{StoreError, WriteError};
use crate::model::{
    ActivityBatch, AuditQuery, AuditRecord, Bootstrap, Census, ChangeManyRequest, ChangeRequest, Changed,
    ChangedCheckPolicy, ChangedMany, ChangedUser, CheckPolicyChange, CheckPolicyRecord, Credential, Event, Head,
    IssueRequest, Issued, KeyPage, KeyQuery, KeyRecord, Login, RefusalQuery, RootKey, RootKeyRotation, RotatedRootKey,
    ShowRootKey, SliceRequest, Stamped, Tenant, TenantEdit, Trace, UsageCount, UserChange, WriteContext,
};
use crate::operations::{self, Written};
use crate::reads::Reads;
use crate::store::{Store, WriteHealth};
use crate::tx::Tx;
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use keyreeve_core::limits::{Counter, Slice};
use keyreeve_core::text::{LimitName, Slug, Subject};
use keyreeve_core::user::Email;
use keyreeve_core::{Digest, KeyId, RootKeyId, Timestamp, User, UserId};

/// A database.
pub(crate) trait Backend: Send + Sync + 'static {
    /// Reads from it.
    type Reader<'s>: Reads
    where
        Self: 's;

    fn reader(&self) -> Self::Reader<'_>;

    /// Runs an operation in a write transaction, also if the caller is dropped in the middle of it. Returns when the
    /// change is durable and the observer was notified.
    fn write<T, F>(&self, operation: F) -> impl Future<Output = Result<T, WriteError>> + Send
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut dyn Tx) -> BoxFuture<'t, Result<Written<T>, WriteError>> + Send + 'static;

    /// See [`Store::write_health`].
    fn write_health(&self) -> WriteHealth {
        WriteHealth::default()
    }

    /// See [`Store::halt`].
    fn halt(&self, _why: &str) {}

    /// See [`Store::obstacle`].
    fn obstacle(&self) -> Option<String> {
        None
    }

    /// See [`Store::close`].
    fn close(&self) -> impl Future<Output = ()> + Send;
}

#[async_trait]
impl<B: Backend> Store for B {
    async fn found(
        &self,
        context: WriteContext,
        tenant: Tenant,
        root_key: RootKey,
        show: ShowRootKey,
    ) -> Result<Bootstrap, WriteError> {
        self.write(move |tx| Box::pin(async move { operations::found(tx, &context, &tenant, &root_key, show).await }))
            .await
    }

    async fn create_tenant(&self, context: WriteContext, tenant: Tenant, root_key: RootKey) -> Result<u64, WriteError> {
        self.write(move |tx| Box::pin(async move { operations::create_tenant(tx, &context, &tenant, &root_key).await }))
            .await
    }

    async fn tenant(&self, slug: &Slug) -> Result<Option<Tenant>, StoreError> {
        self.reader().tenant(slug).await
    }

    async fn tenants(&self, after: Option<Slug>, limit: u32) -> Result<Vec<Tenant>, StoreError> {
        self.reader().tenants(after, limit).await
    }

    async fn change_tenant(
        &self,
        context: WriteContext,
        slug: Slug,
        edit: TenantEdit,
    ) -> Result<(Tenant, u64), WriteError> {
        self.write(move |tx| Box::pin(async move { operations::change_tenant(tx, &context, &slug, edit).await }))
            .await
    }

    async fn blocked_owners(&self, slug: &Slug) -> Result<Vec<Subject>, StoreError> {
        self.reader().blocked_owners(slug).await
    }

    async fn check_policies(&self, tenant: &Slug) -> Result<Stamped<Vec<CheckPolicyRecord>>, StoreError> {
        self.reader().check_policies(tenant).await
    }

    async fn change_check_policy(
        &self,
        context: WriteContext,
        tenant: Slug,
        change: CheckPolicyChange,
    ) -> Result<ChangedCheckPolicy, WriteError> {
        self.write(move |tx| {
            Box::pin(async move { operations::change_check_policy(tx, &context, &tenant, change).await })
        })
        .await
    }

    async fn create_user(&self, context: WriteContext, user: User) -> Result<u64, WriteError> {
        self.write(move |tx| Box::pin(async move { operations::create_user(tx, &context, &user).await }))
            .await
    }

    async fn change_user(&self, context: WriteContext, change: UserChange) -> Result<ChangedUser, WriteError> {
        self.write(move |tx| Box::pin(async move { operations::change_user(tx, &context, change).await }))
            .await
    }

    async fn user(&self, tenant: &Slug, id: UserId) -> Result<Option<User>, StoreError> {
        self.reader().user(tenant, id).await
    }

    async fn users(&self, tenant: &Slug, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError> {
        self.reader().users(tenant, after, limit).await
    }

    async fn create_root_key(&self, context: WriteContext, root_key: RootKey) -> Result<u64, WriteError> {
        self.write(move |tx| Box::pin(async move { operations::create_root_key(tx, &context, &root_key).await }))
            .await
    }

    async fn revoke_root_key(
        &self,
        context: WriteContext,
        tenant: Option<Slug>,
        id: RootKeyId,
    ) -> Result<(RootKey, u64), WriteError> {
        self.write(move |tx| {
            Box::pin(async move { operations::revoke_root_key(tx, &context, tenant.as_ref(), id).await })
        })
        .await
    }

    async fn rotate_root_key(
        &self,
        context: WriteContext,
        rotation: RootKeyRotation,
    ) -> Result<RotatedRootKey, WriteError> {
        self.write(move |tx| Box::pin(async move { operations::rotate_root_key(tx, &context, rotation).await }))
            .await
    }

    async fn finish_root_key_rotation(
        &self,
        context: WriteContext,
        tenant: Option<Slug>,
        id: RootKeyId,
    ) -> Result<(RootKey, u64), WriteError> {
        self.write(move |tx| {
            Box::pin(async move { operations::finish_root_key_rotation(tx, &context, tenant.as_ref(), id).await })
        })
        .await
    }

    async fn root_keys(&self, tenant: Option<Slug>, limit: u32) -> Result<Vec<RootKey>, StoreError> {
        self.reader().root_keys(tenant, limit).await
    }

    async fn find_root_key(&self, digest: &Digest) -> Result<Stamped<Option<RootKey>>, StoreError> {
        self.reader().find_root_key(digest).await
    }

    async fn issue(&self, context: WriteContext, request: IssueRequest) -> Result<Issued, WriteError> {
        self.write(move |tx| Box::pin(async move { operations::issue(tx, &context, request).await }))
            .await
    }

    async fn change(&self, context: WriteContext, request: ChangeRequest) -> Result<Changed, WriteError> {
        self.write(move |tx| Box::pin(async move { operations::change(tx, &context, request).await }))
            .await
    }

    async fn change_many(&self, context: WriteContext, request: ChangeManyRequest) -> Result<ChangedMany, WriteError> {
        self.write(move |tx| Box::pin(async move { operations::change_many(tx, &context, request).await }))
            .await
    }

    async fn key(&self, tenant: &Slug, id: KeyId, now: Timestamp) -> Result<Option<KeyRecord>, StoreError> {
        self.reader().key(tenant, id, now).await
    }

    async fn list(&self, query: KeyQuery) -> Result<KeyPage, StoreError> {
        self.reader().list(&query).await
    }

    async fn find_credential(&self, digest: &Digest) -> Result<Stamped<Option<Credential>>, StoreError> {
        self.reader().find_credential(digest).await
    }

    async fn lapsed(&self, now: Timestamp, limit: u32) -> Result<Vec<(Slug, KeyId)>, StoreError> {
        self.reader().lapsed(now, limit).await
    }

    async fn record_activity(&self, activity: ActivityBatch) -> Result<(), StoreError> {
        self.write(move |tx| Box::pin(async move { operations::record_activity(tx, &activity).await }))
            .await
            .map_err(operations::only_store_error)
    }

    async fn take_slices(&self, request: SliceRequest) -> Result<Vec<Slice>, StoreError> {
        self.write(move |tx| Box::pin(async move { operations::take_slices(tx, &request).await }))
            .await
            .map_err(operations::only_store_error)
    }

    async fn counters(&self, key: KeyId) -> Result<Vec<(LimitName, Counter)>, StoreError> {
        self.reader().counters(key).await
    }

    async fn usage(&self, key: KeyId, since: Timestamp, until: Timestamp) -> Result<Vec<UsageCount>, StoreError> {
        self.reader().usage(key, since, until).await
    }

    async fn usage_of(
        &self,
        keys: &[KeyId],
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<UsageCount>, StoreError> {
        self.reader().usage_of(keys, since, until).await
    }

    async fn refusals(&self, wanted: RefusalQuery) -> Result<Vec<UsageCount>, StoreError> {
        self.reader().refusals(&wanted).await
    }

    async fn census(&self, now: Timestamp) -> Result<Census, StoreError> {
        self.reader().census(now).await
    }

    async fn traces(&self, key: KeyId) -> Result<Vec<Trace>, StoreError> {
        self.reader().traces(key).await
    }

    async fn login(&self, digest: &Digest, now: Timestamp) -> Result<Option<Login>, StoreError> {
        self.reader().login(digest, now).await
    }

    async fn put_login(&self, login: Login, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |tx| Box::pin(async move { operations::put_login(tx, &login, now).await }))
            .await
            .map_err(operations::only_store_error)
    }

    async fn take_login(&self, digest: Digest, now: Timestamp) -> Result<Option<Login>, StoreError> {
        self.write(move |tx| Box::pin(async move { operations::take_login(tx, &digest, now).await }))
            .await
            .map_err(operations::only_store_error)
    }

    async fn end_logins(&self, user: UserId, except: Option<Digest>) -> Result<u64, StoreError> {
        self.write(move |tx| Box::pin(async move { operations::end_logins(tx, user, except.as_ref()).await }))
            .await
            .map_err(operations::only_store_error)
    }

    async fn people(&self, email: &Email, limit: u32) -> Result<Vec<User>, StoreError> {
        self.reader().people(email, limit).await
    }

    fn write_health(&self) -> WriteHealth {
        Backend::write_health(self)
    }

    async fn probe_write(&self) -> Result<(), StoreError> {
        self.write(|tx| Box::pin(async move { operations::probe_write(tx).await }))
            .await
            .map_err(operations::only_store_error)
    }

    async fn record_events(&self, context: WriteContext, events: Vec<Event>) -> Result<u64, WriteError> {
        self.write(move |tx| Box::pin(async move { operations::record_events(tx, &context, events).await }))
            .await
    }

    async fn head(&self) -> Result<Head, StoreError> {
        self.reader().head().await
    }

    async fn audit_after(&self, revision: u64, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        self.reader().audit_after(revision, limit).await
    }

    async fn instance_events(&self, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        self.reader().instance_events(limit).await
    }

    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditRecord>, StoreError> {
        self.reader().audit(&query).await
    }

    fn halt(&self, why: &str) {
        Backend::halt(self, why);
    }

    fn obstacle(&self) -> Option<String> {
        Backend::obstacle(self)
    }

    async fn close(&self) {
        Backend::close(self).await;
    }
}
