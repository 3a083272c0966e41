//! From what the operator gave to a [`DatabaseAccess`]. All that is wrong is reported at once.

use super::known;
use super::parameters::{self, Pairs};
use super::tls_part::TlsSettings;
use super::{AccessFacts, DatabaseAccess, GivenAccess, Keepalive, LoginSources, Server, read_url_file};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::config::{ChannelBinding, Host};

/// The port of a server that has none in the connection string.
const PORT: u16 = 5432;
/// Maximum number of servers in a connection string.
const SERVERS_MAX: usize = 16;
/// Maximum time to reach a server and log in, by default and at most: callers get an answer within two seconds.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_200);
/// How soon a lost connection is noticed, by default and at most: `connect::LOST` relies on it.
const KEEPALIVE: Keepalive = Keepalive {
    idle: Duration::from_secs(3),
    interval: Duration::from_secs(1),
    count: 3,
    unacknowledged: Duration::from_secs(5),
};

impl GivenAccess {
    /// Returns how the database is reached.
    ///
    /// # Errors
    /// A text with everything that is wrong: parameters that are not known or cannot be honoured, values that make no
    /// sense, settings that contradict each other.
    pub fn settle(self) -> Result<DatabaseAccess, String> {
        let pairs = self.pairs()?;
        let may_be_secret = match &self.url {
            // A password before the host cannot continue in the parameters: it would end at a second @.
            Some(url) => url.contains("password"),
            None => pairs.contains_key("password"),
        };
        let (pairs, mut complaints) = known::apply(pairs, may_be_secret);
        let mut values = ParameterReader {
            pairs,
            complaints: Vec::new(),
        };
        let facts = values.facts(&self);
        complaints.extend(values.complaints);
        match complaints.is_empty() {
            true => Ok(DatabaseAccess(Arc::new(facts))),
            false => Err(complaints.join("; ")),
        }
    }

    /// Returns the parameters of the connection string and of the settings.
    fn pairs(&self) -> Result<Pairs, String> {
        let mut pairs = match (&self.url, &self.url_file) {
            (Some(url), None) => parameters::parse(url)?,
            (None, Some(path)) => read_url_file(path)?,
            (None, None) => return Err("no database is named: give database or database-url-file".to_owned()),
            (Some(_), Some(_)) => {
                return Err("database and database-url-file are both given: give one of them".to_owned());
            }
        };
        for (name, value) in &self.parameters {
            match pairs.insert((*name).to_owned(), value.clone()) {
                Some(in_url) if in_url != *value => {
                    let setting = name.replace('_', "-");
                    return Err(format!(
                        "{name} of the URL and the setting database-{setting} have different values: give one of them"
                    ));
                }
                Some(_) | None => {}
            }
        }
        Ok(pairs)
    }
}

/// The parameters that are not read yet, and what is wrong with those that were.
pub(super) struct ParameterReader {
    pairs: Pairs,
    complaints: Vec<String>,
}

impl ParameterReader {
    /// Takes a parameter. An empty one counts as not given, as in libpq.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.pairs.remove(name).filter(|value| !value.is_empty())
    }

    pub(super) fn complain(&mut self, what: impl Into<String>) {
        self.complaints.push(what.into());
    }

    /// Takes a parameter that has one of some values.
    pub(super) fn one_of<T: Copy>(&mut self, name: &str, values: &[(&str, T)]) -> Option<T> {
        let given = self.take(name)?;
        let found = values.iter().find(|(text, _)| *text == given).map(|(_, value)| *value);
        if found.is_none() {
            let texts: Vec<_> = values.iter().map(|(text, _)| *text).collect();
            self.complain(format!("{name} is not one of {}", texts.join(", ")));
        }
        found
    }

    /// Takes an integer. A negative one counts as not given, as in libpq.
    fn number(&mut self, name: &str) -> Option<u64> {
        let given = self.take(name)?;
        match given.parse::<i64>() {
            Ok(number) => u64::try_from(number).ok(),
            Err(_) => {
                self.complain(format!("{name} is not a number"));
                None
            }
        }
    }

    /// Takes a time that can only shorten the default.
    fn at_most(&mut self, name: &str, unit: Duration, most: Duration) -> Duration {
        let given = self.number(name).filter(|&number| number > 0);
        let given = given
            .and_then(|number| u32::try_from(number).ok())
            .map(|number| unit.saturating_mul(number));
        given.map_or(most, |given| given.min(most))
    }

    fn facts(&mut self, given: &GivenAccess) -> AccessFacts {
        let servers = self.servers();
        let login = self.login(given);
        let tls = TlsSettings::read(self);
        let binding = self.one_of(
            "channel_binding",
            &[
                ("disable", ChannelBinding::Disable),
                ("prefer", ChannelBinding::Prefer),
                ("require", ChannelBinding::Require),
            ],
        );
        let connect_timeout = self.at_most("connect_timeout", Duration::from_secs(1), CONNECT_TIMEOUT);
        let keepalive = self.keepalive();
        let attributes = self.session();
        let options = self.options();
        let facts = AccessFacts {
            needs_writable: attributes.unwrap_or(servers.len() > 1),
            servers,
            database: self.take("dbname"),
            options,
            application: self.take("application_name").unwrap_or_else(|| "keyreeve".to_owned()),
            connect_timeout,
            keepalive,
            tls,
            binding: binding.unwrap_or(ChannelBinding::Prefer),
            login,
            wait: given.wait,
            on_wait: given.on_wait,
        };
        debug_assert!(self.pairs.is_empty(), "a parameter is known and not read");
        facts
    }

    /// Takes what a server has to be: whether it must accept writes, if that is given.
    fn session(&mut self) -> Option<bool> {
        let _ = self.one_of("load_balance_hosts", &[("disable", ())]);
        let _ = self.one_of("gssencmode", &[("disable", ()), ("prefer", ())]);
        let _ = self.one_of(
            "client_encoding",
            &[("UTF8", ()), ("utf8", ()), ("UTF-8", ()), ("utf-8", ()), ("auto", ())],
        );
        self.one_of(
            "target_session_attrs",
            &[
                ("read-write", true),
                ("primary", true),
                ("any", false),
                ("master", true),
            ],
        )
    }

    fn keepalive(&mut self) -> Keepalive {
        let second = Duration::from_secs(1);
        if self.take("keepalives").is_some_and(|value| value == "0") {
            self.complain("keepalives=0 cannot be honoured: a node has to notice a lost connection, so leave it out");
        }
        Keepalive {
            idle: self.at_most("keepalives_idle", second, KEEPALIVE.idle),
            interval: self.at_most("keepalives_interval", second, KEEPALIVE.interval),
            count: self.number("keepalives_count").map_or(KEEPALIVE.count, |given| {
                u32::try_from(given)
                    .unwrap_or(KEEPALIVE.count)
                    .clamp(1, KEEPALIVE.count)
            }),
            unacknowledged: self.at_most("tcp_user_timeout", Duration::from_millis(1), KEEPALIVE.unacknowledged),
        }
    }

    /// Takes the options of the session. Prisma's `schema` is a setting of the session too.
    fn options(&mut self) -> Option<String> {
        let (options, schema) = (self.take("options"), self.take("schema"));
        let Some(schema) = schema else { return options };
        let is_plain = schema.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_plain {
            self.complain("schema has other characters than letters, digits and _");
            return options;
        }
        let path = format!("-c search_path=\"{schema}\"");
        Some(options.map_or(path.clone(), |options| format!("{options} {path}")))
    }

    fn login(&mut self, given: &GivenAccess) -> LoginSources {
        let environment = &given.environment;
        let in_url = self.take("password");
        if in_url.is_some() && given.password_command.is_some() {
            self.complain("the URL has a password and database-password-command is given: give one of them");
        }
        let in_home = environment.home.as_ref().map(|home| home.join(".pgpass"));
        let passfile = self.take("passfile").map(PathBuf::from);
        LoginSources {
            user: self.take("user"),
            password: in_url.or_else(|| environment.password.clone()),
            url_file: given.url_file.clone(),
            command: given.password_command.clone(),
            passfile: passfile.or_else(|| environment.passfile.clone()).or(in_home),
        }
    }

    fn servers(&mut self) -> Vec<Server> {
        let list = |text: Option<String>| -> Vec<String> {
            text.map(|text| text.split(',').map(|one| one.trim().to_owned()).collect())
                .unwrap_or_default()
        };
        let (hosts, addresses) = (list(self.take("host")), list(self.take("hostaddr")));
        let ports = list(self.take("port"));
        let count = hosts.len().max(addresses.len());
        let has = |number: usize| number == count || number == 0;
        if count == 0 {
            self.complain(
                "the URL names no host: write postgres://USER@HOST/NAME, or host=/var/run/postgresql for a socket",
            );
        } else if count > SERVERS_MAX {
            self.complain(format!("the URL names more than {SERVERS_MAX} hosts"));
        } else if !has(hosts.len()) || !has(addresses.len()) || !(has(ports.len()) || ports.len() == 1) {
            self.complain("the URL has lists of hosts, addresses and ports of different lengths");
        } else {
            let nth = |list: &[String], at: usize| list.get(at).cloned().unwrap_or_default();
            return (0..count)
                .filter_map(|at| {
                    let port = if ports.len() == 1 {
                        nth(&ports, 0)
                    } else {
                        nth(&ports, at)
                    };
                    self.server(&nth(&hosts, at), &nth(&addresses, at), &port)
                })
                .collect();
        }
        Vec::new()
    }

    fn server(&mut self, host: &str, address: &str, port: &str) -> Option<Server> {
        let port = match port {
            "" => Some(PORT),
            port => port.parse().ok().filter(|&port| port != 0),
        };
        let address = (!address.is_empty()).then(|| address.parse::<IpAddr>()).transpose();
        let (Some(port), Ok(address)) = (port, address) else {
            self.complain("the URL has a port or a hostaddr that is not one");
            return None;
        };
        let host = match (host, address) {
            ("", None) => {
                self.complain("the URL has a host without a name");
                return None;
            }
            // The address is what a certificate has to be valid for.
            ("", Some(address)) => Host::Tcp(address.to_string()),
            (path, _) if path.starts_with('/') => Host::Unix(path.into()),
            (name, _) => Host::Tcp(name.to_owned()),
        };
        Some(Server { host, address, port })
    }
}
