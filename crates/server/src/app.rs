//! All parts of a server, connected. Only the start of a process, the list of routes and the connection of the dashboard
//! name [`App`]; everything else takes the part that it needs (`crates/cli/tests/house.rs`).

use crate::backup::serve::BackupService;
use crate::denials::DenialsKeeper;
use crate::edge::AllSeats;
use crate::http::GitHubKeys;
use crate::http::oauth::Issuer;
use crate::http::oauth::introspect::LongestExpiry;
use crate::log_signer::LogSigner;
use crate::management::Management;
use crate::monitor::Monitor;
use crate::numbers::Numbers;
use crate::open::OpenStore;
use crate::readiness::Readiness;
use crate::restored::RestoreService;
use crate::settings::Settings;
use crate::tls::Tls;
use crate::verdict_service::VerdictService;
use crate::verifiers::{Marker, VerifierHost};
use axum::extract::FromRef;
use keyreeve_authority::Authority;
use keyreeve_web::address_rate_limits::AddressRateLimits;
use keyreeve_web::walks::Walks;
use std::sync::Arc;

/// The parts of a server. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct App(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    authority: Arc<Authority>,
    numbers: Arc<Numbers>,
    address_rate_limits: Arc<AddressRateLimits>,
    verdict_service: Arc<VerdictService>,
    management: Arc<Management>,
    log_signer: Arc<LogSigner>,
    walks: Arc<Walks>,
    github_keys: Arc<GitHubKeys>,
    issuer: Arc<Issuer>,
    verifier_host: Arc<VerifierHost>,
    readiness: Arc<Readiness>,
    monitor: Arc<Monitor>,
    seats: Arc<AllSeats>,
    backups: Arc<BackupService>,
    denials: Arc<DenialsKeeper>,
    restores: Arc<RestoreService>,
    settings: Arc<Settings>,
}

impl App {
    /// `start` distinguishes this process from others; any random number.
    pub(crate) fn new(store: OpenStore, marker: Marker, tls: Vec<Tls>, settings: Settings, start: u64) -> Self {
        let OpenStore {
            authority,
            checkpoints,
            database,
        } = store;
        let process = format!("{start:016x}");
        let settings = Arc::new(settings);
        let numbers = Arc::new(Numbers::new(authority.now()));
        let authority = Arc::new(authority);
        let address_rate_limits = Arc::new(AddressRateLimits::default());
        let verdict_service = Arc::new(VerdictService::new(
            Arc::clone(&authority),
            Arc::clone(&address_rate_limits),
            Arc::clone(&numbers),
            settings.trusted_proxies.clone(),
            &process,
        ));
        let node_name = settings.node_name.clone();
        let verifier_host = Arc::new(VerifierHost::new(Arc::clone(&authority), marker, process, node_name));
        let readiness = Arc::new(Readiness::new(Arc::clone(&authority)));
        let log_signer = Arc::new(LogSigner::new(Arc::clone(&authority), checkpoints));
        let seats = Arc::new(AllSeats::share_out());
        let backups = Arc::new(BackupService::new(
            Arc::clone(&authority),
            Arc::clone(&log_signer),
            database,
            Arc::clone(&settings),
        ));
        let denials = Arc::new(DenialsKeeper::in_directory(&settings.data));
        let monitor = Arc::new(Monitor {
            authority: Arc::clone(&authority),
            numbers: Arc::clone(&numbers),
            readiness: Arc::clone(&readiness),
            log_signer: Arc::clone(&log_signer),
            verifier_host: Arc::clone(&verifier_host),
            seats: Arc::clone(&seats),
            backups: Arc::clone(&backups),
            denials: Arc::clone(&denials),
            tls,
            settings: Arc::clone(&settings),
        });
        Self(Arc::new(Inner {
            management: Arc::new(Management::new(Arc::clone(&authority), Arc::clone(&numbers))),
            walks: Arc::default(),
            github_keys: Arc::new(GitHubKeys::new(settings.github_keys.clone())),
            issuer: Arc::default(),
            restores: Arc::new(RestoreService::new(Arc::clone(&authority))),
            authority,
            numbers,
            address_rate_limits,
            verdict_service,
            log_signer,
            verifier_host,
            readiness,
            monitor,
            seats,
            backups,
            denials,
            settings,
        }))
    }

    /// The use cases.
    pub fn authority(&self) -> &Authority {
        &self.0.authority
    }

    /// Returns the use cases, to be shared with a background task.
    pub(crate) fn shared_authority(&self) -> &Arc<Authority> {
        &self.0.authority
    }

    /// Returns the settings of the server.
    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }
}

impl FromRef<App> for LongestExpiry {
    fn from_ref(app: &App) -> Self {
        Self(app.0.settings.introspection_max_exp_seconds)
    }
}

/// The parts, for the start of the process and the dashboard.
macro_rules! parts {
    ($($(#[$doc:meta])+ $part:ident: $type:ty;)+) => {
        impl App {
            $($(#[$doc])+ pub(crate) fn $part(&self) -> &Arc<$type> {
                &self.0.$part
            })+
        }
    };
}

parts! {
    /// Returns what every way to verify a key needs.
    verdict_service: VerdictService;
    /// Returns what an endpoint of the management API needs.
    management: Management;
    /// Returns what signs the end of the audit log.
    log_signer: LogSigner;
    /// Returns the queue of audit log verifications.
    walks: Walks;
    /// Returns the public name of this server.
    issuer: Issuer;
    /// Returns the rate limits by address.
    address_rate_limits: AddressRateLimits;
    /// Returns what serves verifiers inside applications.
    verifier_host: VerifierHost;
    /// Returns whether this process can verify.
    readiness: Readiness;
    /// Returns what the operations listener reports.
    monitor: Monitor;
    /// Returns the counters and histograms of this process.
    numbers: Numbers;
    /// Returns the seats for connections.
    seats: AllSeats;
    /// Returns what makes backups.
    backups: BackupService;
    /// Returns what writes denials into the data directory.
    denials: DenialsKeeper;
    /// Returns what answers commands about a restore.
    restores: RestoreService;
}

/// The parts that are the state of a handler.
macro_rules! states {
    ($($part:ident: $type:ty;)+) => {
        $(impl FromRef<App> for Arc<$type> {
            fn from_ref(app: &App) -> Self {
                Self::clone(&app.0.$part)
            }
        })+
    };
}

states! {
    authority: Authority;
    verdict_service: VerdictService;
    management: Management;
    log_signer: LogSigner;
    walks: Walks;
    github_keys: GitHubKeys;
    issuer: Issuer;
    address_rate_limits: AddressRateLimits;
    verifier_host: VerifierHost;
}
