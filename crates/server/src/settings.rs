//! The complete settings of a server. The command line merges them from flags, environment, file and defaults.

pub use crate::http::TrustedProxy;
use crate::listen::Listen;
use crate::tls::TlsFiles;
use hyper::Uri;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// Default number of remembered secrets. A million keys take about 200 MB.
pub const CACHE_ENTRIES_DEFAULT: usize = 2_000_000;

/// Default length of a lease: 15 s.
pub const LEASE_MS_DEFAULT: u64 = 15_000;
/// The shortest lease: 2 s.
pub const LEASE_MS_MIN: u64 = 2_000;
/// The longest lease: an hour.
pub const LEASE_MS_MAX: u64 = 3_600_000;

/// Default of the largest distance of an introspection's `exp` from now: a minute.
pub const INTROSPECTION_MAX_EXP_SECONDS_DEFAULT: u64 = 60;
/// Its upper bound: an hour. A gateway may accept a revoked key until `exp`.
pub const INTROSPECTION_MAX_EXP_SECONDS_MAX: u64 = 3_600;

/// The public URL of a server: `https://NAME[:PORT]`, or `http://` for this machine only. It has no path or query,
/// because clients append paths to it (RFC 8414, section 2).
#[derive(Clone, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct PublicUrl(String);

impl FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is not a public address: write https://NAME or https://NAME:PORT and nothing else");
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong());
        };
        let has_more = uri.path() != "/" || uri.query().is_some() || text.contains('#');
        if has_more || !is_web_address(text) {
            return Err(wrong());
        }
        Ok(Self(format!("{scheme}://{}", authority.as_str().to_ascii_lowercase())))
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<PublicUrl> for String {
    fn from(url: PublicUrl) -> Self {
        url.0
    }
}

/// Where GitHub publishes the public keys of its secret scanning.
pub const GITHUB_KEYS_URL: &str = "https://api.github.com/meta/public_keys/secret_scanning";

/// The source of the public keys for GitHub's leak reports: an https URL (http on this machine), a file in the same
/// format, or off.
#[derive(Clone, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(try_from = "String")]
pub enum GitHubKeySource {
    /// Reports of GitHub are refused.
    Off,
    /// A file.
    File(PathBuf),
    /// A URL.
    Url(String),
}

impl Default for GitHubKeySource {
    fn default() -> Self {
        Self::Url(GITHUB_KEYS_URL.to_owned())
    }
}

impl FromStr for GitHubKeySource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            None if text.is_empty() => Err("it is empty: write an https address, a file, or off".to_owned()),
            None if text == "off" => Ok(Self::Off),
            None => Ok(Self::File(text.into())),
            Some(_) if is_web_address(text) => Ok(Self::Url(text.to_owned())),
            Some(_) => Err(format!("{text:?} is no https address")),
        }
    }
}

impl TryFrom<String> for GitHubKeySource {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for GitHubKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Url(url) => f.write_str(url),
        }
    }
}

/// Returns whether a text is an https URL, or an http one of this machine.
fn is_web_address(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let Some(authority) = uri.authority() else { return false };
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let is_local = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    let is_scheme_good = uri.scheme_str() == Some("https") || (uri.scheme_str() == Some("http") && is_local);
    is_scheme_good && !host.is_empty() && !text.contains('@')
}

/// The settings that a server needs to start.
#[derive(Clone)]
pub struct Settings {
    /// The data directory, which contains the SQLite database.
    pub data: PathBuf,
    /// Listen addresses of the API.
    pub listen: Vec<Listen>,
    /// Listen addresses for verification only.
    pub check_listen: Vec<Listen>,
    /// TLS of the API; `None` is plain HTTP.
    pub tls: Option<TlsFiles>,
    /// TLS of the check listener.
    pub check_tls: Option<TlsFiles>,
    /// Listen address of liveness, readiness and metrics.
    pub ops_listen: SocketAddr,
    /// File for the first root key, instead of stdout.
    pub root_key_file: Option<PathBuf>,
    /// Most secrets to remember.
    pub cache_entries: usize,
    /// URL of a Postgres database that several nodes share, instead of SQLite in the data directory.
    pub database: Option<String>,
    /// How long a node may verify without the database, in milliseconds; `None` is the value of the other nodes.
    pub lease_ms: Option<u64>,
    /// How long a verifier inside an application may verify without its node at most, in milliseconds; `None` is the
    /// node's own lease.
    pub child_lease_ms: Option<u64>,
    /// Name of this node in lists of nodes.
    pub node_name: String,
    /// Names of `KEYREEVE_*` variables that are no settings.
    pub unknown_variables: Vec<String>,
    /// Refuse to work with a database that could lose an acknowledged change.
    pub require_sync: bool,
    /// Start by the present clock, although the audit log has later entries.
    pub accept_clock: bool,
    /// Public URL of this server, without a trailing slash.
    pub public_url: Option<String>,
    /// Largest distance of an introspection's `exp` from now, in seconds.
    pub introspection_max_exp_seconds: u64,
    /// Source of the public keys for GitHub's leak reports.
    pub github_keys: GitHubKeySource,
    /// Proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<TrustedProxy>,
}

impl Settings {
    /// Returns whether the public URL uses https, by a proxy in front that terminates TLS.
    pub(crate) fn is_public_by_tls(&self) -> bool {
        let url = self.public_url.as_deref();
        url.is_some_and(|url| url.starts_with("https://"))
    }

    /// Returns settings of an instance that listens on unannounced loopback ports: for temporary servers and tests.
    pub fn on_loopback(data: PathBuf) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            data,
            listen: vec![Listen::Tcp(any)],
            check_listen: vec![Listen::Tcp(any)],
            tls: None,
            check_tls: None,
            ops_listen: any,
            root_key_file: None,
            cache_entries: CACHE_ENTRIES_DEFAULT,
            database: None,
            lease_ms: None,
            child_lease_ms: None,
            node_name: "dev".to_owned(),
            unknown_variables: Vec::new(),
            require_sync: false,
            accept_clock: false,
            public_url: None,
            introspection_max_exp_seconds: INTROSPECTION_MAX_EXP_SECONDS_DEFAULT,
            github_keys: GitHubKeySource::Off,
            trusted_proxies: Vec::new(),
        }
    }
}

impl fmt::Debug for Settings {
    /// Omits the database's URL, which may contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("data", &self.data)
            .field("listen", &self.listen)
            .field("node_name", &self.node_name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn githubs_keys_come_from_an_address_a_file_or_nowhere() {
        let read = |text: &str| text.parse::<GitHubKeySource>();
        assert_eq!(read("off"), Ok(GitHubKeySource::Off));
        assert_eq!(read("keys.json"), Ok(GitHubKeySource::File("keys.json".into())));
        assert_eq!(read(GITHUB_KEYS_URL), Ok(GitHubKeySource::default()));
        assert!(read("http://127.0.0.1:1/x").is_ok());
        for wrong in [
            "",
            "http://example.com/keys",
            "ftp://x/y",
            "https://me@x/y",
            "file:///x",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_public_address_is_a_name_and_nothing_more() {
        let read = |text: &str| text.parse::<PublicUrl>().map(String::from);
        for (text, url) in [
            ("https://keys.example.com", "https://keys.example.com"),
            ("https://Keys.Example.com:8443/", "https://keys.example.com:8443"),
            ("http://localhost:7300", "http://localhost:7300"),
            ("http://127.0.0.1", "http://127.0.0.1"),
            ("http://[::1]:7300", "http://[::1]:7300"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(url));
        }
        for wrong in [
            "",
            "keys.example.com",
            "/keys",
            "http://keys.example.com",
            "ftp://localhost",
            "https://",
            "https://keys.example.com/path",
            "https://keys.example.com?x=1",
            "https://keys.example.com#x",
            "https://me:secret@keys.example.com",
            "https://keys example.com",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
