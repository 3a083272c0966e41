//! What becomes of each parameter that people paste: it is honoured under libpq's name, has no effect here, or is
//! refused by name with what to write instead.
//!
//! `docs/operations/postgres.md` has the same table for the operator.

use super::parameters::{Pairs, is_printable};

/// What to do with a parameter.
#[derive(Clone, Copy)]
enum ParameterRule {
    /// Honoured as it is.
    Honoured,
    /// Honoured under this name of libpq.
    Renamed(&'static str),
    /// What it asks for is always so here.
    Granted,
    /// Refused, with what to write instead.
    Refused(&'static str),
}

use ParameterRule::{Granted, Honoured, Refused, Renamed};

/// The rules. The names are libpq 18's, then those of Prisma, JDBC, pgx, Npgsql and of what Supabase, Neon and Vercel print.
const RULES: &[(&[&str], ParameterRule)] = &[
    (
        &[
            "host",
            "hostaddr",
            "port",
            "dbname",
            "user",
            "password",
            "passfile",
            "options",
            "application_name",
            "connect_timeout",
            "keepalives",
            "keepalives_idle",
            "keepalives_interval",
            "keepalives_count",
            "tcp_user_timeout",
            "sslmode",
            "sslnegotiation",
            "sslrootcert",
            "sslcert",
            "sslkey",
            "sslsni",
            "ssl_min_protocol_version",
            "ssl_max_protocol_version",
            "channel_binding",
            "target_session_attrs",
            "client_encoding",
            "load_balance_hosts",
            "gssencmode",
            "sslcertmode",
            "sslcompression",
            "ssl",
            "sslaccept",
            "schema",
        ],
        Honoured,
    ),
    (&["currentSchema"], Renamed("schema")),
    (
        &["fallback_application_name", "ApplicationName"],
        Renamed("application_name"),
    ),
    (&["targetServerType"], Renamed("target_session_attrs")),
    (&["keepalives_retries"], Renamed("keepalives_count")),
    (&["connectTimeout", "loginTimeout"], Renamed("connect_timeout")),
    // Keyreeve prepares statements only where its session is its own, and needs no session behind a pooler.
    (
        &[
            "pgbouncer",
            "prepareThreshold",
            "prepared_statements",
            "preparedStatementCacheQueries",
            "statement_cache_size",
            "default_query_exec_mode",
            "statement_cache_capacity",
            "tcpKeepAlive",
        ],
        Granted,
    ),
    (
        &[
            "connection_limit",
            "pool_timeout",
            "max_idle_connection_lifetime",
            "pool_max_conns",
            "pool_min_conns",
            "pool_max_conn_lifetime",
            "pool_max_conn_idle_time",
            "pool_size",
            "max_connections",
            "pool",
        ],
        Refused("a node has ten connections at most, which is not configurable: leave it out"),
    ),
    (
        &[
            "socket_timeout",
            "socketTimeout",
            "statement_timeout",
            "lock_timeout",
            "query_timeout",
            "idle_in_transaction_session_timeout",
        ],
        Refused("Keyreeve sets the timeouts of its statements: leave it out"),
    ),
    (
        &["search_path", "timezone", "TimeZone", "role"],
        Refused("write options=-c%20NAME%3DVALUE to set a parameter of the session"),
    ),
    (
        &["sslidentity"],
        Refused("a PKCS#12 file is not supported: write sslcert and sslkey, both in PEM"),
    ),
    (
        &["sslpassword"],
        Refused("a key with a password is not supported: decrypt it, set its mode to 600, and leave it out"),
    ),
    (
        &["sslfactory", "sslfactoryarg", "sslhostnameverifier", "socketFactory"],
        Refused("it names a class of Java: write sslmode=verify-full and sslrootcert"),
    ),
    (
        &["sslcrl", "sslcrldir"],
        Refused("revocation lists are not supported: leave it out"),
    ),
    (
        &["sslkeylogfile"],
        Refused("keys of connections are never written: leave it out"),
    ),
    (
        &["require_auth"],
        Refused(
            "it is not supported: write channel_binding=require or sslmode=verify-full, so that only your server \
             receives the proof of the password",
        ),
    ),
    (
        &["requirepeer"],
        Refused("it is not supported: let only the database's user write to the socket's directory"),
    ),
    (
        &[
            "krbsrvname",
            "gsslib",
            "gssdelegation",
            "kerberosServerName",
            "gssEncMode",
            "jaasApplicationName",
        ],
        Refused("Kerberos and GSSAPI are not supported: leave it out, and use a password or a client certificate"),
    ),
    (
        &["service", "servicefile"],
        Refused("service files are not read: write the parameters of the service into the URL"),
    ),
    (
        &["replication"],
        Refused("Keyreeve needs an ordinary connection: leave it out"),
    ),
    (
        &["loadBalanceHosts"],
        Refused("only the primary is used, so there is no load to balance: leave it out"),
    ),
    (
        &[
            "supa",
            "workaround",
            "reWriteBatchedInserts",
            "stringtype",
            "binaryTransfer",
            "preferQueryMode",
            "defaultRowFetchSize",
            "min_protocol_version",
            "max_protocol_version",
            "tty",
            "authtype",
            "scram_client_key",
            "scram_server_key",
            "uselibpqcompat",
        ],
        Refused("it has no meaning for Keyreeve: leave it out"),
    ),
    (
        &["oauth_issuer", "oauth_client_id", "oauth_client_secret", "oauth_scope"],
        Refused("OAuth is not supported: use a password or a client certificate"),
    ),
];

fn rule(name: &str) -> Option<ParameterRule> {
    let found = RULES.iter().find(|(names, _)| names.contains(&name));
    found.map(|(_, rule)| *rule)
}

/// Applies the rules: returns the parameters by libpq's names, and what is wrong with the others. With `may_be_secret` an
/// unknown name may be a piece of a password that was not encoded, and is not printed.
pub(super) fn apply(pairs: Pairs, may_be_secret: bool) -> (Pairs, Vec<String>) {
    let (mut kept, mut complaints) = (Pairs::new(), Vec::new());
    for (name, value) in pairs {
        match rule(&name) {
            // libpq's own name precedes.
            Some(Renamed(ours)) => drop(kept.entry(ours.to_owned()).or_insert(value)),
            Some(Honoured) => drop(kept.insert(name, value)),
            Some(Granted) => {}
            Some(Refused(why)) => complaints.push(format!("the parameter {name} cannot be honoured: {why}")),
            None if is_printable(&name) && !may_be_secret => {
                complaints.push(format!("the parameter {name} is not known; leave it out"));
            }
            None => complaints.push(
                "a parameter is not known; an & or ? in a password has to be percent-encoded (%26, %3F), and a password \
                 with spaces written as 'a password'"
                    .to_owned(),
            ),
        }
    }
    (kept, complaints)
}
