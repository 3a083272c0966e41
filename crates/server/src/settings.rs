//! How a server is set up. Where each value came from (flag, environment, file, default) is the command line's
//! business; here they are complete.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Secrets that are remembered by default: a million keys take about 200 MB.
pub const CACHE_ENTRIES_DEFAULT: usize = 2_000_000;

/// Everything a server needs to know to start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The data directory; SQLite lies inside it.
    pub data: PathBuf,
    /// Where the API listens. Port 0 is any free one.
    pub listen: SocketAddr,
    /// Where only verification is answered.
    pub check_listen: SocketAddr,
    /// Where liveness, readiness and metrics are answered.
    pub ops_listen: SocketAddr,
    /// Where the first root key is written instead of to stdout.
    pub root_key_file: Option<PathBuf>,
    /// Most secrets to remember.
    pub cache_entries: usize,
}
