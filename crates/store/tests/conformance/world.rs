//! A store with one tenant in it, and short functions that the cases are written with.

use keyreeve_core::access::{Actor, Permissions, Reach};
use keyreeve_core::audit::Action;
use keyreeve_core::key::Prefix;
use keyreeve_core::lifecycle::{HoldOrder, IssueOrder, NewSecret, Outcome, ReasonCode, Refusal, RevokeOrder};
use keyreeve_core::limits::Networks;
use keyreeve_core::policy::{ExpiryWish, Preset};
use keyreeve_core::scope::Scopes;
use keyreeve_core::text::{Name, Slug, Subject};
use keyreeve_core::{Digest, Key, KeyId, Policy, RootKeyId, Secret, Timestamp};
use keyreeve_store::model::{
    AuditDraft, ChangeFacts, ChangeManyRequest, ChangeRequest, Changed, ChangedMany, Idempotency, IssueRequest, Issued,
    KeyQuery, PageStart, Repeat, RootKey, Tenant, WriteContext,
};
use keyreeve_store::{Cluster, Commit, CommitObserver, MemoryStore, PostgresStore, SqliteStore, Store, WriteError};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// The time of every case, unless it sets another.
pub const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// The commits that the observer was notified of.
#[derive(Default)]
pub struct Seen(pub Mutex<Vec<Commit>>);

impl CommitObserver for Seen {
    fn committed(&self, commit: &Commit) {
        self.0.lock().unwrap().push(commit.clone());
    }

    fn outcome_unknown(&self, _: &Commit) {}
}

impl Seen {
    /// Whether the observer was notified of a secret.
    pub fn knows(&self, digest: &Digest) -> bool {
        let commits = self.0.lock().unwrap();
        commits.iter().any(|commit| commit.secrets.contains(digest))
    }

    pub fn forget(&self) {
        self.0.lock().unwrap().clear();
    }
}

pub struct World {
    pub store: Arc<dyn Store>,
    pub seen: Arc<Seen>,
    pub tenant: Slug,
    numbers: AtomicU64,
    pub directory: Option<TempDir>,
    /// The cluster operations; `None` for a database of one process.
    pub cluster: Option<Arc<dyn Cluster>>,
}

/// Creates a database and returns its URL. The server's own URL is in `KEYREEVE_TEST_POSTGRES`.
pub async fn postgres_database() -> Option<String> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    #[expect(clippy::disallowed_methods, reason = "the test's own setting")]
    let server = std::env::var("KEYREEVE_TEST_POSTGRES").ok()?;
    let name = format!("case_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let (client, connection) = tokio_postgres::connect(&server, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let (base, _) = server.rsplit_once('/').unwrap();
    Some(format!("{base}/{name}"))
}

pub fn slug(text: &str) -> Slug {
    Slug::parse(text).unwrap()
}

pub fn subject(text: &str) -> Subject {
    Subject::parse(text).unwrap()
}

pub fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub fn later(seconds: u64) -> Timestamp {
    NOW.plus_seconds(seconds)
}

/// The operator at [`NOW`], without an idempotency key.
pub fn context() -> WriteContext {
    WriteContext {
        at: NOW,
        actor: Actor::Operator,
        acting: None,
        secret: None,
        address: Some("192.0.2.7".into()),
        request_id: "req_1".into(),
        idempotency: None,
        only_if: None,
    }
}

pub fn marked(mark: &str, fingerprint: u8) -> WriteContext {
    WriteContext {
        idempotency: Some(Idempotency {
            key: mark.into(),
            fingerprint: [fingerprint; 32],
            repeat: Repeat::Replaces,
        }),
        ..context()
    }
}

impl World {
    pub async fn memory() -> Option<Self> {
        let seen = Arc::new(Seen::default());
        let store = Arc::new(MemoryStore::new(Arc::clone(&seen) as _));
        let cluster = Arc::clone(&store) as Arc<dyn Cluster>;
        Some(Self::founded(store, seen, None).await.meeting_in(cluster))
    }

    pub async fn sqlite() -> Option<Self> {
        let seen = Arc::new(Seen::default());
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path(), Arc::clone(&seen) as _)
            .await
            .unwrap();
        Some(Self::founded(Arc::new(store), seen, Some(directory)).await)
    }

    /// Opens a database of its own on the server that `scripts/test` starts; `None` if there is no server.
    pub async fn postgres() -> Option<Self> {
        let url = postgres_database().await?;
        let seen = Arc::new(Seen::default());
        let store = Arc::new(PostgresStore::open(&url, Arc::clone(&seen) as _).await.unwrap());
        let cluster = Arc::clone(&store) as Arc<dyn Cluster>;
        Some(Self::founded(store, seen, None).await.meeting_in(cluster))
    }

    async fn founded(store: Arc<dyn Store>, seen: Arc<Seen>, directory: Option<TempDir>) -> Self {
        let world = Self {
            store,
            seen,
            tenant: slug("acme"),
            numbers: AtomicU64::new(1),
            directory,
            cluster: None,
        };
        let mut policy = Preset::Standard.policy();
        policy.names = keyreeve_core::policy::Names::Any;
        world.make_tenant("acme", policy).await;
        world
    }

    fn meeting_in(mut self, cluster: Arc<dyn Cluster>) -> Self {
        self.cluster = Some(cluster);
        self
    }

    pub async fn make_tenant(&self, slug_text: &str, policy: Policy) {
        let tenant = Tenant {
            slug: slug(slug_text),
            name: name(slug_text),
            status: keyreeve_core::user::Status::Active,
            policy,
            created_at: NOW,
        };
        let root_key = self.root_key(Reach::Tenant(tenant.slug.clone()));
        self.store.create_tenant(context(), tenant, root_key).await.unwrap();
    }

    pub fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns a secret that no other call returns.
    pub fn secret(&self) -> NewSecret {
        let mut entropy = [7; keyreeve_core::key::SECRET_ENTROPY_BYTES];
        entropy[..8].copy_from_slice(&self.number().to_be_bytes());
        let prefix = Prefix::standard();
        NewSecret::of(&Secret::mint(&prefix, &entropy), &prefix)
    }

    pub fn root_key(&self, reach: Reach) -> RootKey {
        let secret = self.secret();
        RootKey {
            id: RootKeyId::from_bytes(u128::from(self.number()).to_be_bytes()),
            name: name("root"),
            reach,
            permissions: Permissions::all(),
            digest: secret.digest,
            last_four: secret.last_four,
            created_at: NOW,
            revoked_at: None,
            networks: Networks::default(),
            retiring: None,
            is_presented: false,
            rotated_at: None,
            expires_at: None,
            last_used_at: None,
        }
    }

    pub fn order(&self, tenant: &Slug, owner: &str, called: &str, expiry: ExpiryWish) -> IssueOrder {
        IssueOrder {
            id: KeyId::from_bytes(u128::from(self.number()).to_be_bytes()),
            tenant: tenant.clone(),
            subject: subject(owner),
            name: name(called),
            description: None,
            claims: None,
            scopes: Scopes::parse(["read", "write"]).unwrap(),
            limits: keyreeve_core::Limits::default(),
            created_by: None,
            expiry,
            secret: self.secret(),
        }
    }

    /// Returns a request to issue keys of these names, for one owner.
    pub fn issue_request(&self, owner: &str, names: &[&str], expiry: ExpiryWish) -> IssueRequest {
        let orders: Vec<_> = names
            .iter()
            .map(|called| self.order(&self.tenant, owner, called, expiry))
            .collect();
        let fresh = self.secret();
        IssueRequest {
            tenant: self.tenant.clone(),
            items: orders
                .iter()
                .map(|order| (order.subject.clone(), order.name.clone()))
                .collect(),
            decide: Box::new(move |place, policy, facts| {
                let key = Key::issue(orders[place].clone(), facts, policy, NOW)?;
                Ok((key, draft(Action::KeyCreated)))
            }),
            replace: Box::new(move |_, key| {
                Ok((key.replace_undelivered(fresh.clone(), NOW)?, draft(Action::KeyRotated)))
            }),
        }
    }

    pub async fn try_issue(&self, owner: &str, called: &str) -> Result<Issued, WriteError> {
        let request = self.issue_request(owner, &[called], ExpiryWish::Unsaid);
        self.store.issue(context(), request).await
    }

    pub async fn issue(&self, owner: &str, called: &str) -> Key {
        self.try_issue(owner, called).await.unwrap().keys.remove(0).key
    }

    pub async fn issue_expiring(&self, owner: &str, called: &str, seconds: u64) -> Key {
        let request = self.issue_request(owner, &[called], ExpiryWish::InSeconds(seconds));
        self.store.issue(context(), request).await.unwrap().keys.remove(0).key
    }

    pub fn change_request(
        &self,
        id: KeyId,
        transition: impl FnOnce(Key, &Policy) -> Result<Outcome, Refusal> + Send + 'static,
    ) -> ChangeRequest {
        ChangeRequest {
            tenant: self.tenant.clone(),
            id,
            new_name: None,
            decide: Box::new(move |facts: ChangeFacts<'_>| {
                Ok((transition(facts.key, facts.policy)?, draft(Action::KeyUpdated)))
            }),
            replace: None,
        }
    }

    pub async fn change(
        &self,
        id: KeyId,
        transition: impl FnOnce(Key, &Policy) -> Result<Outcome, Refusal> + Send + 'static,
    ) -> Result<Changed, WriteError> {
        self.store.change(context(), self.change_request(id, transition)).await
    }

    /// Changes many keys. Returns the result, and the commits that the observer was notified of.
    pub async fn change_many(
        &self,
        ids: &[KeyId],
        mut transition: impl FnMut(Key, &Policy) -> Result<Outcome, Refusal> + Send + 'static,
    ) -> (ChangedMany, Vec<Commit>) {
        self.seen.forget();
        let request = ChangeManyRequest {
            tenant: self.tenant.clone(),
            ids: ids.to_vec(),
            decide: Box::new(move |facts: ChangeFacts<'_>| {
                Ok((transition(facts.key, facts.policy)?, draft(Action::KeyRevoked)))
            }),
            notes: BTreeMap::new(),
        };
        let changed = self.store.change_many(context(), request).await.unwrap();
        (changed, self.seen.0.lock().unwrap().clone())
    }

    pub async fn revoke(&self, id: KeyId) -> Changed {
        self.change(id, |key, policy| key.revoke(revoke_order(), policy, NOW))
            .await
            .unwrap()
    }

    pub async fn disable(&self, id: KeyId) -> Changed {
        self.change(id, |key, policy| key.disable(hold_order(), policy, NOW))
            .await
            .unwrap()
    }

    pub async fn delete(&self, id: KeyId) -> Changed {
        self.change(id, |key, _| Ok(key.delete())).await.unwrap()
    }

    pub async fn record_use(&self, digest: Digest, at: Timestamp) {
        let activity = keyreeve_store::model::ActivityBatch {
            uses: vec![(digest, at)],
            presented: Vec::new(),
            refused: Vec::new(),
            counts: Vec::new(),
            traces: Vec::new(),
            root_key_uses: Vec::new(),
        };
        self.store.record_activity(activity).await.unwrap();
    }

    pub async fn revision(&self) -> u64 {
        self.store.head().await.unwrap().revision
    }

    pub fn query(&self) -> KeyQuery {
        KeyQuery {
            look_at: Some(1_000),
            ..KeyQuery::all(self.tenant.clone(), PageStart::Offset(0), 100, NOW)
        }
    }

    /// Counts the keys that match a query.
    pub async fn count(&self, query: KeyQuery) -> u64 {
        self.store.list(query).await.unwrap().total.unwrap().count
    }

    /// Returns the names that a query finds, in its order.
    pub async fn names(&self, query: KeyQuery) -> Vec<String> {
        let page = self.store.list(query).await.unwrap();
        page.keys.iter().map(|record| record.key.name.to_string()).collect()
    }
}

pub fn draft(action: Action) -> AuditDraft {
    AuditDraft {
        action,
        reason: Some("because".into()),
        before: None,
        after: Some("{}".to_owned()),
    }
}

pub fn revoke_order() -> RevokeOrder {
    RevokeOrder {
        actor: Actor::Operator,
        code: ReasonCode::Unspecified,
        note: None,
    }
}

pub fn hold_order() -> HoldOrder {
    HoldOrder {
        actor: Actor::Operator,
        note: None,
    }
}
