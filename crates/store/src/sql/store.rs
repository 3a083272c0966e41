//! [`Store`] for every SQL database: reads go to a reader, changes through the writer.

use super::writer::{WriteEngine, Writer};
use super::{Engine, census, check_policies, limits, list, read, read_log};
use crate::error::{StoreError, WriteError};
use crate::model::{
    Activity, AuditQuery, AuditRecord, Bootstrap, Census, ChangeManyRequest, ChangeRequest, Changed,
    ChangedCheckPolicy, ChangedMany, ChangedUser, CheckPolicyChange, CheckPolicyRecord, Credential, Event, Head,
    IssueRequest, Issued, KeyPage, KeyQuery, KeyRecord, Login, Refusals, RootKey, ShowRootKey, SliceRequest, Stamped,
    Tenant, TenantEdit, Trace, UsageCount, UserChange, WriteContext,
};
use crate::operations;
use crate::store::{Store, WriteHealth};
use async_trait::async_trait;
use keyreeve_core::limits::{Counter, Slice};
use keyreeve_core::text::{LimitName, Slug, Subject};
use keyreeve_core::user::Email;
use keyreeve_core::{Digest, KeyId, RootKeyId, Timestamp, User, UserId};

/// A SQL database for which [`Store`] is implemented.
#[async_trait]
pub(crate) trait SqlStore: Send + Sync + 'static {
    /// The reader. Each statement sees one snapshot.
    type Reader<'s>: Engine
    where
        Self: 's;
    /// The writer's connection.
    type Connection: WriteEngine;

    fn reader(&self) -> Self::Reader<'_>;
    fn writer(&self) -> &Writer<Self::Connection>;
    async fn close_readers(&self);

    /// See [`Store::halt`].
    fn halt(&self, _why: &str) {}

    /// See [`Store::obstacle`].
    fn obstacle(&self) -> Option<String> {
        None
    }
}

#[async_trait]
impl<S: SqlStore> Store for S {
    async fn found(
        &self,
        context: WriteContext,
        tenant: Tenant,
        root_key: RootKey,
        show: ShowRootKey,
    ) -> Result<Bootstrap, WriteError> {
        self.writer()
            .write(move |tx| Box::pin(async move { operations::found(tx, &context, &tenant, &root_key, show).await }))
            .await
    }

    async fn create_tenant(&self, context: WriteContext, tenant: Tenant, root_key: RootKey) -> Result<u64, WriteError> {
        self.writer()
            .write(move |tx| Box::pin(async move { operations::create_tenant(tx, &context, &tenant, &root_key).await }))
            .await
    }

    async fn tenant(&self, slug: &Slug) -> Result<Option<Tenant>, StoreError> {
        read::tenant_of(&mut self.reader(), slug).await
    }

    async fn tenants(&self, after: Option<Slug>, limit: u32) -> Result<Vec<Tenant>, StoreError> {
        read::tenants(&mut self.reader(), after.as_ref(), limit).await
    }

    async fn change_tenant(
        &self,
        context: WriteContext,
        slug: Slug,
        edit: TenantEdit,
    ) -> Result<(Tenant, u64), WriteError> {
        self.writer()
            .write(move |tx| Box::pin(async move { operations::change_tenant(tx, &context, &slug, edit).await }))
            .await
    }

    async fn blocked_owners(&self, slug: &Slug) -> Result<Vec<Subject>, StoreError> {
        read_log::blocked_owners(&mut self.reader(), slug).await
    }

    async fn check_policies(&self, tenant: &Slug) -> Result<Stamped<Vec<CheckPolicyRecord>>, StoreError> {
        check_policies::of_tenant(&mut self.reader(), tenant).await
    }

    async fn change_check_policy(
        &self,
        context: WriteContext,
        tenant: Slug,
        change: CheckPolicyChange,
    ) -> Result<ChangedCheckPolicy, WriteError> {
        self.writer()
            .write(move |tx| {
                Box::pin(async move { operations::change_check_policy(tx, &context, &tenant, change).await })
            })
            .await
    }

    async fn create_user(&self, context: WriteContext, user: User) -> Result<u64, WriteError> {
        self.writer()
            .write(move |tx| Box::pin(async move { operations::create_user(tx, &context, &user).await }))
            .await
    }

    async fn change_user(&self, context: WriteContext, change: UserChange) -> Result<ChangedUser, WriteError> {
        self.writer()
            .write(move |tx| Box::pin(async move { operations::change_user(tx, &context, change).await }))
            .await
    }

    async fn user(&self, tenant: &Slug, id: UserId) -> Result<Option<User>, StoreError> {
        read_log::user_of(&mut self.reader(), tenant, id).await
    }

    async fn users(&self, tenant: &Slug, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError> {
        read_log::users(&mut self.reader(), tenant, after, limit).await
    }

    async fn create_root_key(&self, context: WriteContext, root_key: RootKey) -> Result<u64, WriteError> {
        self.writer()
            .write(move |tx| Box::pin(async move { operations::create_root_key(tx, &context, &root_key).await }))
            .await
    }

    async fn revoke_root_key(
        &self,
        context: WriteContext,
        tenant: Option<Slug>,
        id: RootKeyId,
    ) -> Result<(RootKey, u64), WriteError> {
        self.writer()
            .write(move |tx| {
                Box::pin(async move { operations::revoke_root_key(tx, &context, tenant.as_ref(), id).await })
            })
            .await
    }

    async fn root_keys(&self, tenant: Option<Slug>, limit: u32) -> Result<Vec<RootKey>, StoreError> {
        read::root_keys(&mut self.reader(), tenant.as_ref(), limit).await
    }

    async fn find_root_key(&self, digest: &Digest) -> Result<Stamped<Option<RootKey>>, StoreError> {
        read::find_root_key(&mut self.reader(), digest).await
    }

    async fn issue(&self, context: WriteContext, request: IssueRequest) -> Result<Issued, WriteError> {
        self.writer()
            .write(move |tx| Box::pin(async move { operations::issue(tx, &context, request).await }))
            .await
    }

    async fn change(&self, context: WriteContext, request: ChangeRequest) -> Result<Changed, WriteError> {
        self.writer()
            .write(move |tx| Box::pin(async move { operations::change(tx, &context, request).await }))
            .await
    }

    async fn change_many(&self, context: WriteContext, request: ChangeManyRequest) -> Result<ChangedMany, WriteError> {
        self.writer()
            .write(move |tx| Box::pin(async move { operations::change_many(tx, &context, request).await }))
            .await
    }

    async fn key(&self, tenant: &Slug, id: KeyId, now: Timestamp) -> Result<Option<KeyRecord>, StoreError> {
        read::key(&mut self.reader(), tenant, id, now).await
    }

    async fn list(&self, query: KeyQuery) -> Result<KeyPage, StoreError> {
        list::list(&mut self.reader(), &query).await
    }

    async fn find_credential(&self, digest: &Digest) -> Result<Stamped<Option<Credential>>, StoreError> {
        read::find_credential(&mut self.reader(), digest).await
    }

    async fn lapsed(&self, now: Timestamp, limit: u32) -> Result<Vec<(Slug, KeyId)>, StoreError> {
        read::lapsed(&mut self.reader(), now, limit).await
    }

    async fn record_activity(&self, activity: Activity) -> Result<(), StoreError> {
        let written = self
            .writer()
            .write(move |tx| Box::pin(async move { operations::record_activity(tx, &activity).await }))
            .await;
        written.map_err(operations::only_store_error)
    }

    async fn take_slices(&self, request: SliceRequest) -> Result<Vec<Slice>, StoreError> {
        let taken = self
            .writer()
            .write(move |tx| Box::pin(async move { operations::take_slices(tx, &request).await }))
            .await;
        taken.map_err(operations::only_store_error)
    }

    async fn counters(&self, key: KeyId) -> Result<Vec<(LimitName, Counter)>, StoreError> {
        limits::counters(&mut self.reader(), key).await
    }

    async fn usage(&self, key: KeyId, since: Timestamp, until: Timestamp) -> Result<Vec<UsageCount>, StoreError> {
        read_log::usage(&mut self.reader(), key, since, until).await
    }

    async fn usage_of(
        &self,
        keys: &[KeyId],
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<UsageCount>, StoreError> {
        read_log::usage_of(&mut self.reader(), keys, since, until).await
    }

    async fn refusals(&self, wanted: Refusals) -> Result<Vec<UsageCount>, StoreError> {
        read_log::refusals(&mut self.reader(), &wanted).await
    }

    async fn census(&self, now: Timestamp) -> Result<Census, StoreError> {
        census::census(&mut self.reader(), now).await
    }

    async fn traces(&self, key: KeyId) -> Result<Vec<Trace>, StoreError> {
        read_log::traces(&mut self.reader(), key).await
    }

    async fn login(&self, digest: &Digest, now: Timestamp) -> Result<Option<Login>, StoreError> {
        read_log::login_of(&mut self.reader(), digest, now).await
    }

    async fn put_login(&self, login: Login, now: Timestamp) -> Result<(), StoreError> {
        let written = self
            .writer()
            .write(move |tx| Box::pin(async move { operations::put_login(tx, &login, now).await }))
            .await;
        written.map_err(operations::only_store_error)
    }

    async fn take_login(&self, digest: Digest, now: Timestamp) -> Result<Option<Login>, StoreError> {
        let written = self
            .writer()
            .write(move |tx| Box::pin(async move { operations::take_login(tx, &digest, now).await }))
            .await;
        written.map_err(operations::only_store_error)
    }

    async fn end_logins(&self, user: UserId, except: Option<Digest>) -> Result<u64, StoreError> {
        let written = self
            .writer()
            .write(move |tx| Box::pin(async move { operations::end_logins(tx, user, except.as_ref()).await }))
            .await;
        written.map_err(operations::only_store_error)
    }

    async fn people(&self, email: &Email, limit: u32) -> Result<Vec<User>, StoreError> {
        read_log::people(&mut self.reader(), email, limit).await
    }

    fn write_health(&self) -> WriteHealth {
        self.writer().health()
    }

    async fn probe_write(&self) -> Result<(), StoreError> {
        let probed = self
            .writer()
            .write(|tx| Box::pin(async move { operations::probe_write(tx).await }))
            .await;
        probed.map_err(operations::only_store_error)
    }

    async fn record_events(&self, context: WriteContext, events: Vec<Event>) -> Result<u64, WriteError> {
        self.writer()
            .write(move |tx| Box::pin(async move { operations::record_events(tx, &context, events).await }))
            .await
    }

    async fn head(&self) -> Result<Head, StoreError> {
        read::head(&mut self.reader()).await
    }

    async fn audit_after(&self, revision: u64, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        read::audit_after(&mut self.reader(), revision, limit).await
    }

    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditRecord>, StoreError> {
        read_log::audit(&mut self.reader(), &query).await
    }

    fn halt(&self, why: &str) {
        SqlStore::halt(self, why);
    }

    fn obstacle(&self) -> Option<String> {
        SqlStore::obstacle(self)
    }

    async fn close(&self) {
        self.writer().close().await;
        self.close_readers().await;
    }
}
