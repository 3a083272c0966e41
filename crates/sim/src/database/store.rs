//! Every operation of the store, over the wire.

use super::wire::{Wire, ask, order};
use async_trait::async_trait;
use keyreeve_core::Timestamp;
use keyreeve_core::limits::{Counter, Slice};
use keyreeve_core::text::{LimitName, Slug, Subject};
use keyreeve_core::user::Email;
use keyreeve_core::{Digest, KeyId, RootKeyId, User, UserId};
use keyreeve_store::model::{
    Activity, AuditQuery, AuditRecord, Bootstrap, Census, ChangeManyRequest, ChangeRequest, Changed,
    ChangedCheckPolicy, ChangedMany, ChangedUser, CheckPolicyChange, CheckPolicyRecord, Credential, Event, Head,
    IssueRequest, Issued, KeyPage, KeyQuery, KeyRecord, Login, Refusals, RootKey, ShowRootKey, SliceRequest, Stamped,
    Tenant, TenantEdit, Trace, UsageCount, UserChange, WriteContext,
};
use keyreeve_store::{Store, StoreError, WriteError};

#[async_trait]
impl Store for Wire {
    async fn found(
        &self,
        context: WriteContext,
        tenant: Tenant,
        root_key: RootKey,
        show: ShowRootKey,
    ) -> Result<Bootstrap, WriteError> {
        order!(self, found(context, tenant, root_key, show))
    }

    async fn create_tenant(&self, context: WriteContext, tenant: Tenant, root_key: RootKey) -> Result<u64, WriteError> {
        order!(self, create_tenant(context, tenant, root_key))
    }

    async fn tenant(&self, slug: &Slug) -> Result<Option<Tenant>, StoreError> {
        ask!(self, tenant(slug))
    }

    async fn tenants(&self, after: Option<Slug>, limit: u32) -> Result<Vec<Tenant>, StoreError> {
        ask!(self, tenants(after, limit))
    }

    async fn change_tenant(
        &self,
        context: WriteContext,
        slug: Slug,
        edit: TenantEdit,
    ) -> Result<(Tenant, u64), WriteError> {
        order!(self, change_tenant(context, slug, edit))
    }

    async fn blocked_owners(&self, slug: &Slug) -> Result<Vec<Subject>, StoreError> {
        ask!(self, blocked_owners(slug))
    }

    async fn check_policies(&self, tenant: &Slug) -> Result<Stamped<Vec<CheckPolicyRecord>>, StoreError> {
        ask!(self, check_policies(tenant))
    }

    async fn change_check_policy(
        &self,
        context: WriteContext,
        tenant: Slug,
        change: CheckPolicyChange,
    ) -> Result<ChangedCheckPolicy, WriteError> {
        order!(self, change_check_policy(context, tenant, change))
    }

    async fn create_user(&self, context: WriteContext, user: User) -> Result<u64, WriteError> {
        order!(self, create_user(context, user))
    }

    async fn change_user(&self, context: WriteContext, change: UserChange) -> Result<ChangedUser, WriteError> {
        order!(self, change_user(context, change))
    }

    async fn user(&self, tenant: &Slug, id: UserId) -> Result<Option<User>, StoreError> {
        ask!(self, user(tenant, id))
    }

    async fn users(&self, tenant: &Slug, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError> {
        ask!(self, users(tenant, after, limit))
    }

    async fn create_root_key(&self, context: WriteContext, root_key: RootKey) -> Result<u64, WriteError> {
        order!(self, create_root_key(context, root_key))
    }

    async fn revoke_root_key(
        &self,
        context: WriteContext,
        tenant: Option<Slug>,
        id: RootKeyId,
    ) -> Result<(RootKey, u64), WriteError> {
        order!(self, revoke_root_key(context, tenant, id))
    }

    async fn root_keys(&self, tenant: Option<Slug>, limit: u32) -> Result<Vec<RootKey>, StoreError> {
        ask!(self, root_keys(tenant, limit))
    }

    async fn find_root_key(&self, digest: &Digest) -> Result<Stamped<Option<RootKey>>, StoreError> {
        ask!(self, find_root_key(digest))
    }

    async fn issue(&self, context: WriteContext, request: IssueRequest) -> Result<Issued, WriteError> {
        order!(self, issue(context, request))
    }

    async fn change(&self, context: WriteContext, request: ChangeRequest) -> Result<Changed, WriteError> {
        order!(self, change(context, request))
    }

    async fn change_many(&self, context: WriteContext, request: ChangeManyRequest) -> Result<ChangedMany, WriteError> {
        order!(self, change_many(context, request))
    }

    async fn key(&self, tenant: &Slug, id: KeyId, now: Timestamp) -> Result<Option<KeyRecord>, StoreError> {
        ask!(self, key(tenant, id, now))
    }

    async fn list(&self, query: KeyQuery) -> Result<KeyPage, StoreError> {
        ask!(self, list(query))
    }

    async fn find_credential(&self, digest: &Digest) -> Result<Stamped<Option<Credential>>, StoreError> {
        ask!(self, find_credential(digest))
    }

    async fn lapsed(&self, now: Timestamp, limit: u32) -> Result<Vec<(Slug, KeyId)>, StoreError> {
        ask!(self, lapsed(now, limit))
    }

    async fn record_activity(&self, activity: Activity) -> Result<(), StoreError> {
        ask!(self, record_activity(activity))
    }

    async fn take_slices(&self, request: SliceRequest) -> Result<Vec<Slice>, StoreError> {
        ask!(self, take_slices(request))
    }

    async fn counters(&self, key: KeyId) -> Result<Vec<(LimitName, Counter)>, StoreError> {
        ask!(self, counters(key))
    }

    async fn usage(&self, key: KeyId, since: Timestamp, until: Timestamp) -> Result<Vec<UsageCount>, StoreError> {
        ask!(self, usage(key, since, until))
    }

    async fn usage_of(
        &self,
        keys: &[KeyId],
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<UsageCount>, StoreError> {
        ask!(self, usage_of(keys, since, until))
    }

    async fn refusals(&self, wanted: Refusals) -> Result<Vec<UsageCount>, StoreError> {
        ask!(self, refusals(wanted))
    }

    async fn census(&self, now: Timestamp) -> Result<Census, StoreError> {
        ask!(self, census(now))
    }

    async fn traces(&self, key: KeyId) -> Result<Vec<Trace>, StoreError> {
        ask!(self, traces(key))
    }

    async fn login(&self, digest: &Digest, now: Timestamp) -> Result<Option<Login>, StoreError> {
        ask!(self, login(digest, now))
    }

    async fn put_login(&self, login: Login, now: Timestamp) -> Result<(), StoreError> {
        ask!(self, put_login(login, now))
    }

    async fn take_login(&self, digest: Digest, now: Timestamp) -> Result<Option<Login>, StoreError> {
        ask!(self, take_login(digest, now))
    }

    async fn end_logins(&self, user: UserId, except: Option<Digest>) -> Result<u64, StoreError> {
        ask!(self, end_logins(user, except))
    }

    async fn people(&self, email: &Email, limit: u32) -> Result<Vec<User>, StoreError> {
        ask!(self, people(email, limit))
    }

    async fn record_events(&self, context: WriteContext, events: Vec<Event>) -> Result<u64, WriteError> {
        order!(self, record_events(context, events))
    }

    async fn head(&self) -> Result<Head, StoreError> {
        ask!(self, head())
    }

    async fn audit_after(&self, revision: u64, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        ask!(self, audit_after(revision, limit))
    }

    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditRecord>, StoreError> {
        ask!(self, audit(query))
    }

    async fn close(&self) {}
}
