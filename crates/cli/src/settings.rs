//! Settings of the server, in order of precedence: flag, `KEYREEVE_*` variable, `keyreeve.toml`, default.

mod tls;

use crate::commands::duration;
use crate::environment;
use crate::exit::Usage;
use anyhow::Context as _;
use clap::{Args, CommandFactory as _, ValueEnum};
use keyreeve_server::listen::Listen;
use keyreeve_server::settings::{
    CACHE_ENTRIES_DEFAULT, GitHubKeySource, INTROSPECTION_MAX_EXP_SECONDS_DEFAULT, INTROSPECTION_MAX_EXP_SECONDS_MAX,
    LEASE_MS_MAX, LEASE_MS_MIN, PublicUrl, Settings, TrustedProxy,
};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tls::TlsOptions;
use tracing::level_filters::LevelFilter;

/// The file that is read by default, if it exists.
const FILE_DEFAULT: &str = "keyreeve.toml";

/// The server's options. Omitted ones come from the file, or have their defaults.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The data directory, which contains the SQLite database [default: ./keyreeve-data]
    #[arg(long, env = "KEYREEVE_DATA")]
    data: Option<PathBuf>,
    /// A Postgres database that several nodes share, instead of SQLite
    #[arg(
        long,
        env = "KEYREEVE_DATABASE_URL",
        hide_env_values = true,
        value_name = "postgres://USER@HOST/NAME"
    )]
    database: Option<String>,
    /// Listen addresses of the API: `ADDRESS:PORT` or `unix:PATH`, separated by commas; port 0 selects a free one
    /// [default: 127.0.0.1:7300]
    #[arg(long, env = "KEYREEVE_LISTEN", value_name = "PLACE", value_delimiter = ',')]
    listen: Option<Vec<Listen>>,
    /// Listen addresses for verification only, likewise [default: 127.0.0.1:7301]
    #[arg(long, env = "KEYREEVE_CHECK_LISTEN", value_name = "PLACE", value_delimiter = ',')]
    check_listen: Option<Vec<Listen>>,
    /// Listen address of /livez, /readyz and /metrics [default: 127.0.0.1:7302]
    #[arg(long, env = "KEYREEVE_OPS_LISTEN", value_name = "ADDR")]
    ops_listen: Option<SocketAddr>,
    #[command(flatten)]
    tls: TlsOptions,
    /// Write the first root key to this file (0600, never overwritten) instead of standard output
    #[arg(long, env = "KEYREEVE_ROOT_KEY_FILE", value_name = "FILE")]
    root_key_file: Option<PathBuf>,
    /// Most secrets to remember; a million take about 200 MB [default: 2000000]
    #[arg(long, env = "KEYREEVE_CACHE_ENTRIES", value_name = "N")]
    cache_entries: Option<usize>,
    /// How long this node may verify without the database, and a verifier in an application without its node; a
    /// revocation waits that long for an unreachable one. The same on all nodes of a database [default: 15s]
    #[arg(long, env = "KEYREEVE_LEASE", value_name = "DURATION", value_parser = lease)]
    lease: Option<Duration>,
    /// How long a verifier in an application may verify without its node, at most. A shorter time makes revocations
    /// faster after an application crashed, and ends its verification sooner while its node restarts [default: as
    /// --lease]
    #[arg(long, env = "KEYREEVE_CHILD_LEASE", value_name = "DURATION", value_parser = lease)]
    child_lease: Option<Duration>,
    /// Name of this node in lists of nodes [default: the machine's name]
    #[arg(long, env = "KEYREEVE_NODE_NAME", value_name = "NAME")]
    node_name: Option<String>,
    /// Refuse to work with a database that could lose an acknowledged change
    #[arg(long, env = "KEYREEVE_REQUIRE_SYNC")]
    require_sync: bool,
    /// Start by the present clock, although the audit log has later entries: the clock was ahead, and is right now
    #[arg(long, env = "KEYREEVE_ACCEPT_CLOCK")]
    accept_clock: bool,
    /// Public URL of the API, for OAuth metadata and links: `https://NAME[:PORT]` [default: the first address of
    /// --listen, if only this machine can reach it]
    #[arg(long, env = "KEYREEVE_PUBLIC_URL", value_name = "URL")]
    public_url: Option<PublicUrl>,
    /// Proxies in front of the API whose `X-Forwarded-For` is trusted: addresses, networks, or `unix` for those that
    /// connect by a Unix socket; separated by commas. The client's address is then the last hop that is none of them
    /// [default: none]
    #[arg(
        long,
        env = "KEYREEVE_TRUSTED_PROXIES",
        value_name = "NETWORK",
        value_delimiter = ','
    )]
    trusted_proxies: Option<Vec<TrustedProxy>>,
    /// How long a gateway may accept a key after an OAuth introspection; 1s to 1h [default: 60s]
    #[arg(long, env = "KEYREEVE_INTROSPECTION_MAX_EXP", value_name = "DURATION", value_parser = introspection_max_exp)]
    introspection_max_exp: Option<Seconds>,
    /// Source of the public keys for GitHub's leak reports: an https URL, a file, or `off` [default: GitHub's own URL,
    /// read only when a report arrives]
    #[arg(long, env = "KEYREEVE_LEAKS_GITHUB_KEYS", value_name = "URL|FILE|off")]
    leaks_github_keys: Option<GitHubKeySource>,
    /// The log level on standard error [default: info]
    #[arg(long, env = "KEYREEVE_LOG", value_enum)]
    log: Option<Log>,
    /// The settings file [default: ./keyreeve.toml if it exists]
    #[arg(long, env = "KEYREEVE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The same options in the file. An unknown key is an error, so that a misspelt setting is not ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    data: Option<PathBuf>,
    database: Option<String>,
    listen: Option<Places>,
    check_listen: Option<Places>,
    ops_listen: Option<SocketAddr>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    check_tls_cert: Option<PathBuf>,
    check_tls_key: Option<PathBuf>,
    check_client_ca: Option<PathBuf>,
    check_plain: Option<bool>,
    root_key_file: Option<PathBuf>,
    cache_entries: Option<usize>,
    lease: Option<String>,
    child_lease: Option<String>,
    node_name: Option<String>,
    require_sync: Option<bool>,
    public_url: Option<PublicUrl>,
    trusted_proxies: Option<Vec<TrustedProxy>>,
    #[serde(default)]
    introspection: Introspection,
    #[serde(default)]
    leaks: Leaks,
    log: Option<Log>,
}

/// Settings of OAuth introspection.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Introspection {
    max_exp: Option<String>,
}

/// Settings of leak reports.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Leaks {
    github_keys: Option<GitHubKeySource>,
}

/// A validated number of seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seconds(u64);

/// One listen address or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Places {
    One(Listen),
    Several(Vec<Listen>),
}

impl Places {
    fn all(self) -> Vec<Listen> {
        match self {
            Self::One(place) => vec![place],
            Self::Several(places) => places,
        }
    }
}

/// The log level.
#[derive(Clone, Copy, Debug, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Log {
    /// An operator must act.
    Error,
    /// Something is degraded.
    Warn,
    /// State changes and requests, but no verifications.
    Info,
    /// Details.
    Debug,
    /// Nothing.
    Off,
}

impl From<Log> for LevelFilter {
    fn from(log: Log) -> Self {
        match log {
            Log::Error => Self::ERROR,
            Log::Warn => Self::WARN,
            Log::Info => Self::INFO,
            Log::Debug => Self::DEBUG,
            Log::Off => Self::OFF,
        }
    }
}

impl Options {
    /// Merges flags, variables, file and defaults.
    pub(crate) fn settle(self) -> anyhow::Result<(Settings, LevelFilter)> {
        let file = read(self.config.as_ref())?;
        let from_file = |text: String| lease(&text).map_err(|why| Usage(format!("child_lease: {why}")));
        let child_lease = match self.child_lease {
            Some(child_lease) => Some(child_lease),
            None => file.child_lease.map(from_file).transpose()?,
        };
        let from_file = |text: String| lease(&text).map_err(|why| Usage(format!("lease: {why}")));
        let lease = match self.lease {
            Some(lease) => Some(lease),
            None => file.lease.map(from_file).transpose()?,
        };
        let in_ms = |lease: Duration| u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        let from_file =
            |text: String| introspection_max_exp(&text).map_err(|why| Usage(format!("introspection.max_exp: {why}")));
        let max_exp = match self.introspection_max_exp {
            Some(max_exp) => Some(max_exp),
            None => file.introspection.max_exp.map(from_file).transpose()?,
        };
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let in_file = TlsOptions {
            tls_cert: file.tls_cert,
            tls_key: file.tls_key,
            check_tls_cert: file.check_tls_cert,
            check_tls_key: file.check_tls_key,
            check_client_ca: file.check_client_ca,
            check_plain: file.check_plain.unwrap_or(false),
        };
        let (tls, check_tls) = self.tls.or(in_file).settle()?;
        let settings = Settings {
            data: self.data.or(file.data).unwrap_or_else(|| "./keyreeve-data".into()),
            listen: places(self.listen, file.listen, local(7300)),
            check_listen: places(self.check_listen, file.check_listen, local(7301)),
            tls,
            check_tls,
            ops_listen: self.ops_listen.or(file.ops_listen).unwrap_or_else(|| local(7302)),
            root_key_file: self.root_key_file.or(file.root_key_file),
            cache_entries: self
                .cache_entries
                .or(file.cache_entries)
                .unwrap_or(CACHE_ENTRIES_DEFAULT),
            database: self.database.or(file.database),
            lease_ms: lease.map(in_ms),
            child_lease_ms: child_lease.map(in_ms),
            node_name: self.node_name.or(file.node_name).unwrap_or_else(machine_name),
            unknown_variables: unknown_variables(),
            require_sync: self.require_sync || file.require_sync.unwrap_or(false),
            accept_clock: self.accept_clock,
            public_url: self.public_url.or(file.public_url).map(String::from),
            trusted_proxies: self.trusted_proxies.or(file.trusted_proxies).unwrap_or_default(),
            github_keys: self.leaks_github_keys.or(file.leaks.github_keys).unwrap_or_default(),
            introspection_max_exp_seconds: max_exp.map_or(INTROSPECTION_MAX_EXP_SECONDS_DEFAULT, |max_exp| max_exp.0),
        };
        Ok((settings, self.log.or(file.log).unwrap_or(Log::Info).into()))
    }
}

/// Returns the public URL of the variables or the settings file, for a command that starts no server of its own.
pub(crate) fn public_url() -> anyhow::Result<Option<String>> {
    /// The options from the variables alone.
    #[derive(clap::Parser)]
    struct Surroundings {
        #[command(flatten)]
        options: Options,
    }
    let Surroundings { options } = environment::parse([OsString::from("keyreeve")])?;
    let named = match options.public_url {
        Some(url) => Some(url),
        None => read(options.config.as_ref())?.public_url,
    };
    Ok(named.map(String::from))
}

fn places(given: Option<Vec<Listen>>, file: Option<Places>, default: SocketAddr) -> Vec<Listen> {
    given
        .or_else(|| file.map(Places::all))
        .unwrap_or_else(|| vec![Listen::Tcp(default)])
}

/// Parses a lease: `15s`, `1500ms`, `2m`; 2 s to an hour, in milliseconds.
fn lease(text: &str) -> Result<Duration, String> {
    let bounds = Duration::from_millis(LEASE_MS_MIN)..=Duration::from_millis(LEASE_MS_MAX);
    let length = duration::fixed(text).ok().filter(|length| bounds.contains(length));
    let length = length.filter(|length| length.subsec_nanos() % 1_000_000 == 0);
    length.ok_or_else(|| format!("{text:?} is not a lease: write 15s, 2500ms or 2m, from 2s to 1h"))
}

/// Parses how long a gateway may accept a key after an introspection.
fn introspection_max_exp(text: &str) -> Result<Seconds, String> {
    let wrong = || format!("{text:?} is not from 1s to 1h: write 60s or 5m");
    let length = duration::fixed(text).ok().filter(|length| length.subsec_nanos() == 0);
    let seconds = length.map(|length| length.as_secs());
    let seconds = seconds.filter(|seconds| (1..=INTROSPECTION_MAX_EXP_SECONDS_MAX).contains(seconds));
    seconds.map(Seconds).ok_or_else(wrong)
}

/// Returns the machine's name, else `node`.
fn machine_name() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = read.trim();
    if name.is_empty() {
        "node".to_owned()
    } else {
        name.to_owned()
    }
}

fn read(named: Option<&PathBuf>) -> anyhow::Result<File> {
    let path = match named {
        Some(path) => path.clone(),
        None if std::path::Path::new(FILE_DEFAULT).exists() => FILE_DEFAULT.into(),
        None => return Ok(File::default()),
    };
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).map_err(|error| Usage(format!("{}: {error}", path.display())).into())
}

/// Variables that belong to no option of the command line.
const OTHER_VARIABLES: [&str; 1] = ["KEYREEVE_ROOT_KEY"];

/// Returns every variable that this program reads: those of its options, and some more.
fn known_variables() -> BTreeSet<String> {
    fn collect(command: &clap::Command, known: &mut BTreeSet<String>) {
        let named = command.get_arguments().filter_map(|argument| argument.get_env());
        known.extend(named.map(|name| name.to_string_lossy().into_owned()));
        command.get_subcommands().for_each(|inner| collect(inner, known));
    }
    let mut known = OTHER_VARIABLES.map(str::to_owned).into();
    collect(&crate::commands::Cli::command(), &mut known);
    known
}

/// Returns the names of unknown `KEYREEVE_*` variables, which are probably misspelt.
fn unknown_variables() -> Vec<String> {
    let set = std::env::vars_os().filter(|(_, value)| !value.is_empty());
    let names = set.filter_map(|(name, _)| name.into_string().ok());
    let known = known_variables();
    let is_ours = |name: &String| name.starts_with("KEYREEVE_") && !known.contains(name);
    names.filter(is_ours).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_read_with_its_unit_and_has_bounds() {
        assert_eq!(lease("15s"), Ok(Duration::from_secs(15)));
        assert_eq!(lease("2500ms"), Ok(Duration::from_millis(2_500)));
        assert_eq!(lease("1m30s"), Ok(Duration::from_secs(90)));
        for wrong in [
            "",
            "15",
            "s",
            "1s",
            "1999ms",
            "2h",
            "-5s",
            "1h1ms",
            "2000.5ms",
            "never",
            "99999999999999999999s",
        ] {
            assert!(lease(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn how_long_a_gateway_may_remember_has_bounds() {
        for (text, seconds) in [("1s", 1), ("60s", 60), ("5m", 300), ("1h", 3_600)] {
            assert_eq!(introspection_max_exp(text), Ok(Seconds(seconds)));
        }
        for wrong in ["", "0s", "61m", "2h", "never", "60", "-1s", "1ms", "1500ms"] {
            assert!(introspection_max_exp(wrong).is_err(), "{wrong}");
        }
        let file: File = toml::from_str("[introspection]\nmax_exp = \"5m\"").unwrap();
        assert_eq!(file.introspection.max_exp.as_deref(), Some("5m"));
        assert!(toml::from_str::<File>("[introspection]\nmax = \"5m\"").is_err());
        assert!(toml::from_str::<File>("public_url = \"nowhere\"").is_err());
    }

    #[test]
    fn variables_of_options_of_every_command_are_known() {
        let known = known_variables();
        for name in [
            "KEYREEVE_DATA",
            "KEYREEVE_TRUSTED_PROXIES",
            "KEYREEVE_TENANT",
            "KEYREEVE_ROOT_KEY",
        ] {
            assert!(known.contains(name), "{name}");
        }
        assert!(!known.contains("KEYREEVE_COLOUR"));
    }

    #[test]
    fn an_unknown_key_in_the_file_is_an_error() {
        let file: File = toml::from_str("listen = \"127.0.0.1:1\"\nlog = \"warn\"").unwrap();
        assert_eq!(file.listen.map(Places::all), Some(vec!["127.0.0.1:1".parse().unwrap()]));
        let several: File = toml::from_str("listen = [\"127.0.0.1:1\", \"unix:/run/a.sock\"]").unwrap();
        assert_eq!(several.listen.map(|places| places.all().len()), Some(2));
        assert!(toml::from_str::<File>("lisen = \"127.0.0.1:1\"").is_err());
        assert!(toml::from_str::<File>("listen = \"nowhere\"").is_err());
    }
}
