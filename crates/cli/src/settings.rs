//! Settings of the server. Each is declared once, as a field of [`Options`]: clap derives its flag, `KEYREEVE_*` variable,
//! default and text of `--help` from it, serde its key in `keyreeve.toml`.

mod given;
#[cfg(test)]
mod page;
mod tls;
mod values;

use crate::environment;
use clap::{Args, CommandFactory as _};
pub(crate) use given::GivenOptions;
use given::declared;
use keyreeve_server::listen::Listen;
use keyreeve_server::settings::{CACHE_ENTRIES_DEFAULT, GitHubKeySource, PublicUrl, Settings, TrustedProxy};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use tracing::level_filters::LevelFilter;
use values::{LeaseLength, Log, MaxExp, one_or_several};

/// The settings. The id of an argument is its key in the file: an unknown key is an error, so that a misspelt setting is
/// not ignored. A setting with `serde(skip)` is none of the file's.
#[derive(Args, Deserialize)]
#[serde(default = "declared", deny_unknown_fields)]
struct Options {
    /// The data directory, which contains the SQLite database
    #[arg(long, env = "KEYREEVE_DATA", default_value = "./keyreeve-data")]
    data: PathBuf,
    /// A Postgres database that several nodes share, instead of SQLite
    #[arg(
        long,
        env = "KEYREEVE_DATABASE_URL",
        hide_env_values = true,
        value_name = "postgres://USER@HOST/NAME"
    )]
    database: Option<String>,
    /// Listen addresses of the API: `ADDRESS:PORT` or `unix:PATH`, separated by commas; port 0 selects a free one
    #[arg(
        long,
        env = "KEYREEVE_LISTEN",
        value_name = "PLACE",
        value_delimiter = ',',
        default_value = "127.0.0.1:7300"
    )]
    #[serde(deserialize_with = "one_or_several")]
    listen: Vec<Listen>,
    /// Listen addresses for verification only, likewise
    #[arg(
        long,
        env = "KEYREEVE_CHECK_LISTEN",
        value_name = "PLACE",
        value_delimiter = ',',
        default_value = "127.0.0.1:7301"
    )]
    #[serde(deserialize_with = "one_or_several")]
    check_listen: Vec<Listen>,
    /// Listen address of /livez, /readyz and /metrics
    #[arg(
        long,
        env = "KEYREEVE_OPS_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:7302"
    )]
    ops_listen: SocketAddr,
    /// The certificate chain of the API and the dashboard, in PEM, leaf first. With it they are served by TLS only.
    /// Changed files are loaded while the server runs
    #[arg(long, env = "KEYREEVE_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate, in PEM
    #[arg(long, env = "KEYREEVE_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// The certificate chain of the check listener, if it is not the API's
    #[arg(long, env = "KEYREEVE_CHECK_TLS_CERT", value_name = "FILE")]
    check_tls_cert: Option<PathBuf>,
    /// The private key of that certificate
    #[arg(long, env = "KEYREEVE_CHECK_TLS_KEY", value_name = "FILE")]
    check_tls_key: Option<PathBuf>,
    /// Serve the check listener only to clients with a certificate of a CA in this file (mTLS)
    #[arg(long, env = "KEYREEVE_CHECK_CLIENT_CA", value_name = "FILE")]
    check_client_ca: Option<PathBuf>,
    /// Serve the check listener without TLS although the API has it: for gateways on the same machine
    #[arg(long, env = "KEYREEVE_CHECK_PLAIN")]
    check_plain: bool,
    /// Write the first root key to this file (0600, never overwritten) instead of standard output
    #[arg(long, env = "KEYREEVE_ROOT_KEY_FILE", value_name = "FILE")]
    root_key_file: Option<PathBuf>,
    /// Most secrets to remember; a million take about 200 MB
    #[arg(long, env = "KEYREEVE_CACHE_ENTRIES", value_name = "N", default_value_t = CACHE_ENTRIES_DEFAULT)]
    cache_entries: usize,
    /// How long this node may verify without the database, and a verifier in an application without its node; a
    /// revocation waits that long for an unreachable one. The same on all nodes of a database [default: 15s]
    #[arg(long, env = "KEYREEVE_LEASE", value_name = "DURATION")]
    lease: Option<LeaseLength>,
    /// How long a verifier in an application may verify without its node, at most. A shorter time makes revocations
    /// faster after an application crashed, and ends its verification sooner while its node restarts [default: as
    /// --lease]
    #[arg(long, env = "KEYREEVE_CHILD_LEASE", value_name = "DURATION")]
    child_lease: Option<LeaseLength>,
    /// Name of this node in lists of nodes [default: the machine's name]
    #[arg(long, env = "KEYREEVE_NODE_NAME", value_name = "NAME")]
    node_name: Option<String>,
    /// Refuse to work with a database that could lose an acknowledged change
    #[arg(long, env = "KEYREEVE_REQUIRE_SYNC")]
    require_sync: bool,
    /// Start by the present clock, although the audit log has later entries: the clock was ahead, and is right now
    #[arg(long, env = "KEYREEVE_ACCEPT_CLOCK")]
    #[serde(skip)]
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
    trusted_proxies: Vec<TrustedProxy>,
    #[command(flatten)]
    introspection: IntrospectionSettings,
    #[command(flatten)]
    leaks: LeakSettings,
    /// The log level on standard error
    #[arg(long, env = "KEYREEVE_LOG", value_enum, default_value_t = Log::Info)]
    log: Log,
    /// The settings file [default: ./keyreeve.toml if it exists]
    #[arg(long, env = "KEYREEVE_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
}

/// Settings of OAuth introspection.
#[derive(Args, Deserialize)]
#[serde(default = "declared", deny_unknown_fields)]
struct IntrospectionSettings {
    /// How long a gateway may accept a key after an OAuth introspection; 1s to 1h
    #[arg(
        id = "introspection.max_exp",
        long = "introspection-max-exp",
        env = "KEYREEVE_INTROSPECTION_MAX_EXP",
        value_name = "DURATION",
        default_value_t
    )]
    max_exp: MaxExp,
}

/// Settings of leak reports.
#[derive(Args, Deserialize)]
#[serde(default = "declared", deny_unknown_fields)]
struct LeakSettings {
    /// Source of the public keys for GitHub's leak reports, read only when a report arrives: an https URL, a file, or
    /// `off`
    #[arg(
        id = "leaks.github_keys",
        long = "leaks-github-keys",
        env = "KEYREEVE_LEAKS_GITHUB_KEYS",
        value_name = "URL|FILE|off",
        default_value_t
    )]
    github_keys: GitHubKeySource,
}

impl Options {
    /// Returns the server's settings and the log level.
    fn settle(mut self) -> anyhow::Result<(Settings, LevelFilter)> {
        let (tls, check_tls) = self.tls()?;
        let settings = Settings {
            data: self.data,
            listen: self.listen,
            check_listen: self.check_listen,
            tls,
            check_tls,
            ops_listen: self.ops_listen,
            root_key_file: self.root_key_file,
            cache_entries: self.cache_entries,
            database: self.database,
            lease_ms: self.lease.map(LeaseLength::ms),
            child_lease_ms: self.child_lease.map(LeaseLength::ms),
            node_name: self.node_name.unwrap_or_else(machine_name),
            unknown_variables: unknown_variables(),
            require_sync: self.require_sync,
            accept_clock: self.accept_clock,
            public_url: self.public_url.map(String::from),
            trusted_proxies: self.trusted_proxies,
            github_keys: self.leaks.github_keys,
            introspection_max_exp_seconds: self.introspection.max_exp.seconds(),
        };
        Ok((settings, self.log.into()))
    }
}

/// Returns the public URL of the variables or the settings file, for a command that starts no server of its own.
pub(crate) fn public_url() -> anyhow::Result<Option<String>> {
    /// The options from the variables alone.
    #[derive(clap::Parser)]
    struct Surroundings {
        #[command(flatten)]
        options: GivenOptions,
    }
    let Surroundings { options } = environment::parse([OsString::from("keyreeve")])?;
    Ok(options.public_url()?.map(String::from))
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
}
