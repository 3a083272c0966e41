//! A store in memory whose operations pass an interceptor, which can delay them, fail them, or do something before they
//! are answered: for tests and for the simulator.

use crate::error::{StoreError, WriteError};
use crate::memory::MemoryStore;
use crate::model::{
    ActivityBatch, AuditQuery, AuditRecord, Bootstrap, Census, ChangeManyRequest, ChangeRequest, Changed,
    ChangedCheckPolicy, ChangedMany, ChangedUser, CheckPolicyChange, CheckPolicyRecord, Credential, Event, Head,
    IssueRequest, Issued, KeyPage, KeyQuery, KeyRecord, Login, RefusalQuery, RootKey, RootKeyRotation, RotatedRootKey,
    ShowRootKey, SliceRequest, Stamped, Tenant, TenantEdit, Trace, UsageCount, UserChange, WriteContext,
};
use crate::store::Store;
use async_trait::async_trait;
use keyreeve_core::limits::{Counter, Slice};
use keyreeve_core::text::{LimitName, Slug, Subject};
use keyreeve_core::user::Email;
use keyreeve_core::{Digest, KeyId, RootKeyId, Timestamp, User, UserId};
use std::sync::Arc;

/// Runs the operations of an [`Intercepted`] store, and what comes before and after each.
pub trait Interceptor: Send + Sync + 'static {
    /// Runs an operation that makes no revision: a read, or a write without an audit entry. `run` runs it on a store.
    fn call<T, F>(
        &self,
        operation: StoreOperation,
        run: impl FnOnce(MemoryStore) -> F + Send,
    ) -> impl Future<Output = Result<T, StoreError>> + Send
    where
        T: Send,
        F: Future<Output = Result<T, StoreError>> + Send;

    /// Runs an operation that may make a revision. `run` runs it on a store.
    fn change<T, F>(
        &self,
        operation: StoreOperation,
        run: impl FnOnce(MemoryStore) -> F + Send,
    ) -> impl Future<Output = Result<T, WriteError>> + Send
    where
        T: Send,
        F: Future<Output = Result<T, WriteError>> + Send;
}

/// A store whose operations are run by an interceptor. It reports no failed writes, and closing it does nothing.
#[derive(Debug)]
pub struct Intercepted<I>(pub Arc<I>);

/// Implements [`Store`] by forwarding, and lists its operations: `Variant: method(arguments) -> answer`.
macro_rules! intercepted {
    (
        call { $($call:ident: $called:ident($($question:ident: $asked:ty),*) -> $answer:ty;)* }
        change { $($change:ident: $changed:ident($($request:ident: $requested:ty),*) -> $outcome:ty;)* }
    ) => {
        /// A method of [`Store`].
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum StoreOperation {
            $(#[doc = concat!("[`Store::", stringify!($called), "`].")] $call,)*
            $(#[doc = concat!("[`Store::", stringify!($changed), "`].")] $change,)*
        }

        #[async_trait]
        impl<I: Interceptor> Store for Intercepted<I> {
            $(
                async fn $called(&self, $($question: $asked),*) -> Result<$answer, StoreError> {
                    let run = move |store: MemoryStore| async move { store.$called($($question),*).await };
                    self.0.call(StoreOperation::$call, run).await
                }
            )*
            $(
                async fn $changed(&self, $($request: $requested),*) -> Result<$outcome, WriteError> {
                    let run = move |store: MemoryStore| async move { store.$changed($($request),*).await };
                    self.0.change(StoreOperation::$change, run).await
                }
            )*

            async fn close(&self) {}
        }
    };
}

intercepted! {
    call {
        Tenant: tenant(slug: &Slug) -> Option<Tenant>;
        Tenants: tenants(after: Option<Slug>, limit: u32) -> Vec<Tenant>;
        BlockedOwners: blocked_owners(slug: &Slug) -> Vec<Subject>;
        CheckPolicies: check_policies(tenant: &Slug) -> Stamped<Vec<CheckPolicyRecord>>;
        User: user(tenant: &Slug, id: UserId) -> Option<User>;
        Users: users(tenant: &Slug, after: Option<UserId>, limit: u32) -> Vec<User>;
        People: people(email: &Email, limit: u32) -> Vec<User>;
        RootKeys: root_keys(tenant: Option<Slug>, limit: u32) -> Vec<RootKey>;
        FindRootKey: find_root_key(digest: &Digest) -> Stamped<Option<RootKey>>;
        Key: key(tenant: &Slug, id: KeyId, now: Timestamp) -> Option<KeyRecord>;
        List: list(query: KeyQuery) -> KeyPage;
        FindCredential: find_credential(digest: &Digest) -> Stamped<Option<Credential>>;
        Lapsed: lapsed(now: Timestamp, limit: u32) -> Vec<(Slug, KeyId)>;
        RecordActivity: record_activity(activity: ActivityBatch) -> ();
        TakeSlices: take_slices(request: SliceRequest) -> Vec<Slice>;
        Counters: counters(key: KeyId) -> Vec<(LimitName, Counter)>;
        Usage: usage(key: KeyId, since: Timestamp, until: Timestamp) -> Vec<UsageCount>;
        UsageOf: usage_of(keys: &[KeyId], since: Timestamp, until: Timestamp) -> Vec<UsageCount>;
        Refusals: refusals(wanted: RefusalQuery) -> Vec<UsageCount>;
        Census: census(now: Timestamp) -> Census;
        Traces: traces(key: KeyId) -> Vec<Trace>;
        Login: login(digest: &Digest, now: Timestamp) -> Option<Login>;
        PutLogin: put_login(login: Login, now: Timestamp) -> ();
        TakeLogin: take_login(digest: Digest, now: Timestamp) -> Option<Login>;
        EndLogins: end_logins(user: UserId, except: Option<Digest>) -> u64;
        ProbeWrite: probe_write() -> ();
        Head: head() -> Head;
        AuditAfter: audit_after(revision: u64, limit: u32) -> Vec<AuditRecord>;
        InstanceEvents: instance_events(limit: u32) -> Vec<AuditRecord>;
        Audit: audit(query: AuditQuery) -> Vec<AuditRecord>;
    }
    change {
        Found: found(context: WriteContext, tenant: Tenant, root_key: RootKey, show: ShowRootKey) -> Bootstrap;
        CreateTenant: create_tenant(context: WriteContext, tenant: Tenant, root_key: RootKey) -> u64;
        ChangeTenant: change_tenant(context: WriteContext, slug: Slug, edit: TenantEdit) -> (Tenant, u64);
        ChangeCheckPolicy: change_check_policy(
            context: WriteContext,
            tenant: Slug,
            change: CheckPolicyChange
        ) -> ChangedCheckPolicy;
        CreateUser: create_user(context: WriteContext, user: User) -> u64;
        ChangeUser: change_user(context: WriteContext, change: UserChange) -> ChangedUser;
        CreateRootKey: create_root_key(context: WriteContext, root_key: RootKey) -> u64;
        RevokeRootKey: revoke_root_key(
            context: WriteContext,
            tenant: Option<Slug>,
            id: RootKeyId
        ) -> (RootKey, u64);
        RotateRootKey: rotate_root_key(context: WriteContext, rotation: RootKeyRotation) -> RotatedRootKey;
        FinishRootKeyRotation: finish_root_key_rotation(
            context: WriteContext,
            tenant: Option<Slug>,
            id: RootKeyId
        ) -> (RootKey, u64);
        Issue: issue(context: WriteContext, request: IssueRequest) -> Issued;
        Change: change(context: WriteContext, request: ChangeRequest) -> Changed;
        ChangeMany: change_many(context: WriteContext, request: ChangeManyRequest) -> ChangedMany;
        RecordEvents: record_events(context: WriteContext, events: Vec<Event>) -> u64;
    }
}
