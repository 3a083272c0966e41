//! Opening the store: SQLite for one process, or Postgres for several nodes.

use crate::instance::StartError;
use crate::node::NodeThread;
use crate::settings::{LEASE_MS_DEFAULT, Settings};
use crate::world::{DatabaseClock, OsEntropy, TokioTimer, WallClock};
use keyreeve_authority::env::Clock;
use keyreeve_authority::node::NodeParts;
use keyreeve_authority::{Authority, Node, Verifier};
use keyreeve_store::cluster::{Cluster, Durability};
use keyreeve_store::{CommitObserver, DirectoryLock, PostgresStore, SqliteStore};
use std::sync::Arc;
use std::time::Duration;

/// What must be given back at the end.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    thread: Option<NodeThread>,
    /// SQLite locks its directory itself.
    _lock: Option<DirectoryLock>,
}

impl Opened {
    /// Hands the lease back.
    pub(crate) async fn stop(self) {
        if let Some(thread) = self.thread {
            thread.stop().await;
        }
    }
}

/// Opens the store that the settings name.
pub(crate) async fn open(settings: &Settings) -> Result<(Authority, Opened), StartError> {
    match &settings.database {
        None => embedded(settings).await,
        Some(url) => node(settings, url).await,
    }
}

async fn embedded(settings: &Settings) -> Result<(Authority, Opened), StartError> {
    crate::moving::refuse_moved(&settings.data)?;
    let verifier = Arc::new(Verifier::new(settings.cache_entries));
    if let Some(lease_ms) = settings.lease_ms {
        verifier.children().set_lease_ms(lease_ms);
    }
    let observer: Arc<dyn CommitObserver> = verifier.clone();
    let store = SqliteStore::open(&settings.data, observer).await?;
    let (clock, entropy) = (Arc::new(WallClock), Arc::new(OsEntropy));
    let authority = Authority::new(Arc::new(store), verifier, clock, entropy, Arc::new(TokioTimer));
    Ok((authority, Opened::default()))
}

async fn node(settings: &Settings, url: &str) -> Result<(Authority, Opened), StartError> {
    let lock = DirectoryLock::take(&settings.data)?;
    let verifier = Arc::new(Verifier::leased(settings.cache_entries));
    let observer: Arc<dyn CommitObserver> = verifier.clone();
    let store = Arc::new(PostgresStore::open(url, observer).await?);
    let cluster: Arc<dyn Cluster> = store.clone();
    let lease_ms = cluster.agree_on_lease(settings.lease_ms, LEASE_MS_DEFAULT).await?;
    let clock: Arc<dyn Clock> = Arc::new(DatabaseClock::new());
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
    }));
    let thread = NodeThread::start(Arc::clone(&node)).await?;
    let (entropy, timer) = (Arc::new(OsEntropy), Arc::new(TokioTimer));
    let authority = Authority::new(store, verifier, clock, entropy, timer).among(Arc::clone(&node));
    let opened = Opened {
        thread: Some(thread),
        _lock: Some(lock),
    };
    if let Err(unsafe_) = check(&node, settings) {
        opened.stop().await;
        return Err(unsafe_);
    }
    tokio::spawn(hear_hints(node));
    Ok((authority, opened))
}

/// How long a hint may take.
const HINT_DEADLINE: Duration = Duration::from_secs(2);
/// So many must arrive: behind a pooler one may get through by chance.
const HINTS: usize = 3;

/// Says if hints do not arrive. Nothing depends on them, but without them changes take until the next poll.
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

/// Says what an acknowledged change would not survive (coherence.md, section 2.7).
fn check(node: &Node, settings: &Settings) -> Result<(), StartError> {
    let durability = node.health().durability;
    let message = "an acknowledged change could be lost with this database: fsync or full_page_writes is off, or a \
                   standby follows that is not waited for (synchronous_standby_names is empty)";
    match durability {
        Durability::Local | Durability::Replicated => tracing::info!(durability = durability.as_str(), "durability"),
        Durability::AtRisk if settings.require_sync => {
            let why = format!("{message}. Mend that, or start without require_sync");
            return Err(StartError::Unsafe(why));
        }
        Durability::AtRisk => tracing::warn!(durability = durability.as_str(), "{message}"),
    }
    Ok(())
}
