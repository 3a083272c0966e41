//! The settings of a shared database. `serve` has them among its own; the commands that open the database themselves
//! have them alone.

use super::declared;
use super::values::DatabaseWait;
use clap::Args;
use keyreeve_server::settings::{DatabaseAccess, GivenAccess, LoginEnvironment, OnWait};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::path::PathBuf;

/// Settings of a Postgres database.
#[derive(Args, Deserialize)]
#[serde(default = "declared", deny_unknown_fields)]
pub(crate) struct DatabaseOptions {
    /// A Postgres database that several nodes share, instead of SQLite: a URL or `host=… dbname=…`
    #[arg(
        id = "database",
        long = "database",
        env = "KEYREEVE_DATABASE_URL",
        hide_env_values = true,
        value_name = "postgres://USER@HOST/NAME"
    )]
    pub(super) url: Option<String>,
    /// A file that contains the URL instead. Its user and password are read again for each new connection
    #[arg(
        id = "database.url_file",
        long = "database-url-file",
        env = "KEYREEVE_DATABASE_URL_FILE",
        value_name = "FILE"
    )]
    pub(super) url_file: Option<PathBuf>,
    /// A command of the shell that prints the password. It is run again for new connections, at most every 5s
    #[arg(
        id = "database.password_command",
        long = "database-password-command",
        env = "KEYREEVE_DATABASE_PASSWORD_COMMAND",
        hide_env_values = true,
        value_name = "COMMAND"
    )]
    password_command: Option<String>,
    /// How long to wait at the start for a database that is not up yet; 0s to 1h
    #[arg(
        id = "database.wait",
        long = "database-wait",
        env = "KEYREEVE_DATABASE_WAIT",
        value_name = "DURATION",
        default_value_t
    )]
    wait: DatabaseWait,
    /// TLS to the database: disable, prefer, require, verify-ca or verify-full [default: the URL's, else prefer]
    #[arg(
        id = "database.sslmode",
        long = "database-sslmode",
        env = "KEYREEVE_DATABASE_SSLMODE",
        value_name = "MODE"
    )]
    sslmode: Option<String>,
    /// The authorities that may sign the certificate of the database's server, in PEM [default: the URL's, else
    /// this machine's]
    #[arg(
        id = "database.sslrootcert",
        long = "database-sslrootcert",
        env = "KEYREEVE_DATABASE_SSLROOTCERT",
        value_name = "FILE|system"
    )]
    sslrootcert: Option<String>,
    /// The certificate chain of this node for the database's server, in PEM, leaf first
    #[arg(
        id = "database.sslcert",
        long = "database-sslcert",
        env = "KEYREEVE_DATABASE_SSLCERT",
        value_name = "FILE"
    )]
    sslcert: Option<String>,
    /// The private key of that certificate, in PEM
    #[arg(
        id = "database.sslkey",
        long = "database-sslkey",
        env = "KEYREEVE_DATABASE_SSLKEY",
        value_name = "FILE"
    )]
    sslkey: Option<String>,
    /// Whether the host of the URL is sent in the handshake of TLS: 1 or 0 [default: the URL's, else 1]
    #[arg(
        id = "database.sslsni",
        long = "database-sslsni",
        env = "KEYREEVE_DATABASE_SSLSNI",
        value_name = "1|0"
    )]
    sslsni: Option<String>,
    /// How TLS begins: postgres, or direct with PostgreSQL 17 or newer [default: the URL's, else postgres]
    #[arg(
        id = "database.sslnegotiation",
        long = "database-sslnegotiation",
        env = "KEYREEVE_DATABASE_SSLNEGOTIATION",
        value_name = "WAY"
    )]
    sslnegotiation: Option<String>,
    /// Whether the login is bound to the certificate of the server: disable, prefer or require [default: the URL's,
    /// else prefer]
    #[arg(
        id = "database.channel_binding",
        long = "database-channel-binding",
        env = "KEYREEVE_DATABASE_CHANNEL_BINDING",
        value_name = "MODE"
    )]
    channel_binding: Option<String>,
}

impl DatabaseOptions {
    /// Whether any setting names a database.
    pub(super) const fn is_named(&self) -> bool {
        self.url.is_some() || self.url_file.is_some()
    }

    /// Removes what the file has of a pair if a part of it was given elsewhere.
    pub(super) fn forget_halves(&mut self, is_given: impl Fn(&str) -> bool) {
        if is_given("database") || is_given("database.url_file") {
            (self.url, self.url_file) = (None, None);
        }
        if is_given("database.sslcert") || is_given("database.sslkey") {
            (self.sslcert, self.sslkey) = (None, None);
        }
    }

    /// Returns how the database is reached; `None` if none is named. `on_wait` is called at most once a second with the
    /// reason while the start waits for it.
    pub(crate) fn settle(self, on_wait: OnWait) -> anyhow::Result<Option<DatabaseAccess>> {
        if !self.is_named() {
            return Ok(None);
        }
        self.required(on_wait).map(Some)
    }

    /// Returns how the database is reached, which has to be named.
    pub(crate) fn required(self, on_wait: OnWait) -> anyhow::Result<DatabaseAccess> {
        let parameters = [
            ("sslmode", self.sslmode),
            ("sslrootcert", self.sslrootcert),
            ("sslcert", self.sslcert),
            ("sslkey", self.sslkey),
            ("sslsni", self.sslsni),
            ("sslnegotiation", self.sslnegotiation),
            ("channel_binding", self.channel_binding),
        ];
        let given = GivenAccess {
            url: self.url,
            url_file: self.url_file,
            parameters: parameters
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect(),
            password_command: self.password_command,
            wait: self.wait.time(),
            environment: environment(),
            on_wait: Some(on_wait),
        };
        given
            .settle()
            .map_err(|why| anyhow::anyhow!("the database cannot be used: {why}"))
    }
}

/// Returns what libpq takes from the environment: these variables are every client's, and not settings of this program.
#[expect(clippy::disallowed_methods, reason = "libpq's variables have no options")]
fn environment() -> LoginEnvironment {
    let path = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    LoginEnvironment {
        password: std::env::var("PGPASSWORD").ok().filter(|password| !password.is_empty()),
        passfile: path("PGPASSFILE"),
        home: path("HOME"),
    }
}

impl fmt::Debug for DatabaseOptions {
    /// Omits the values: the URL may contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseOptions").finish_non_exhaustive()
    }
}

/// Reads the URL alone, or the section with everything.
pub(super) fn url_or_section<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DatabaseOptions, D::Error> {
    struct UrlOrSection;

    impl<'de> Visitor<'de> for UrlOrSection {
        type Value = DatabaseOptions;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a URL, or a section with url and other keys")
        }

        fn visit_str<E>(self, url: &str) -> Result<DatabaseOptions, E> {
            Ok(DatabaseOptions {
                url: Some(url.to_owned()),
                ..declared()
            })
        }

        fn visit_map<A: MapAccess<'de>>(self, section: A) -> Result<DatabaseOptions, A::Error> {
            DatabaseOptions::deserialize(MapAccessDeserializer::new(section))
        }
    }

    deserializer.deserialize_any(UrlOrSection)
}
