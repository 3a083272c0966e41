//! Builds the TLS configuration of a listener from files. This module keeps no state.

use super::certificate::Certificate;
use keyreeve_core::Timestamp;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;
use zeroize::Zeroizing;

/// Largest file of certificates or keys.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Protocols inside TLS (ALPN), in order of preference.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The TLS files of a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The certificate chain in PEM, leaf first.
    pub cert: PathBuf,
    /// The private key of the leaf certificate, in PEM, not encrypted.
    pub key: PathBuf,
    /// CA certificates that client certificates are verified with; `None` requests none.
    pub client_ca: Option<PathBuf>,
}

/// Why files cannot be used. Each error names the file.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file does not exist, or cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file is larger than any certificate.
    #[error("{0} is larger than 1 MiB: it is not a certificate or key")]
    TooLarge(PathBuf),
    /// A file has no certificate, or a malformed one.
    #[error("{0} holds no certificate that can be read: it must hold PEM blocks that begin with BEGIN CERTIFICATE")]
    NoCertificate(PathBuf),
    /// There is no private key in a file.
    #[error(
        "{0} holds no private key that can be used: it must hold one in PEM that is not encrypted (RSA, ECDSA or Ed25519)"
    )]
    NoKey(PathBuf),
    /// The private key does not match the certificate.
    #[error(
        "the private key in {key} does not belong to the first certificate in {cert}: name the pair that was made together"
    )]
    DoNotMatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A certificate that would replace another has expired, or is not yet valid.
    #[error("the certificate in {path} is {certificate}: it is past its time, or before it")]
    OutOfTime {
        /// The file.
        path: PathBuf,
        /// The certificate.
        certificate: Certificate,
    },
    /// The TLS library refuses the configuration.
    #[error("TLS cannot be set up with {path}: {why}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// Valid files, parsed.
pub struct Loaded {
    pub(super) config: Arc<ServerConfig>,
    /// The leaf certificate.
    pub certificate: Certificate,
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// Reads the files and checks that they belong together. The caller checks the validity period.
pub fn load(files: &TlsFiles) -> Result<Loaded, TlsError> {
    let chain = certificates(&files.cert)?;
    let no_certificate = || TlsError::NoCertificate(files.cert.clone());
    let certificate = chain.first().and_then(Certificate::read).ok_or_else(no_certificate)?;
    let provider = Arc::new(default_provider());
    let no_key = || TlsError::NoKey(files.key.clone());
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|_| no_key())?;
    let pair = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => TlsError::DoNotMatch {
            cert: files.cert.clone(),
            key: files.key.clone(),
        },
        rustls::Error::InvalidCertificate(_) => no_certificate(),
        _ => no_key(),
    })?;
    let refused = |path: &Path| {
        let path = path.to_owned();
        move |why: String| TlsError::Refused { path, why }
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(&files.cert)(error.to_string()))?;
    let shown = Arc::new(ShownCertificate(Arc::new(pair)));
    let mut config = match &files.client_ca {
        None => {
            let mut config = builder.with_no_client_auth().with_cert_resolver(shown);
            // Each pair has its own key for tickets: after a renewal, clients that resume do a full handshake.
            config.ticketer = Ticketer::new().map_err(|error| refused(&files.cert)(error.to_string()))?;
            config
        }
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities(path)?), provider)
                .build()
                .map_err(|error| refused(path)(error.to_string()))?;
            let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(shown);
            // A resumed session would not present its client certificate again, not even after that has expired.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            config
        }
    };
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Loaded {
        config: Arc::new(config),
        certificate,
    })
}

/// Presents one certificate to every client, whatever server name it requests.
#[derive(Debug)]
struct ShownCertificate(Arc<CertifiedKey>);

impl ResolvesServerCert for ShownCertificate {
    fn resolve(&self, _asked: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// Digests of the files; `None` for one that cannot be read.
pub(super) type Fingerprint = [Option<[u8; 32]>; 3];

impl TlsFiles {
    /// Returns digests of the files as they are now, to detect a change without keeping their contents.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let digest = |path: &PathBuf| read(path).ok().map(|bytes| Sha256::digest(&*bytes).into());
        let client_ca = self.client_ca.as_ref().and_then(digest);
        [digest(&self.cert), digest(&self.key), client_ca]
    }

    /// Returns an error if the certificate is outside its validity period.
    pub(super) fn in_time(&self, loaded: Loaded, now: Timestamp) -> Result<Loaded, TlsError> {
        if loaded.certificate.is_out_of_time(now) {
            return Err(TlsError::OutOfTime {
                path: self.cert.clone(),
                certificate: loaded.certificate,
            });
        }
        Ok(loaded)
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let failed = |error| TlsError::Read {
        path: path.to_owned(),
        error,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::new());
    // One byte more than allowed: a larger file is then distinguished from one of exactly that size.
    let length = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    match u64::try_from(length).is_ok_and(|length| length <= FILE_BYTES_MAX) {
        true => Ok(bytes),
        false => Err(TlsError::TooLarge(path.to_owned())),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let none = || TlsError::NoCertificate(path.to_owned());
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(none)
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| TlsError::Refused {
            path: path.to_owned(),
            why: error.to_string(),
        })?;
    }
    Ok(roots)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    /// Returns a certificate that is valid until a year, and its key, in PEM.
    pub(in crate::tls) fn made(until: i32) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names = ["*.example", "keys.example", "127.0.0.1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    pub(in crate::tls) fn in_directory(directory: &Path) -> TlsFiles {
        TlsFiles {
            cert: directory.join("cert.pem"),
            key: directory.join("key.pem"),
            client_ca: None,
        }
    }

    #[test]
    fn a_pair_says_for_whom_it_is_and_how_long() {
        let directory = tempfile::tempdir().unwrap();
        let files = in_directory(directory.path());
        let (cert, key) = made(2120);
        std::fs::write(&files.cert, cert).unwrap();
        std::fs::write(&files.key, key).unwrap();
        let certificate = load(&files).unwrap().certificate;
        assert_eq!(
            certificate.to_string(),
            "for *.example, keys.example, 127.0.0.1, valid until 2120-01-01T00:00:00Z"
        );
        assert_eq!(certificate.host_for([127, 0, 0, 1].into()), None);
        assert_eq!(
            certificate.host_for([10, 0, 0, 1].into()),
            Some("keys.example".to_owned())
        );
        assert!(!certificate.is_out_of_time(Timestamp::from_millis(1_800_000_000_000)));
        assert!(certificate.is_out_of_time(Timestamp::from_millis(1_500_000_000_000)));
        assert!(certificate.is_out_of_time(Timestamp::from_millis(4_800_000_000_000)));
    }

    #[test]
    fn what_cannot_be_used_is_said_with_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let files = in_directory(directory.path());
        let ((cert, key), (_, other_key)) = (made(2120), made(2120));
        let large = "x".repeat(1024 * 1024 + 1);
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (held, with, named, why) in [
            ("", key.as_str(), "cert.pem", "holds no certificate"),
            (&key, &key, "cert.pem", "holds no certificate"),
            (garbage, &key, "cert.pem", "holds no certificate"),
            (&large, &key, "cert.pem", "larger than 1 MiB"),
            (&cert, "", "key.pem", "holds no private key"),
            (&cert, &cert, "key.pem", "holds no private key"),
            (&cert, &other_key, "key.pem", "does not belong to"),
        ] {
            std::fs::write(&files.cert, held).unwrap();
            std::fs::write(&files.key, with).unwrap();
            let said = load(&files).unwrap_err().to_string();
            assert!(said.contains(named) && said.contains(why), "{said}");
        }
        std::fs::remove_file(&files.key).unwrap();
        let said = load(&files).unwrap_err().to_string();
        assert!(said.contains("cannot read") && said.contains("key.pem"), "{said}");
    }

    #[test]
    fn who_asks_callers_for_certificates_knows_their_authority() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = in_directory(directory.path());
        let (cert, key) = made(2120);
        std::fs::write(&files.cert, &cert).unwrap();
        std::fs::write(&files.key, &key).unwrap();
        let ca = directory.path().join("ca.pem");
        files.client_ca = Some(ca.clone());
        assert!(load(&files).unwrap_err().to_string().contains("cannot read"));
        std::fs::write(&ca, "").unwrap();
        assert!(
            load(&files)
                .unwrap_err()
                .to_string()
                .contains("ca.pem holds no certificate")
        );
        std::fs::write(&ca, cert).unwrap();
        let loaded = load(&files).unwrap();
        assert_eq!(loaded.config.send_tls13_tickets, 0);
    }
}
