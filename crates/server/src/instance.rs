//! A running instance: opened, founded if new, listening, and stopped without losing anything.

use crate::App;
use crate::checkpoints::Checkpoints;
use crate::edge::{Endpoint, Face, Listening, bind, bind_operator};
use crate::http::openapi;
use crate::listen::Listen;
use crate::open::{self, Opened};
use crate::settings::Settings;
use crate::tls::{Tls, TlsError};
use crate::verifiers::Marker;
use crate::world::OsEntropy;
use keyreeve_authority::Failure;
use keyreeve_authority::env::Entropy as _;
use keyreeve_authority::tenants::DEFAULT_TENANT;
use keyreeve_core::Secret;
use keyreeve_core::text::Slug;
use keyreeve_store::StoreError;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;

/// How often what verification leaves behind is written down.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(1);
/// How often keys are counted at most, and how much longer than a count the pause after it is at least.
const CENSUS_INTERVAL: Duration = Duration::from_secs(30);
const CENSUS_SHARE: u32 = 100;
/// How long a stop waits for the verifiers that hang on this process to go, in milliseconds.
const VERIFIERS_PATIENCE_MS: u64 = 2_000;
/// The socket for whoever may read the data directory.
const OPERATOR_SOCKET: &str = "operator.sock";

/// Why an instance did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The instance could not be founded or read.
    #[error("the instance could not be set up: {0}")]
    Founding(#[from] Failure),
    /// The database is there and must not be used like this.
    #[error("{0}")]
    Unsafe(String),
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
    /// The key that signs the audit log's checkpoints could not be read or made.
    #[error("cannot use the audit log's signing key in {path}: {error}")]
    Checkpoints {
        /// The data directory.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The first root key could not be written to its file.
    #[error("cannot write the root key to {path}: {error}. Nothing was set up; name a file that does not exist")]
    RootKeyFile {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// A running instance.
#[derive(Debug)]
pub struct Instance {
    app: App,
    /// Where it really listens.
    pub addresses: Addresses,
    /// The first root key, if this start founded the instance and no file was named for it.
    pub first_root_key: Option<FirstRootKey>,
    /// A link for the first administrator, as long as nobody can sign in to the tenant `default`.
    pub first_admin_link: Option<FirstAdminLink>,
    serving: Vec<Listening>,
    ops: Listening,
    stop: watch::Sender<bool>,
    stop_ops: watch::Sender<bool>,
    socket: PathBuf,
    opened: Opened,
}

/// Where an instance really listens.
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
    /// The address of the network at which the API is reached from this machine, if it listens at one.
    pub fn api(&self) -> Option<SocketAddr> {
        reachable(&self.listen)
    }
}

/// The plaintext of the first root key, for the one line that shows it.
pub struct FirstRootKey(Secret);

impl FirstRootKey {
    /// The secret.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl std::fmt::Debug for FirstRootKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FirstRootKey(..)")
    }
}

/// The address by which the first administrator sets a password. It works once, for three days.
pub struct FirstAdminLink(String);

impl FirstAdminLink {
    /// The address.
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
    /// Opens the store, founds it if it is empty, and listens.
    pub async fn start(settings: &Settings) -> Result<Self, StartError> {
        // Before anything is made: what is wrong with it is mended without a server.
        let tls = Encryption::open(settings)?;
        let (authority, opened) = open::open(settings).await?;
        let checkpoints = checkpoints(&settings.data)?;
        let marker = Marker::in_directory(&settings.data);
        // Among several nodes a former process's verifiers end with its session.
        if authority.node().is_none()
            && let Some(lease_ms) = marker.former_lease_ms()
        {
            authority.mind_former_children(lease_ms);
        }
        let app = App::new(
            authority,
            checkpoints,
            marker,
            tls.all(),
            settings.clone(),
            start_number()?,
        );
        let first_root_key = found(&app, settings).await?;
        app.authority().catch_up().await?;
        let (api, listen) = bind_all(&settings.listen, tls.api.as_ref()).await?;
        let origin = origin(&listen, tls.api.as_ref());
        let bound = first_of_network(&listen);
        app.issuer().settle(settings.public_url.as_deref(), bound, &origin);
        let (check, check_listen) = bind_all(&settings.check_listen, tls.check.as_ref()).await?;
        let ops = Listen::Tcp(settings.ops_listen);
        let (ops, ops_listen) = bind(&ops, None).await.map_err(at(&ops))?;
        let socket = settings.data.join(OPERATOR_SOCKET);
        let operator = bind_operator(&socket).map_err(at(socket.display()))?;
        let (stop, stopping) = watch::channel(false);
        let router = openapi::router(app.clone());
        let mut faces = vec![(operator, Face::Api(router.clone()))];
        faces.extend(api.into_iter().map(|api| (api, Face::Api(router.clone()))));
        faces.extend(check.into_iter().map(|check| (check, Face::Check)));
        let start = |(endpoint, face)| Listening::start(endpoint, face, app.clone(), stopping.clone());
        let serving = faces.into_iter().map(start).collect();
        let (stop_ops, stopping_ops) = watch::channel(false);
        let ops = Listening::start(ops, Face::Ops, app.clone(), stopping_ops);
        for tls in tls.all() {
            tokio::spawn(tls.follow(stopping.clone()));
        }
        tokio::spawn(count_keys(app.clone(), stopping.clone()));
        tokio::spawn(keep_house(app.clone(), stopping));
        let first_admin_link = first_admin_link(&app, origin).await?;
        let addresses = Addresses {
            listen,
            check_listen,
            ops_listen,
        };
        Ok(Self {
            app,
            addresses,
            first_root_key,
            first_admin_link,
            serving,
            ops,
            stop,
            stop_ops,
            socket,
            opened,
        })
    }

    /// Stops: says that it is not ready, lets running requests finish, writes down what is in memory.
    pub async fn stop(self) {
        self.app.stop();
        // Nobody listening is fine: then there is nothing to stop.
        let _nobody = self.stop.send(true);
        for listener in self.serving {
            listener.finished().await;
        }
        if self.app.authority().dismiss_children(VERIFIERS_PATIENCE_MS).await {
            self.app.marker().remove();
        }
        self.app.authority().flush_activity().await;
        self.app.record_checkpoint().await;
        self.opened.stop().await;
        self.app.authority().close().await;
        // To the end there is somebody who says that this process is not ready.
        let _nobody = self.stop_ops.send(true);
        self.ops.finished().await;
        drop(std::fs::remove_file(&self.socket));
        for place in self.addresses.listen.iter().chain(&self.addresses.check_listen) {
            if let Listen::Unix(path) = place {
                drop(std::fs::remove_file(path));
            }
        }
    }
}

/// The TLS of the listeners that have it.
struct Encryption {
    api: Option<Tls>,
    check: Option<Tls>,
}

impl Encryption {
    fn open(settings: &Settings) -> Result<Self, TlsError> {
        let open = |name, files: &Option<_>| files.as_ref().map(|files| Tls::open(name, files)).transpose();
        Ok(Self {
            api: open("listen", &settings.tls)?,
            check: open("check_listen", &settings.check_tls)?,
        })
    }

    fn all(&self) -> Vec<Tls> {
        self.api.iter().chain(&self.check).cloned().collect()
    }
}

async fn bind_all(places: &[Listen], tls: Option<&Tls>) -> Result<(Vec<Endpoint>, Vec<Listen>), StartError> {
    let (mut endpoints, mut bound) = (Vec::new(), Vec::new());
    for place in places {
        let (endpoint, at_last) = bind(place, tls).await.map_err(at(place))?;
        endpoints.push(endpoint);
        bound.push(at_last);
    }
    Ok((endpoints, bound))
}

/// The first address of the network among some places. Where everything is listened to, this machine's own address is
/// one that works.
fn reachable(places: &[Listen]) -> Option<SocketAddr> {
    let address = first_of_network(places)?;
    Some(match address.ip().is_unspecified() {
        true => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        false => address,
    })
}

fn first_of_network(places: &[Listen]) -> Option<SocketAddr> {
    places.iter().find_map(|place| match place {
        Listen::Tcp(address) => Some(*address),
        Listen::Unix(_) => None,
    })
}

/// The path of the socket for whoever may read the data directory.
pub fn operator_socket(data: &Path) -> PathBuf {
    data.join(OPERATOR_SOCKET)
}

fn at(address: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> StartError {
    move |error| StartError::Listen {
        address: address.to_string(),
        error,
    }
}

fn checkpoints(data: &Path) -> Result<Checkpoints, StartError> {
    let mut entropy = [0; 32];
    OsEntropy.fill(&mut entropy).map_err(Failure::from)?;
    Checkpoints::open_directory(data, entropy).map_err(|error| StartError::Checkpoints {
        path: data.to_owned(),
        error,
    })
}

fn start_number() -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    OsEntropy.fill(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

/// Founds an empty store. A file for the root key is made before anything is founded: it must not be lost.
async fn found(app: &App, settings: &Settings) -> Result<Option<FirstRootKey>, StartError> {
    let Some(path) = &settings.root_key_file else {
        return Ok(app.authority().found().await?.map(|made| FirstRootKey(made.secret)));
    };
    if app.authority().is_founded().await? {
        return Ok(None);
    }
    let failed = |error| StartError::RootKeyFile {
        path: path.clone(),
        error,
    };
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    if let Some(made) = app.authority().found().await? {
        writeln!(file, "{}", made.secret.expose())
            .and_then(|()| file.sync_all())
            .map_err(failed)?;
    }
    Ok(None)
}

/// Where browsers find the API: by TLS under a name that the certificate has. Behind sockets only, whoever leads to them
/// knows the name under which browsers come.
fn origin(listen: &[Listen], tls: Option<&Tls>) -> String {
    let Some(address) = reachable(listen) else {
        return String::new();
    };
    let Some(tls) = tls else {
        return format!("http://{address}");
    };
    match tls.certificate().host_for(address.ip()) {
        Some(name) => format!("https://{name}:{}", address.port()),
        None => format!("https://{address}"),
    }
}

/// A link for the tenant that every instance has, if nobody can sign in there.
async fn first_admin_link(app: &App, origin: String) -> Result<Option<FirstAdminLink>, StartError> {
    let tenant = Slug::parse(DEFAULT_TENANT).map_err(|error| Failure::Internal(error.to_string()))?;
    let token = app.authority().first_admin_link(&tenant).await?;
    Ok(token.map(|token| FirstAdminLink(format!("{origin}/setup?token={}", token.expose()))))
}

/// Counts the keys now and then, for the metrics: each count reads all of them, and is worth a hundredth of the time.
async fn count_keys(app: App, mut stopping: watch::Receiver<bool>) {
    loop {
        let began = Instant::now();
        match app.authority().census().await {
            Ok(census) => app.numbers().note_census(census),
            Err(error) => tracing::debug!(%error, "the keys could not be counted"),
        }
        let pause = began.elapsed().saturating_mul(CENSUS_SHARE).max(CENSUS_INTERVAL);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopping.wait_for(|&stopping| stopping) => return,
        }
    }
}

/// What happens once a second, whatever is asked.
async fn keep_house(app: App, mut stopping: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(HOUSEKEEPING_INTERVAL);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopping.wait_for(|&stopping| stopping) => break,
        }
        app.authority().write_activity().await;
        app.authority().tidy_meters().await;
        if let Err(error) = app.authority().write_down_lapsed().await {
            tracing::warn!(%error, "lapsed revocations could not be written down");
        }
        if let Some(node) = app.authority().node()
            && let Err(error) = node.tidy().await
        {
            tracing::debug!(%error, "the other nodes could not be looked after");
        }
        app.record_checkpoint().await;
    }
}
