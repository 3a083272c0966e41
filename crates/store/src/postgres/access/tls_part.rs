//! The parameters of TLS, with libpq's meanings.

use super::settle::ParameterReader;
use std::path::PathBuf;

/// Whether a connection has TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum TlsUse {
    /// It has none.
    Never,
    /// It has, unless the server offers none.
    IfOffered,
    /// It has, or fails.
    Always,
}

/// What the certificate of the server has to prove.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in super::super) enum Proof {
    /// Nothing: any certificate is accepted.
    Nothing,
    /// That a trusted authority has signed it.
    Chain,
    /// That, and the name of the server.
    Name,
}

/// The authorities that sign certificates of servers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in super::super) enum Authorities {
    /// Those of this machine.
    System,
    /// Those in a file, in PEM.
    File(PathBuf),
}

/// How connections have TLS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in super::super) struct TlsSettings {
    pub(in super::super) usage: TlsUse,
    pub(in super::super) proof: Proof,
    pub(in super::super) authorities: Authorities,
    /// The certificate chain of this client and its key, in PEM.
    pub(in super::super) identity: Option<(PathBuf, PathBuf)>,
    /// Whether the server's name is sent in the handshake.
    pub(in super::super) sends_name: bool,
    /// Whether the handshake begins at once, as PostgreSQL 17 allows.
    pub(in super::super) is_direct: bool,
    pub(in super::super) versions: Versions,
}

/// The versions of TLS that may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) struct Versions {
    pub(in super::super) has_1_2: bool,
    pub(in super::super) has_1_3: bool,
}

/// The values of `sslmode`.
const MODES: [(&str, (TlsUse, Proof)); 5] = [
    ("disable", (TlsUse::Never, Proof::Nothing)),
    ("prefer", (TlsUse::IfOffered, Proof::Nothing)),
    ("require", (TlsUse::Always, Proof::Nothing)),
    ("verify-ca", (TlsUse::Always, Proof::Chain)),
    ("verify-full", (TlsUse::Always, Proof::Name)),
];

impl TlsSettings {
    /// Reads the parameters.
    pub(super) fn read(values: &mut ParameterReader) -> Self {
        let mode = mode(values);
        let file = values.take("sslrootcert");
        let is_system = file.as_deref() == Some("system");
        let has_file = file.is_some() && !is_system;
        let (usage, proof) = match mode {
            Some((usage, proof)) => (usage, proof),
            None if is_system => (TlsUse::Always, Proof::Name),
            None => (TlsUse::IfOffered, Proof::Nothing),
        };
        // libpq's rules: with a file every certificate is verified by it, and the authorities of the system, which
        // sign certificates for anyone, are good only together with the name.
        let proof = if has_file { proof.max(Proof::Chain) } else { proof };
        if is_system && proof != Proof::Name {
            values
                .complain("sslrootcert=system needs sslmode=verify-full: its authorities sign certificates for anyone");
        } else if !has_file && proof == Proof::Chain {
            values.complain(
                "sslmode=verify-ca needs sslrootcert, a file with your authority; to use the system's authorities, \
                 write sslmode=verify-full",
            );
        }
        let is_direct = values.one_of("sslnegotiation", &[("postgres", false), ("direct", true)]) == Some(true);
        if is_direct && usage != TlsUse::Always {
            values.complain("sslnegotiation=direct needs sslmode=require, verify-ca or verify-full");
        }
        let sends_name = values.one_of("sslsni", &[("1", true), ("0", false)]);
        let identity = identity(values);
        let _ = values.one_of("sslcompression", &[("0", ()), ("1", ())]);
        Self {
            usage,
            proof,
            authorities: file
                .filter(|_| has_file)
                .map_or(Authorities::System, |path| Authorities::File(path.into())),
            identity,
            sends_name: sends_name.unwrap_or(true),
            is_direct,
            versions: versions(values),
        }
    }
}

/// Returns the mode, also where it is written as JDBC or Prisma write it.
fn mode(values: &mut ParameterReader) -> Option<(TlsUse, Proof)> {
    let given = values.one_of("sslmode", &MODES);
    let of_jdbc = values.one_of(
        "ssl",
        &[
            ("true", (TlsUse::Always, Proof::Nothing)),
            ("false", (TlsUse::Never, Proof::Nothing)),
        ],
    );
    let of_prisma = values.one_of(
        "sslaccept",
        &[("strict", Proof::Name), ("accept_invalid_certs", Proof::Nothing)],
    );
    match (given.or(of_jdbc), of_prisma) {
        (Some((TlsUse::Never, _)), Some(Proof::Name)) => {
            values.complain("sslmode=disable and sslaccept=strict contradict each other: leave sslaccept out");
            None
        }
        (_, Some(Proof::Name)) => Some((TlsUse::Always, Proof::Name)),
        (None, Some(Proof::Nothing)) => Some((TlsUse::Always, Proof::Nothing)),
        (mode, _) => mode,
    }
}

fn identity(values: &mut ParameterReader) -> Option<(PathBuf, PathBuf)> {
    let (cert, key) = (values.take("sslcert"), values.take("sslkey"));
    let is_sent = values.one_of("sslcertmode", &[("allow", true), ("disable", false)]);
    match (cert, key) {
        (Some(cert), Some(key)) if is_sent != Some(false) => Some((cert.into(), key.into())),
        (Some(_), None) => {
            values.complain(
                "sslcert is given without sslkey: it is the certificate of this client. For the authority of the \
                 server, which Prisma calls sslcert, write sslrootcert",
            );
            None
        }
        (None, Some(_)) => {
            values.complain("sslkey is given without sslcert");
            None
        }
        (Some(_), Some(_)) | (None, None) => None,
    }
}

fn versions(values: &mut ParameterReader) -> Versions {
    // TLS 1.2 is the oldest version here whatever is given.
    let (old, new) = (("TLSv1.2", 2_u8), ("TLSv1.3", 3));
    let least = values
        .one_of("ssl_min_protocol_version", &[("TLSv1", 2), ("TLSv1.1", 2), old, new])
        .unwrap_or(2);
    let most = values.one_of("ssl_max_protocol_version", &[old, new]).unwrap_or(3);
    if least > most {
        values.complain("ssl_min_protocol_version is later than ssl_max_protocol_version");
    }
    Versions {
        has_1_2: least <= 2,
        has_1_3: most >= 3,
    }
}
