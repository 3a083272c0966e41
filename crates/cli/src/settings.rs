//! Settings of the server: flag, else `KEYREEVE_*` variable, else `keyreeve.toml`, else default.

use crate::exit::Usage;
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use keyreeve_server::settings::{CACHE_ENTRIES_DEFAULT, Settings};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use tracing::level_filters::LevelFilter;

/// The file that is read without being named, if it exists.
const FILE_DEFAULT: &str = "keyreeve.toml";

/// The server's options. What is not given comes from the file or is the default.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The data directory; SQLite lies inside it [default: ./keyreeve-data]
    #[arg(long, env = "KEYREEVE_DATA")]
    data: Option<PathBuf>,
    /// A Postgres database instead of SQLite; not in this version
    #[arg(long, env = "KEYREEVE_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database: Option<String>,
    /// Where the API listens; port 0 is any free one [default: 127.0.0.1:7300]
    #[arg(long, env = "KEYREEVE_LISTEN", value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where only verification is answered [default: 127.0.0.1:7301]
    #[arg(long, env = "KEYREEVE_CHECK_LISTEN", value_name = "ADDR")]
    check_listen: Option<SocketAddr>,
    /// Where /livez, /readyz and /metrics are answered [default: 127.0.0.1:7302]
    #[arg(long, env = "KEYREEVE_OPS_LISTEN", value_name = "ADDR")]
    ops_listen: Option<SocketAddr>,
    /// Write the first root key to this file (0600, never overwritten) and not to standard output
    #[arg(long, env = "KEYREEVE_ROOT_KEY_FILE", value_name = "FILE")]
    root_key_file: Option<PathBuf>,
    /// Most secrets to remember; a million take about 200 MB [default: 2000000]
    #[arg(long, env = "KEYREEVE_CACHE_ENTRIES", value_name = "N")]
    cache_entries: Option<usize>,
    /// What to log on standard error [default: info]
    #[arg(long, env = "KEYREEVE_LOG", value_enum)]
    log: Option<Log>,
    /// The settings file [default: ./keyreeve.toml if it exists]
    #[arg(long, env = "KEYREEVE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The same options in the file. An unknown key is an error: a spelling mistake must not pass for a setting.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    data: Option<PathBuf>,
    database: Option<String>,
    listen: Option<SocketAddr>,
    check_listen: Option<SocketAddr>,
    ops_listen: Option<SocketAddr>,
    root_key_file: Option<PathBuf>,
    cache_entries: Option<usize>,
    log: Option<Log>,
}

/// How much to log.
#[derive(Clone, Copy, Debug, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Log {
    /// Someone must act.
    Error,
    /// Something is degraded.
    Warn,
    /// State changes and requests, but no verifications.
    Info,
    /// Why.
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
    /// Puts flags, variables, file and defaults together.
    pub(crate) fn settle(self) -> anyhow::Result<(Settings, LevelFilter)> {
        let file = read(self.config.as_ref())?;
        if self.database.or(file.database).is_some() {
            let message = "this version keeps its data in SQLite inside the data directory; Postgres is not in it \
                           yet. Leave --database (KEYREEVE_DATABASE_URL) out";
            return Err(Usage(message.to_owned()).into());
        }
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let settings = Settings {
            data: self.data.or(file.data).unwrap_or_else(|| "./keyreeve-data".into()),
            listen: self.listen.or(file.listen).unwrap_or_else(|| local(7300)),
            check_listen: self.check_listen.or(file.check_listen).unwrap_or_else(|| local(7301)),
            ops_listen: self.ops_listen.or(file.ops_listen).unwrap_or_else(|| local(7302)),
            root_key_file: self.root_key_file.or(file.root_key_file),
            cache_entries: self
                .cache_entries
                .or(file.cache_entries)
                .unwrap_or(CACHE_ENTRIES_DEFAULT),
        };
        Ok((settings, self.log.or(file.log).unwrap_or(Log::Info).into()))
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

/// Every variable that means something to this program.
const VARIABLES: [&str; 12] = [
    "KEYREEVE_DATA",
    "KEYREEVE_DATABASE_URL",
    "KEYREEVE_LISTEN",
    "KEYREEVE_CHECK_LISTEN",
    "KEYREEVE_OPS_LISTEN",
    "KEYREEVE_ROOT_KEY_FILE",
    "KEYREEVE_CACHE_ENTRIES",
    "KEYREEVE_LOG",
    "KEYREEVE_CONFIG",
    "KEYREEVE_URL",
    "KEYREEVE_ROOT_KEY",
    "KEYREEVE_TENANT",
];

/// Names of `KEYREEVE_*` variables that mean nothing: probably a spelling mistake.
pub(crate) fn unknown_variables() -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let is_ours = |name: &String| name.starts_with("KEYREEVE_") && !VARIABLES.contains(&name.as_str());
    names.filter(is_ours).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_in_the_file_is_an_error() {
        let file: File = toml::from_str("listen = \"127.0.0.1:1\"\nlog = \"warn\"").unwrap();
        assert_eq!(file.listen, Some(SocketAddr::from(([127, 0, 0, 1], 1))));
        assert!(toml::from_str::<File>("lisen = \"127.0.0.1:1\"").is_err());
        assert!(toml::from_str::<File>("listen = \"nowhere\"").is_err());
    }
}
