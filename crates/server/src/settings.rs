//! How a server is set up. Where each value came from (flag, environment, file, default) is the command line's
//! business; here they are complete.

pub use crate::http::TrustedProxy;
use crate::listen::Listen;
use crate::tls::TlsFiles;
use hyper::Uri;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// Secrets that are remembered by default: a million keys take about 200 MB.
pub const CACHE_ENTRIES_DEFAULT: usize = 2_000_000;

/// How long a lease lasts unless somebody says otherwise: 15 s.
pub const LEASE_MS_DEFAULT: u64 = 15_000;
/// The shortest lease: 2 s.
pub const LEASE_MS_MIN: u64 = 2_000;
/// The longest lease: an hour.
pub const LEASE_MS_MAX: u64 = 3_600_000;

/// How far in the future the `exp` of an introspection may lie by default: a minute.
pub const INTROSPECTION_MAX_EXP_SECONDS_DEFAULT: u64 = 60;
/// The most it may be: an hour. Until then a gateway may remember that a key is good.
pub const INTROSPECTION_MAX_EXP_SECONDS_MAX: u64 = 3_600;

/// By which address a server is called from outside: `https://NAME[:PORT]`, or `http://` where only the machine itself
/// can be meant. Nothing else is in it, because clients put paths behind it (RFC 8414, section 2).
#[derive(Clone, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct PublicUrl(String);

impl FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no public address: write https://NAME or https://NAME:PORT and nothing else");
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

/// Where GitHub publishes the keys that its secret scanning signs with.
pub const GITHUB_KEYS_URL: &str = "https://api.github.com/meta/public_keys/secret_scanning";

/// Where the keys are that GitHub signs its leak reports with: an https address (http on this machine), a file in the
/// same form, or nowhere.
#[derive(Clone, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(try_from = "String")]
pub enum GitHubKeySource {
    /// Reports of GitHub are not taken.
    Off,
    /// A file.
    File(PathBuf),
    /// An address.
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

/// Whether a text is an https address, or an http one that can only mean this machine.
fn is_web_address(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let Some(authority) = uri.authority() else { return false };
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let is_local = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    let is_scheme_good = uri.scheme_str() == Some("https") || (uri.scheme_str() == Some("http") && is_local);
    is_scheme_good && !host.is_empty() && !text.contains('@')
}

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
    /// How long a verifier in an application may go on without its node at most, in milliseconds; `None` is as long as a
    /// node may go on without the database.
    pub child_lease_ms: Option<u64>,
    /// What this node is called in lists of nodes.
    pub node_name: String,
    /// Names of `KEYREEVE_*` variables that mean nothing.
    pub unknown_variables: Vec<String>,
    /// Refuse to work where an acknowledged change could be lost.
    pub require_sync: bool,
    /// Start by the clock as it is, although the audit log has entries from later.
    pub accept_clock: bool,
    /// By which address this server is called from outside, without a slash at its end.
    pub public_url: Option<String>,
    /// How far in the future the `exp` of an introspection may lie, in seconds.
    pub introspection_max_exp_seconds: u64,
    /// Where the keys are that GitHub signs its leak reports with.
    pub github_keys: GitHubKeySource,
    /// Proxies whose word on where a request comes from is taken.
    pub trusted_proxies: Vec<TrustedProxy>,
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
