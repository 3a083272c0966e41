//! Collects facts. This module judges nothing and changes nothing.

use crate::monitor::Monitor;
use crate::settings::Settings;
use crate::tls::{Certificate, TlsFiles, load};
use crate::world::WallClock;
use keyreeve_authority::Inventory;
use keyreeve_authority::env::Clock as _;
use keyreeve_core::Timestamp;
use keyreeve_store::cluster::Durability;
use rustix::fs::statvfs;
use rustix::process::{Resource, getrlimit};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The facts that are judged.
#[derive(Debug)]
pub(super) struct DoctorFacts<'s> {
    pub(super) settings: &'s Settings,
    pub(super) now: Timestamp,
    pub(super) files: Files,
    pub(super) tls: Vec<TlsFact>,
    /// `None` if the data cannot be read now.
    pub(super) inventory: Option<Inventory>,
    /// The revision of the newest signed end of the log, or why it cannot be read; `None` if there is none.
    pub(super) checkpoint: Option<Result<u64, String>>,
    /// `None` if no server is running.
    pub(super) running: Option<Running>,
}

/// Facts about files and the system.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Files of the data directory that other users may read or write, with their modes.
    pub(super) open_data: Vec<(PathBuf, u32)>,
    /// Private TLS keys that every user may read.
    pub(super) open_tls_keys: Vec<(PathBuf, u32)>,
    /// The file with the first root key, if it still exists.
    pub(super) root_key: Option<PathBuf>,
    /// Free bytes on the disk of the data directory.
    pub(super) free_bytes: Option<u64>,
    /// Most open descriptors of this process.
    pub(super) descriptors: Option<u64>,
}

/// The TLS state of a listener.
#[derive(Debug)]
pub(super) struct TlsFact {
    pub(super) listener: &'static str,
    pub(super) certificate: Option<Certificate>,
    pub(super) complaint: Option<String>,
}

/// Facts that only a running server has.
#[derive(Debug)]
pub(super) struct Running {
    /// Difference between its time and the machine's, in milliseconds.
    pub(super) skew_ms: u64,
    /// With several nodes: the state of this one.
    pub(super) node: Option<NodeFact>,
}

/// The state of a node.
#[derive(Debug)]
pub(super) struct NodeFact {
    pub(super) lease_ms: u64,
    pub(super) durability: Durability,
    pub(super) has_hints: bool,
}

impl<'s> DoctorFacts<'s> {
    /// Collects what is available without a server.
    pub(super) fn at_rest(settings: &'s Settings) -> Self {
        Self {
            settings,
            now: WallClock.now(),
            files: Files::look(settings),
            tls: tls_at_rest(settings),
            inventory: None,
            checkpoint: crate::offline::kept_checkpoint(&settings.data),
            running: None,
        }
    }

    /// Collects what a running server knows.
    pub(super) async fn running(monitor: &Monitor, settings: &'s Settings) -> Self {
        let reports = monitor.tls.iter().map(crate::tls::Tls::report);
        let tls = reports.map(|report| TlsFact {
            listener: report.name,
            certificate: Some(report.certificate),
            complaint: report.complaint,
        });
        let machine = WallClock.now();
        let node = monitor.authority.node().map(|node| NodeFact {
            lease_ms: node.lease_ms(),
            durability: node.health().durability,
            has_hints: node.health().hints > 0,
        });
        Self {
            settings,
            now: machine,
            files: Files::look(settings),
            tls: tls.collect(),
            inventory: monitor.authority.inventory().await.ok(),
            checkpoint: monitor
                .log_signer
                .checkpoints()
                .newest()
                .map(|newest| Ok(newest.revision)),
            running: Some(Running {
                skew_ms: machine.millis().abs_diff(monitor.authority.now().millis()),
                node,
            }),
        }
    }
}

impl Files {
    fn look(settings: &Settings) -> Self {
        let mut open_data: Vec<_> = open_to(&settings.data, 0o077).into_iter().collect();
        let inside = std::fs::read_dir(&settings.data).into_iter().flatten().flatten();
        // Sockets are skipped: their modes are the server's own, and the directory's mode protects them.
        let files = inside.map(|entry| entry.path()).filter(|path| path.is_file());
        open_data.extend(files.filter_map(|path| open_to(&path, 0o077)));
        open_data.sort();
        let mut tls_keys: Vec<_> = tls_files(settings).map(|(_, files)| &files.key).collect();
        tls_keys.dedup();
        let (free_bytes, descriptors) = (free_bytes(&settings.data), getrlimit(Resource::Nofile).current);
        Self {
            open_data,
            open_tls_keys: tls_keys.into_iter().filter_map(|key| open_to(key, 0o007)).collect(),
            root_key: settings.root_key_file.clone().filter(|path| path.exists()),
            free_bytes,
            descriptors,
        }
    }
}

/// Returns the file with its mode, if the mode has any of these bits.
fn open_to(path: &Path, bits: u32) -> Option<(PathBuf, u32)> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & bits != 0).then(|| (path.to_owned(), mode))
}

fn free_bytes(path: &Path) -> Option<u64> {
    let disk = statvfs(path).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn tls_files(settings: &Settings) -> impl Iterator<Item = (&'static str, &TlsFiles)> {
    let api = settings.tls.iter().map(|files| ("listen", files));
    api.chain(settings.check_tls.iter().map(|files| ("check_listen", files)))
}

fn tls_at_rest(settings: &Settings) -> Vec<TlsFact> {
    let look = |(listener, files): (&'static str, &TlsFiles)| match load(files) {
        Ok(loaded) => TlsFact {
            listener,
            certificate: Some(loaded.certificate),
            complaint: None,
        },
        Err(error) => TlsFact {
            listener,
            certificate: None,
            complaint: Some(error.to_string()),
        },
    };
    tls_files(settings).map(look).collect()
}
