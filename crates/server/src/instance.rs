//! A running instance: opens the store, creates it if it is empty, listens, and stops without losing data.

use crate::App;
use crate::backup;
use crate::denials;
use crate::edge::{Face, FaceService, Listening};
use crate::founding::EmptyStore;
use crate::http::openapi;
use crate::invariants::InvariantLog;
use crate::listen::Listen;
use crate::open::{self, OpenedStore};
use crate::pages;
use crate::ready::{Encryption, EndpointKind, Ready, reachable, remove_sockets};
use crate::restored;
use crate::settings::Settings;
use crate::tls::TlsError;
use crate::verifiers::{self, Marker};
use crate::world::OsEntropy;
use keyreeve_authority::Failure;
use keyreeve_authority::env::Entropy as _;
use keyreeve_store::StoreError;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;

/// Interval of the background task, which writes what verification counts.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest pause between two counts of the keys, and how many times longer than a count the pause is at least.
const CENSUS_INTERVAL: Duration = Duration::from_secs(30);
const CENSUS_SHARE: u32 = 100;
/// How long a stop waits for connected verifiers to leave, in milliseconds.
const VERIFIERS_PATIENCE_MS: u64 = 2_000;
/// How long a stop writes denials into the data directory.
const DENIALS_PATIENCE: Duration = Duration::from_secs(3);
/// The socket for processes that may read the data directory.
const OPERATOR_SOCKET: &str = "operator.sock";

/// Why an instance did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The instance could not be created or read.
    #[error("the instance could not be set up: {0}")]
    Bootstrap(#[from] Failure),
    /// The database exists and must not be used in this way.
    #[error("{0}")]
    Unsafe(String),
    /// The database does not contain what was signed for it.
    #[error("{0}")]
    History(String),
    /// An address could not be bound.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address, or the socket's path.
        address: String,
        /// Why.
        error: std::io::Error,
    },
    /// The certificate or the key of a listener cannot be used.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The key that signs checkpoints of the audit log could not be read or created.
    #[error("cannot use the audit log's signing key in {path}: {error}")]
    Checkpoints {
        /// The data directory.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// There is no instance yet, and this start must not create one.
    #[error("there is no instance in {}; `keyreeve serve` makes one and shows its first root key", .0.display())]
    Empty(PathBuf),
    /// The first root key could not be written to its file.
    #[error("cannot write the root key to {path}: {why}. Nothing was set up; name a file that does not exist")]
    RootKeyFile {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The first root key could not be shown.
    #[error(
        "cannot show the first root key on standard output: {0}. Nothing was set up; start where it can be read, or \
         name a file for it with --root-key-file"
    )]
    RootKeyNotShown(String),
    /// The database failed between the display of the first root key and the end of its transaction.
    #[error(
        "the instance could not be set up after its first root key was {}: {failure}. Start again: if that gives \
         another root key, the earlier one is void; if it does not, the earlier one is good", place(file.as_deref())
    )]
    ShownInVain {
        /// The error of the database.
        failure: Failure,
        /// The file for the root key, if one was named.
        file: Option<PathBuf>,
    },
}

fn place(file: Option<&Path>) -> String {
    file.map_or_else(|| "shown".to_owned(), |path| format!("written to {}", path.display()))
}

/// A running instance.
#[derive(Debug)]
pub struct Instance {
    app: App,
    /// The actual listen addresses.
    pub addresses: Addresses,
    /// Whether this start created the instance and showed its first root key.
    pub has_shown_root_key: bool,
    /// A link for the first administrator, as long as no user can sign in to the tenant `default`.
    pub first_admin_link: Option<FirstAdminLink>,
    serving: Vec<Listening>,
    ops: Listening,
    stop: watch::Sender<bool>,
    stop_ops: watch::Sender<bool>,
    socket: PathBuf,
    opened: OpenedStore,
}

/// The actual listen addresses of an instance.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// The API.
    pub listen: Vec<Listen>,
    /// Verification only.
    pub check_listen: Vec<Listen>,
    /// Operations.
    pub ops_listen: Listen,
}

impl Addresses {
    /// Returns the network address at which this machine reaches the API, if it listens on the network.
    pub fn api(&self) -> Option<SocketAddr> {
        reachable(&self.listen)
    }
}

/// The URL by which the first administrator sets a password. It works once, for three days.
pub struct FirstAdminLink(String);

impl FirstAdminLink {
    pub(crate) const fn new(address: String) -> Self {
        Self(address)
    }

    /// Returns the URL.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for FirstAdminLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FirstAdminLink(..)")
    }
}

impl Instance {
    /// Opens the store, binds every address, creates an instance if the store is empty, and only then serves. An
    /// earlier failure creates nothing.
    pub async fn start(settings: &Settings, empty: EmptyStore) -> Result<Self, StartError> {
        // Before anything is created: the operator can correct a TLS error without a server.
        let tls = Encryption::open(settings)?;
        let start_number = start_number()?;
        let (store, opened) = open::open(settings).await?;
        // Before anything is served: after a restore no key is verified until an operator has decided.
        if let Err(error) = restored::withhold_if_undecided(&store.authority).await {
            opened.stop().await;
            return Err(error.into());
        }
        let marker = Marker::in_directory(&settings.data);
        // With several nodes, the verifiers of an earlier process end with its session.
        if store.authority.node().is_none()
            && let Some(lease_ms) = marker.former_lease_ms()
        {
            store.authority.verifiers().await_former_leases(lease_ms);
        }
        let app = App::new(store, marker, tls.all(), settings.clone(), start_number);
        let ready = match Ready::for_all(&app, &tls, empty).await {
            // Again: rows of a backup may have been committed since the database was opened.
            Ok(ready) => opened.require_restored(app.authority()).await.map(|()| ready),
            Err(error) => Err(error),
        };
        match ready {
            Ok(ready) => Ok(Self::serve(ready, app, opened, &tls)),
            Err(error) => {
                opened.stop().await;
                app.authority().close().await;
                Err(error)
            }
        }
    }

    /// Starts to serve. Cannot fail.
    fn serve(ready: Ready, app: App, opened: OpenedStore, tls: &Encryption) -> Self {
        let (stop, stopping) = watch::channel(false);
        let router = openapi::router(app.clone(), pages::router(&app));
        let start = |(endpoint, place)| {
            let face = match place {
                EndpointKind::Api => Face::Api(router.clone()),
                EndpointKind::Check => Face::Check,
            };
            Listening::start(endpoint, service(face, &app), app.seats(), stopping.clone())
        };
        let serving = ready.faces.into_iter().map(start).collect();
        let (stop_ops, stopping_ops) = watch::channel(false);
        // Runs until the very end: a stop asks verifiers to leave, and this closes those that do not.
        tokio::spawn(verifiers::sweep(Arc::clone(app.verifier_host()), stopping_ops.clone()));
        let ops = Listening::start(ready.ops, service(Face::Ops, &app), app.seats(), stopping_ops);
        for tls in tls.all() {
            tokio::spawn(tls.follow(stopping.clone()));
        }
        tokio::spawn(count_keys(app.clone(), stopping.clone()));
        if let Some(schedule) = app.settings().backup.clone() {
            tokio::spawn(backup::schedule::run(
                Arc::clone(app.backups()),
                schedule,
                stopping.clone(),
            ));
        }
        tokio::spawn(denials::follow(
            Arc::clone(app.denials()),
            Arc::clone(app.shared_authority()),
            stopping.clone(),
        ));
        tokio::spawn(run_background_tasks(app.clone(), stopping));
        Self {
            addresses: ready.addresses,
            has_shown_root_key: ready.has_shown_root_key,
            first_admin_link: ready.first_admin_link,
            serving,
            ops,
            stop,
            stop_ops,
            socket: operator_socket(&app.settings().data),
            opened,
            app,
        }
    }

    /// Stops: reports itself as not ready, lets running requests finish, and writes what is in memory.
    pub async fn stop(self) {
        self.app.readiness().stop();
        // An error means that no listener is left to stop.
        let _nobody = self.stop.send(true);
        for listener in self.serving {
            listener.finished().await;
        }
        if self
            .app
            .authority()
            .verifiers()
            .dismiss_all(VERIFIERS_PATIENCE_MS)
            .await
        {
            self.app.verifier_host().marker().remove();
        }
        // Entries first, then the checkpoint over them; the lease is released after the last write.
        self.app.authority().flush_activity().await;
        write_refusals(&self.app, true).await;
        self.app.log_signer().record().await;
        write_notes(&self.app).await;
        let written = self.app.denials().catch_up(self.app.authority(), true);
        // What is not written in this time is written by the next start.
        drop(tokio::time::timeout(DENIALS_PATIENCE, written).await);
        self.opened.stop().await;
        self.app.authority().close().await;
        // The operations listener stops last, so that it reports this process as not ready until the end.
        let _nobody = self.stop_ops.send(true);
        self.ops.finished().await;
        drop(std::fs::remove_file(&self.socket));
        remove_sockets(self.addresses.listen.iter().chain(&self.addresses.check_listen));
    }
}

/// Returns what a listener needs to answer the requests of a face.
fn service(face: Face, app: &App) -> Arc<FaceService> {
    Arc::new(FaceService {
        face,
        verdicts: Arc::clone(app.verdict_service()),
        readiness: Arc::clone(app.readiness()),
        monitor: Arc::clone(app.monitor()),
        backups: Arc::clone(app.backups()),
        restores: Arc::clone(app.restores()),
        is_public_by_tls: app.settings().is_public_by_tls(),
    })
}

/// Returns the path of the socket for processes that may read the data directory.
pub fn operator_socket(data: &Path) -> PathBuf {
    data.join(OPERATOR_SOCKET)
}

fn start_number() -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    OsEntropy.fill(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

/// Counts the keys for the metrics. Each count reads all keys, so the pauses keep it to a hundredth of the time.
async fn count_keys(app: App, mut stopping: watch::Receiver<bool>) {
    loop {
        let began = Instant::now();
        match app.authority().census().await {
            Ok(census) => app.numbers().note_census(census),
            Err(error) => tracing::debug!(%error, "cannot count the keys"),
        }
        let pause = began.elapsed().saturating_mul(CENSUS_SHARE).max(CENSUS_INTERVAL);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopping.wait_for(|&stopping| stopping) => return,
        }
    }
}

/// Writes what the next start must know of the database's history, on a blocking thread.
async fn write_notes(app: &App) {
    let Some(node) = app.authority().node().map(Arc::clone) else {
        return;
    };
    let written = tokio::task::spawn_blocking(move || node.write_notes()).await;
    if let Ok(Err(error)) = written {
        tracing::error!(%error, "cannot write this node's record of the database's history");
    }
}

async fn write_refusals(app: &App, all: bool) {
    if let Err(error) = app.authority().audit().flush_refusals(all).await {
        tracing::warn!(%error, "cannot record the counts of refused calls");
    }
}

/// Runs the background work once a second, independent of requests.
async fn run_background_tasks(app: App, mut stopping: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(HOUSEKEEPING_INTERVAL);
    let mut invariants = InvariantLog::default();
    let mut restores = restored::RestoreWatch::default();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopping.wait_for(|&stopping| stopping) => break,
        }
        app.authority().write_activity().await;
        app.authority().tidy_meters().await;
        if let Err(error) = app.authority().keys().write_down_lapsed().await {
            tracing::warn!(%error, "cannot record lapsed revocations");
        }
        if let Some(node) = app.authority().node()
            && let Err(error) = node.tidy().await
        {
            tracing::debug!(%error, "cannot reconcile the records of other nodes");
        }
        restores.look(app.authority()).await;
        write_notes(&app).await;
        write_refusals(&app, false).await;
        app.log_signer().record().await;
        app.authority().probe_failing_writes().await;
        invariants.look(app.authority());
    }
}
