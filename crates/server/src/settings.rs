//! How a server is set up. Where each value came from (flag, environment, file, default) is the command line's
//! business; here they are complete.

use crate::listen::Listen;
use crate::tls::TlsFiles;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Secrets that are remembered by default: a million keys take about 200 MB.
pub const CACHE_ENTRIES_DEFAULT: usize = 2_000_000;

/// How long a lease lasts unless somebody says otherwise: 15 s.
pub const LEASE_MS_DEFAULT: u64 = 15_000;
/// The shortest lease: 2 s.
pub const LEASE_MS_MIN: u64 = 2_000;
/// The longest lease: an hour.
pub const LEASE_MS_MAX: u64 = 3_600_000;

/// Everything a server needs to know to start.
#[derive(Clone)]
pub struct Settings {
    /// The data directory; SQLite lies inside it.
    pub data: PathBuf,
    /// Where the API listens.
    pub listen: Vec<Listen>,
    /// Where only verification is answered.
    pub check_listen: Vec<Listen>,
    /// The TLS of the API; without it, it is plain HTTP.
    pub tls: Option<TlsFiles>,
    /// The TLS of where only verification is answered.
    pub check_tls: Option<TlsFiles>,
    /// Where liveness, readiness and metrics are answered.
    pub ops_listen: SocketAddr,
    /// Where the first root key is written instead of to stdout.
    pub root_key_file: Option<PathBuf>,
    /// Most secrets to remember.
    pub cache_entries: usize,
    /// The URL of a Postgres database, which several nodes share, instead of SQLite in the data directory.
    pub database: Option<String>,
    /// How long a verifier may go on without the database, in milliseconds; `None` is what the other nodes have.
    pub lease_ms: Option<u64>,
    /// What this node is called in lists of nodes.
    pub node_name: String,
    /// Names of `KEYREEVE_*` variables that mean nothing.
    pub unknown_variables: Vec<String>,
    /// Refuse to work where an acknowledged change could be lost.
    pub require_sync: bool,
}

impl fmt::Debug for Settings {
    /// Without the database's URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("data", &self.data)
            .field("listen", &self.listen)
            .field("node_name", &self.node_name)
            .finish_non_exhaustive()
    }
}
