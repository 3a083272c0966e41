//! Why a connection was refused, in one sentence with the setting to change, and whether waiting can help.
//!
//! The sentences name the parameters of the connection string; each has a setting `database-…` of the same name.

use super::access::{AccessFacts, Authorities};
use super::connect::reason;
use super::login::UserAndPassword;
use rustls::{AlertDescription, CertificateError};
use std::error::Error;
use std::io;

/// Why a connection was refused.
pub(super) struct Explained {
    pub(super) text: String,
    /// Whether it stays so until an operator changes something.
    pub(super) is_final: bool,
    /// Whether every server of the cluster refuses it: users, passwords and databases are those of all.
    pub(super) is_everywhere: bool,
}

impl Explained {
    fn lasting(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_final: true,
            is_everywhere: false,
        }
    }

    fn passing(text: impl Into<String>) -> Self {
        Self {
            is_final: false,
            ..Self::lasting(text)
        }
    }
}

/// Explains an error of the driver while connecting.
pub(super) fn explain(error: &tokio_postgres::Error, facts: &AccessFacts, login: &UserAndPassword) -> Explained {
    if let Some(tls) = tls_error(error) {
        return of_tls(tls, facts);
    }
    if let Some(refused) = error.as_db_error() {
        return of_server(refused.code().code(), refused.message());
    }
    let text = reason(error);
    // The driver has no other sign of these than their texts.
    match text.as_str() {
        text if text.contains("server does not support TLS") => Explained::lasting(
            "the server offers no TLS and sslmode requires it: turn ssl on there, or write sslmode=disable if the \
             network is private",
        ),
        text if text.contains("server did not use channel binding") => Explained::lasting(
            "the server did not bind the login to TLS, which channel_binding=require asks for: it needs TLS, a password \
             with scram-sha-256 and no pooler between; or write channel_binding=prefer",
        ),
        text if text.contains("password missing") => Explained {
            is_everywhere: true,
            ..Explained::lasting(password_missing(login))
        },
        text if text.contains("unsupported authentication method") => Explained::lasting(
            "the server asks for a kind of login that is not supported: use scram-sha-256 or a client certificate",
        ),
        text if text.contains("does not allow writes") => {
            Explained::passing("it is read-only: name the primary, not a replica")
        }
        // What is no PostgreSQL of 17 or newer closes the connection.
        text if facts.tls.is_direct && is_end(error) => Explained::passing(format!(
            "the handshake of TLS failed ({text}): sslnegotiation=direct needs PostgreSQL 17 or newer"
        )),
        text => Explained::passing(text),
    }
}

fn password_missing(login: &UserAndPassword) -> String {
    let ignored = login
        .ignored
        .as_ref()
        .map(|why| format!(" ({why})"))
        .unwrap_or_default();
    format!(
        "the server asks for a password and none is given{ignored}: write it into the URL, PGPASSWORD, ~/.pgpass or \
         database-url-file, or give database-password-command"
    )
}

fn of_server(code: &str, message: &str) -> Explained {
    match code {
        "28P01" => Explained {
            is_everywhere: true,
            ..Explained::lasting(format!("{message}: correct the user or the password"))
        },
        // PgBouncer has one code for all refusals.
        "08P01" if message.contains("authentication failed") || message.contains("password") => Explained {
            is_everywhere: true,
            ..Explained::lasting(format!("{message}: correct the user or the password"))
        },
        "08P01" if message.contains("no such") => Explained::lasting(format!("{message}: correct the URL")),
        "28000" if message.contains("client certificate") => Explained::lasting(format!(
            "{message}: give sslcert and sslkey, of an authority that the server trusts"
        )),
        "28000" if message.contains("no encryption") => Explained::lasting(format!(
            "{message}: if the server admits connections with TLS only, write sslmode=verify-full"
        )),
        "28000" => Explained::lasting(format!("{message}: correct the user, or the server's pg_hba.conf")),
        "3D000" => Explained {
            is_everywhere: true,
            ..Explained::lasting(format!(
                "{message}: correct the name in the URL, or create the database"
            ))
        },
        "42501" | "0A000" | "22023" | "42704" | "42601" => Explained::lasting(message),
        _ => Explained::passing(message),
    }
}

fn of_tls(error: &rustls::Error, facts: &AccessFacts) -> Explained {
    let authorities = match facts.tls.authorities {
        Authorities::File(_) => "sslrootcert",
        Authorities::System => "the authorities of this machine; name its authority with sslrootcert",
    };
    match error {
        rustls::Error::InvalidCertificate(certificate) => of_certificate(certificate, authorities),
        rustls::Error::AlertReceived(alert) => of_alert(*alert),
        rustls::Error::InvalidMessage(_) => {
            Explained::lasting("what answers there does not speak TLS: correct the host and the port")
        }
        rustls::Error::PeerIncompatible(_) => Explained::lasting(format!(
            "the server has no version or cipher of TLS in common with this one: {error}"
        )),
        other => Explained::passing(format!("the handshake of TLS failed: {other}")),
    }
}

fn of_certificate(error: &CertificateError, authorities: &str) -> Explained {
    Explained::lasting(match error {
        CertificateError::UnknownIssuer => {
            format!("the certificate of the server is not signed by {authorities}")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate of the server, or of its authority, has expired: renew it there".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate of the server is not valid yet: correct the clock of this machine, or renew it there"
                .to_owned()
        }
        CertificateError::NotValidForName => {
            "the certificate of the server has another name than the host of the URL: \
             write the host as it is in the certificate, with hostaddr for its address"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "the certificate of the server is for {} and not for {}: write the host as it is in the certificate, with \
             hostaddr for its address",
            match presented.is_empty() {
                true => "no host".to_owned(),
                false => presented.join(", "),
            },
            expected.to_str()
        ),
        other => format!("the certificate of the server cannot be accepted: {other}"),
    })
}

fn of_alert(alert: AlertDescription) -> Explained {
    match alert {
        AlertDescription::CertificateRequired => {
            Explained::lasting("the server asks for a client certificate: give sslcert and sslkey")
        }
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateRevoked
        | AlertDescription::DecryptError
        | AlertDescription::UnsupportedCertificate => Explained::lasting(format!(
            "the server does not accept the client certificate in sslcert ({alert:?}): give one of an authority that it trusts"
        )),
        AlertDescription::NoApplicationProtocol => {
            Explained::lasting("the server does not know sslnegotiation=direct: leave it out")
        }
        AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => Explained::lasting(format!(
            "the server has no version or cipher of TLS in common with this one ({alert:?})"
        )),
        other => Explained::passing(format!("the server has ended the handshake of TLS ({other:?})")),
    }
}

/// Returns the error of TLS among the causes of an error. It may be inside an IO error.
fn tls_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        if let Some(tls) = inner.downcast_ref() {
            return Some(tls);
        }
        let io = inner.downcast_ref::<io::Error>().and_then(|io| io.get_ref());
        if let Some(tls) = io.and_then(|wrapped| wrapped.downcast_ref()) {
            return Some(tls);
        }
        cause = inner.source();
    }
    None
}

fn is_end(error: &tokio_postgres::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    error.is_closed() || cause.is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
}
