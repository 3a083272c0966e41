//! SQLite inside the process: the default store.
//!
//! One writer commits in groups; readers have their own connections and never wait for it (WAL). `synchronous=FULL`:
//! what was answered survives power loss. One process per data directory, by an exclusive lock.

mod lock;
mod people;
mod read;
mod read_log;
mod rows;
mod tx;
mod writer;

use crate::error::{StoreError, WriteError};
use crate::model::{
    Activity, AuditQuery, AuditRecord, ChangeRequest, Changed, Credential, Event, Founding, Head, IssueRequest, Issued,
    KeyPage, KeyQuery, KeyRecord, RootKey, Stamped, Tenant, TenantEdit, UsageCount, UserChange, WriteContext,
};
use crate::operations;
use crate::store::{CommitObserver, Store};
use async_trait::async_trait;
use keyreeve_core::text::{Slug, Subject};
use keyreeve_core::{Digest, KeyId, RootKeyId, Timestamp, User, UserId};
use lock::DirectoryLock;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, SqlSafeStr as _, SqlitePool};
use std::fmt;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use writer::Writer;

/// Connections that read. Reads are short; more would only wait for the same two disks and cores.
const READERS: u32 = 4;
/// How long a connection waits for a lock that a backup tool may hold.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements kept by a connection: more than this crate has.
const STATEMENTS_KEPT: usize = 128;
/// How long a read may wait for a free connection before the store counts as away.
const READER_WAIT: Duration = Duration::from_secs(2);

/// An open SQLite store. Dropping it without [`Store::close`] loses nothing that was answered.
pub struct SqliteStore {
    readers: SqlitePool,
    writer: Writer,
    _lock: Option<DirectoryLock>,
}

impl SqliteStore {
    /// Opens the store in a directory, which is made if it does not exist; migrates it if it is of an older version.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process has it; [`StoreError::Corrupt`] if a newer version wrote it.
    pub async fn open(directory: &Path, observer: Arc<dyn CommitObserver>) -> Result<Self, StoreError> {
        let lock = DirectoryLock::take(directory)?;
        let file = directory.join("keyreeve.db");
        make_private(&file)?;
        let options = options(&file);
        let mut connection = options.connect().await.map_err(|error| at_open(&error))?;
        migrator()
            .run(&mut connection)
            .await
            .map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(READER_WAIT)
            .connect_with(options.pragma("query_only", "ON"))
            .await
            .map_err(|error| at_open(&error))?;
        Ok(Self {
            readers,
            writer: Writer::start(connection, observer),
            _lock: Some(lock),
        })
    }
}

impl SqliteStore {
    /// Opens a database file for reading only: a copy, or the file of an instance that is running. Every change is
    /// refused as unavailable.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it cannot be opened; [`StoreError::Corrupt`] if it is not one of ours.
    pub async fn open_to_read(file: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .read_only(true)
            .busy_timeout(BUSY_TIMEOUT);
        let readers = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(READER_WAIT)
            .connect_with(options)
            .await
            .map_err(|error| at_open(&error))?;
        let store = Self {
            readers,
            writer: Writer::closed(),
            _lock: None,
        };
        let foreign = |_| StoreError::Corrupt(format!("{} is no database of Keyreeve", file.display()));
        store.head().await.map_err(foreign)?;
        Ok(store)
    }
}

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(STATEMENTS_KEPT)
}

/// Digests are no secrets, but names and owners are nobody else's business on a shared machine.
fn make_private(file: &Path) -> Result<(), StoreError> {
    let opened = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(file);
    opened
        .map(drop)
        .map_err(|error| StoreError::Unavailable(format!("cannot open {}: {error}", file.display())))
}

fn at_open(error: &sqlx::Error) -> StoreError {
    StoreError::Unavailable(format!("cannot open the database: {error}"))
}

/// The migrations are in the binary. A merged one is never edited (ARCHITECTURE.md, A9).
fn migrator() -> Migrator {
    let migration = |number, name: &'static str, sql: &'static str| {
        Migration::new(number, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(vec![
        migration(
            1,
            "foundation",
            include_str!("../../migrations/sqlite/0001_foundation.sql"),
        ),
        migration(
            2,
            "lifecycle",
            include_str!("../../migrations/sqlite/0002_lifecycle.sql"),
        ),
    ])
}

#[async_trait]
impl Store for SqliteStore {
    async fn found(&self, context: WriteContext, tenant: Tenant, root_key: RootKey) -> Result<Founding, WriteError> {
        self.writer
            .write(move |tx| Box::pin(async move { operations::found(tx, &context, &tenant, &root_key).await }))
            .await
    }

    async fn create_tenant(&self, context: WriteContext, tenant: Tenant, root_key: RootKey) -> Result<u64, WriteError> {
        self.writer
            .write(move |tx| Box::pin(async move { operations::create_tenant(tx, &context, &tenant, &root_key).await }))
            .await
    }

    async fn tenant(&self, slug: &Slug) -> Result<Option<Tenant>, StoreError> {
        read::tenant_of(&self.readers, slug).await
    }

    async fn tenants(&self, after: Option<Slug>, limit: u32) -> Result<Vec<Tenant>, StoreError> {
        read::tenants(&self.readers, after.as_ref(), limit).await
    }

    async fn change_tenant(&self, context: WriteContext, slug: Slug, edit: TenantEdit) -> Result<Tenant, WriteError> {
        self.writer
            .write(move |tx| Box::pin(async move { operations::change_tenant(tx, &context, &slug, edit).await }))
            .await
    }

    async fn blocked_owners(&self, slug: &Slug) -> Result<Vec<Subject>, StoreError> {
        read_log::blocked_owners(&self.readers, slug).await
    }

    async fn create_user(&self, context: WriteContext, user: User) -> Result<u64, WriteError> {
        self.writer
            .write(move |tx| Box::pin(async move { operations::create_user(tx, &context, &user).await }))
            .await
    }

    async fn change_user(&self, context: WriteContext, change: UserChange) -> Result<(User, u64), WriteError> {
        self.writer
            .write(move |tx| Box::pin(async move { operations::change_user(tx, &context, change).await }))
            .await
    }

    async fn user(&self, tenant: &Slug, id: UserId) -> Result<Option<User>, StoreError> {
        read_log::user_of(&self.readers, tenant, id).await
    }

    async fn users(&self, tenant: &Slug, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError> {
        read_log::users(&self.readers, tenant, after, limit).await
    }

    async fn create_root_key(&self, context: WriteContext, root_key: RootKey) -> Result<u64, WriteError> {
        self.writer
            .write(move |tx| Box::pin(async move { operations::create_root_key(tx, &context, &root_key).await }))
            .await
    }

    async fn revoke_root_key(
        &self,
        context: WriteContext,
        tenant: Option<Slug>,
        id: RootKeyId,
    ) -> Result<RootKey, WriteError> {
        self.writer
            .write(move |tx| {
                Box::pin(async move { operations::revoke_root_key(tx, &context, tenant.as_ref(), id).await })
            })
            .await
    }

    async fn root_keys(&self, tenant: Option<Slug>, limit: u32) -> Result<Vec<RootKey>, StoreError> {
        read::root_keys(&self.readers, tenant.as_ref(), limit).await
    }

    async fn find_root_key(&self, digest: &Digest) -> Result<Stamped<Option<RootKey>>, StoreError> {
        read::find_root_key(&self.readers, digest).await
    }

    async fn issue(&self, context: WriteContext, request: IssueRequest) -> Result<Issued, WriteError> {
        self.writer
            .write(move |tx| Box::pin(async move { operations::issue(tx, &context, request).await }))
            .await
    }

    async fn change(&self, context: WriteContext, request: ChangeRequest) -> Result<Changed, WriteError> {
        self.writer
            .write(move |tx| Box::pin(async move { operations::change(tx, &context, request).await }))
            .await
    }

    async fn key(&self, tenant: &Slug, id: KeyId, now: Timestamp) -> Result<Option<KeyRecord>, StoreError> {
        read::key(&self.readers, tenant, id, now).await
    }

    async fn list(&self, query: KeyQuery) -> Result<KeyPage, StoreError> {
        read::list(&self.readers, &query).await
    }

    async fn find_credential(&self, digest: &Digest) -> Result<Stamped<Option<Credential>>, StoreError> {
        read::find_credential(&self.readers, digest).await
    }

    async fn lapsed(&self, now: Timestamp, limit: u32) -> Result<Vec<(Slug, KeyId)>, StoreError> {
        read::lapsed(&self.readers, now, limit).await
    }

    async fn record_activity(&self, activity: Activity) -> Result<(), StoreError> {
        let written = self
            .writer
            .write(move |tx| Box::pin(async move { operations::record_activity(tx, &activity).await }))
            .await;
        written.map_err(operations::only_store_error)
    }

    async fn usage(&self, key: KeyId, since: Timestamp, until: Timestamp) -> Result<Vec<UsageCount>, StoreError> {
        read_log::usage(&self.readers, key, since, until).await
    }

    async fn record_events(&self, context: WriteContext, events: Vec<Event>) -> Result<u64, WriteError> {
        self.writer
            .write(move |tx| Box::pin(async move { operations::record_events(tx, &context, events).await }))
            .await
    }

    async fn head(&self) -> Result<Head, StoreError> {
        read::head(&self.readers).await
    }

    async fn audit_after(&self, revision: u64, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        read::audit_after(&self.readers, revision, limit).await
    }

    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditRecord>, StoreError> {
        read_log::audit(&self.readers, &query).await
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}
