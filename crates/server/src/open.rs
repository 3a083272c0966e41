//! Opens the store: SQLite for one process, or Postgres for several nodes.

use crate::backup::serve::OpenDatabase;
use crate::backup::{refuse_restoring, refuse_unfinished};
use crate::checkpoints::Checkpoints;
use crate::history;
use crate::instance::StartError;
use crate::node::NodeThread;
use crate::notebook::FileNotebook;
use crate::restored;
use crate::settings::{LEASE_MS_DEFAULT, Settings};
use crate::world::{OsEntropy, SteadyClock, TokioTimer};
use keyreeve_authority::env::Clock;
use keyreeve_authority::node::NodeParts;
use keyreeve_authority::{Authority, Node, VerifierMemory};
use keyreeve_store::cluster::{Cluster, Durability};
use keyreeve_store::model::AuditQuery;
use keyreeve_store::{CommitObserver, DatabaseAccess, DirectoryLock, PostgresStore, SqliteStore, Store};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Resources that must be released at the end.
#[derive(Debug, Default)]
pub(crate) struct OpenedStore {
    thread: Option<NodeThread>,
    /// The directory's lock; the SQLite store has its own.
    _lock: Option<DirectoryLock>,
    /// The Postgres database, if it is one.
    shared: Weak<PostgresStore>,
}

impl OpenedStore {
    /// Refuses a database into which a backup was restored since it was opened. Call when the instance was found in it,
    /// before it is served.
    pub(crate) async fn require_restored(&self, authority: &Authority) -> Result<(), StartError> {
        let Some(store) = self.shared.upgrade() else {
            return Ok(());
        };
        refuse_restoring(&store).await?;
        restored::withhold_if_undecided(authority).await.map_err(Into::into)
    }

    /// Releases the lease.
    pub(crate) async fn stop(self) {
        if let Some(thread) = self.thread {
            thread.stop().await;
        }
    }
}

/// The store that the settings name: its use cases, the checkpoints of its audit log, and the database itself.
pub(crate) struct OpenStore {
    pub(crate) authority: Authority,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) database: OpenDatabase,
}

/// Opens the store.
pub(crate) async fn open(settings: &Settings) -> Result<(OpenStore, OpenedStore), StartError> {
    match &settings.database {
        None => {
            let (authority, database, opened) = embedded(settings).await?;
            let checkpoints = history::checkpoints(&settings.data)?;
            let store = OpenStore {
                authority,
                checkpoints,
                database,
            };
            Ok((store, opened))
        }
        Some(access) => {
            let lock = DirectoryLock::take(&settings.data)?;
            refuse_unfinished(&settings.data)?;
            // Before this node has a session: a start that fails would leave one, and changes would wait for it.
            let checkpoints = history::checkpoints(&settings.data)?;
            let (authority, database, opened) = node(settings, access, lock).await?;
            let store = OpenStore {
                authority,
                checkpoints,
                database,
            };
            Ok((store, opened))
        }
    }
}

async fn embedded(settings: &Settings) -> Result<(Authority, OpenDatabase, OpenedStore), StartError> {
    crate::moving::refuse_moved(&settings.data)?;
    let lock = DirectoryLock::take(&settings.data)?;
    // With the lock: a restore that holds it sets and removes the mark.
    refuse_unfinished(&settings.data)?;
    // Before anything is created or migrated, and before any listener is bound.
    history::require_contained(&settings.data).await?;
    let verifier = Arc::new(VerifierMemory::new(settings.cache_entries));
    if let Some(lease_ms) = settings.child_lease_ms.or(settings.lease_ms) {
        verifier.children().set_lease_ms(lease_ms);
    }
    let observer: Arc<dyn CommitObserver> = verifier.clone();
    let store = Arc::new(SqliteStore::open_locked(&settings.data, lock, observer).await?);
    if let Some(obstacle) = store.obstacle() {
        tracing::error!("{obstacle}: the store is read-only; keys are verified, changes are refused");
    }
    tokio::spawn(look_after_files(Arc::downgrade(&store), Arc::clone(&verifier)));
    let lease_ms = settings.child_lease_ms.or(settings.lease_ms);
    let clock = Arc::new(SteadyClock::of_machine(lease_ms.unwrap_or(LEASE_MS_DEFAULT)));
    mind_the_log(settings, clock.as_ref(), store.as_ref()).await?;
    tokio::spawn(look_at_clock(Arc::downgrade(&clock)));
    let entropy = Arc::new(OsEntropy);
    let database = OpenDatabase::Embedded(Arc::clone(&store));
    let authority = Authority::new(store, verifier, clock, entropy, Arc::new(TokioTimer));
    Ok((authority, database, OpenedStore::default()))
}

/// Interval at which the machine's wall clock is read.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);

async fn look_at_clock(clock: Weak<SteadyClock>) {
    while let Some(clock) = clock.upgrade() {
        clock.look();
        drop(clock);
        tokio::time::sleep(CLOCK_INTERVAL).await;
    }
}

/// Number of newest audit entries that are searched for the latest time. An entry that was written while the clock was
/// behind may have an earlier time than the entries before it.
const ENTRIES_MINDED: u32 = 1_000;

/// Never returns to a time before the newest audit entries, whatever the clock shows: otherwise a key that had expired
/// could be accepted again after a restart.
async fn mind_the_log(settings: &Settings, clock: &dyn Clock, store: &dyn Store) -> Result<(), StartError> {
    let newest = AuditQuery {
        with_instance: true,
        limit: ENTRIES_MINDED,
        ..AuditQuery::default()
    };
    let entries = store.audit(newest).await?;
    let Some(newest) = entries.iter().map(|entry| entry.at).max() else {
        return Ok(());
    };
    if settings.accept_clock {
        let behind_ms = newest.millis_since(clock.now());
        tracing::warn!(behind_ms, "the clock is accepted as it is, because accept_clock is set");
    } else {
        clock.reached(newest);
    }
    Ok(())
}

/// Interval at which the files of the database are checked.
const FILES_INTERVAL: Duration = Duration::from_secs(1);

/// Halts verification when the files of the open database are no longer those in the data directory: what is answered
/// and written would rest on deleted files, and be lost with this process.
async fn look_after_files(store: Weak<SqliteStore>, verifier: Arc<VerifierMemory>) {
    loop {
        let Some(open) = store.upgrade() else { return };
        let looked = open.look_after_files().await;
        let obstacle = open.halt_reason();
        drop(open);
        if let Some(why) = obstacle {
            verifier.halt(&why);
            tracing::error!(
                "{why}. Every verification and change is refused until the server is restarted: put the files back \
                 first"
            );
            return;
        }
        if let Err(error) = looked {
            tracing::warn!(%error, "cannot check the database files");
        }
        tokio::time::sleep(FILES_INTERVAL).await;
    }
}

async fn node(
    settings: &Settings,
    access: &DatabaseAccess,
    lock: DirectoryLock,
) -> Result<(Authority, OpenDatabase, OpenedStore), StartError> {
    let verifier = Arc::new(VerifierMemory::leased(settings.cache_entries));
    let observer: Arc<dyn CommitObserver> = verifier.clone();
    let store = Arc::new(PostgresStore::open(access, observer).await?);
    // Before this node has a session.
    refuse_restoring(&store).await?;
    let cluster: Arc<dyn Cluster> = store.clone();
    let lease_ms = cluster.agree_on_lease(settings.lease_ms, LEASE_MS_DEFAULT).await?;
    verifier
        .children()
        .set_lease_ms(settings.child_lease_ms.unwrap_or(lease_ms));
    let clock: Arc<dyn Clock> = Arc::new(SteadyClock::of_database(lease_ms));
    let node = Arc::new(Node::new(NodeParts {
        cluster,
        store: store.clone(),
        verifier: Arc::clone(&verifier),
        clock: Arc::clone(&clock),
        timer: Arc::new(TokioTimer),
        entropy: Arc::new(OsEntropy),
        name: settings.node_name.clone(),
        lease_ms,
        require_sync: settings.require_sync,
        notebook: Arc::new(FileNotebook::in_directory(&settings.data)),
    }));
    let thread = NodeThread::start(Arc::clone(&node)).await?;
    let opened = OpenedStore {
        thread: Some(thread),
        _lock: Some(lock),
        shared: Arc::downgrade(&store),
    };
    let minded = mind_the_log(settings, clock.as_ref(), store.as_ref()).await;
    if let Err(error) = minded.and_then(|()| check(&node, settings)) {
        opened.stop().await;
        return Err(error);
    }
    let (entropy, timer) = (Arc::new(OsEntropy), Arc::new(TokioTimer));
    let database = OpenDatabase::Shared(Arc::clone(&store));
    let authority = Authority::new(store, verifier, clock, entropy, timer).among(Arc::clone(&node));
    tokio::spawn(hear_hints(node));
    Ok((authority, database, opened))
}

/// Time limit for the arrival of a hint.
const HINT_DEADLINE: Duration = Duration::from_secs(2);
/// Hints that must arrive. Behind a pooler, one may arrive by chance.
const HINTS: usize = 3;

/// Warns if hints do not arrive. Correctness does not depend on them, but without them changes wait for the next poll.
async fn hear_hints(node: Arc<Node>) {
    for _ in 0..HINTS {
        let before = node.health().hints;
        if node.hint().await.is_err() {
            return;
        }
        tokio::time::sleep(HINT_DEADLINE).await;
        if node.health().hints == before {
            tracing::warn!(
                "notifications of the database do not arrive (is a pooler in transaction mode between?): changes take \
                 effect at the next poll, within a second, instead of at once"
            );
            return;
        }
    }
}

/// Reports an acknowledged change that the database could lose.
fn check(node: &Node, settings: &Settings) -> Result<(), StartError> {
    let durability = node.health().durability;
    let message = "an acknowledged change could be lost with this database: fsync or full_page_writes is off, or a \
                   standby replicates asynchronously (synchronous_standby_names is empty)";
    match durability {
        Durability::Local | Durability::Replicated => tracing::info!(durability = durability.as_str(), "durability"),
        Durability::AtRisk if settings.require_sync => {
            let why = format!("{message}. Correct that, or start without require_sync");
            return Err(StartError::Unsafe(why));
        }
        Durability::AtRisk => tracing::warn!(durability = durability.as_str(), "{message}"),
    }
    Ok(())
}
