//! The files of TLS: authorities, and the certificate and the key of this client.
//!
//! They are looked at before each new connection, and read again if one has changed, so that renewed certificates need
//! no restart. Files that cannot be used leave the earlier ones in use.

use super::super::access::{Authorities, Proof, TlsSettings, TlsUse};
use super::Handshakes;
use super::verifier::ServerProof;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Maximum size of a file in bytes. The authorities of a system have a quarter of a megabyte.
const FILE_MAX: u64 = 4 * 1024 * 1024;
/// The protocol's name in a handshake that begins at once (`sslnegotiation=direct`).
const PROTOCOL: &[u8] = b"postgresql";

/// The state of a file: when it was changed, its size, its place on the disk.
type FileState = Option<(i64, i64, u64, u64)>;

/// The files that are in use.
pub(in super::super) struct TlsFilesInUse {
    settings: TlsSettings,
    current: Mutex<Option<(Vec<FileState>, Handshakes)>>,
}

impl TlsFilesInUse {
    pub(in super::super) const fn new(settings: TlsSettings) -> Self {
        Self {
            settings,
            current: Mutex::new(None),
        }
    }

    /// Returns what makes handshakes, with the files as they are now. Blocks.
    pub(in super::super) fn handshakes(&self) -> Result<Handshakes, String> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let states = self.states();
        match &*current {
            Some((of, handshakes)) if *of == states => return Ok(handshakes.clone()),
            Some(_) | None => {}
        }
        match (config(&self.settings), &*current) {
            (Ok(config), _) => {
                let handshakes = Handshakes(Arc::new(config));
                *current = Some((states, handshakes.clone()));
                Ok(handshakes)
            }
            (Err(_), Some((_, earlier))) => Ok(earlier.clone()),
            (Err(why), None) => Err(why),
        }
    }

    fn states(&self) -> Vec<FileState> {
        let file = match &self.settings.authorities {
            Authorities::File(path) => Some(path),
            Authorities::System => None,
        };
        let identity = self.settings.identity.iter().flat_map(|(cert, key)| [cert, key]);
        file.into_iter().chain(identity).map(|path| state(path)).collect()
    }
}

fn state(path: &Path) -> FileState {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.mtime(), metadata.mtime_nsec(), metadata.size(), metadata.ino()))
}

fn config(settings: &TlsSettings) -> Result<ClientConfig, String> {
    let provider = Arc::new(default_provider());
    let (old, new) = (settings.versions.has_1_2, settings.versions.has_1_3);
    let versions: Vec<_> = [(old, &TLS12), (new, &TLS13)]
        .into_iter()
        .filter_map(|(is_used, version)| is_used.then_some(version))
        .collect();
    let verifier = verifier(settings, provider.signature_verification_algorithms)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|error| format!("TLS to the database cannot be set up: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &settings.identity {
        Some((cert, key)) if settings.usage != TlsUse::Never => {
            let chain = certificates(cert, "sslcert")?;
            builder
                .with_client_auth_cert(chain, private_key(key)?)
                .map_err(|error| {
                    format!(
                        "{} and {} do not belong together: {error}",
                        cert.display(),
                        key.display()
                    )
                })?
        }
        Some(_) | None => builder.with_no_client_auth(),
    };
    config.enable_sni = settings.sends_name;
    if settings.is_direct {
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
    }
    Ok(config)
}

fn verifier(
    settings: &TlsSettings,
    algorithms: rustls::crypto::WebPkiSupportedAlgorithms,
) -> Result<ServerProof, String> {
    let mut roots = RootCertStore::empty();
    let mut trusted = Vec::new();
    if settings.proof != Proof::Nothing {
        match &settings.authorities {
            Authorities::File(path) => {
                trusted = certificates(path, "sslrootcert")?;
                roots.add_parsable_certificates(trusted.iter().cloned());
            }
            Authorities::System => {
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
                if roots.is_empty() {
                    return Err(
                        "this machine has no certificate authorities: install them (the package ca-certificates), or \
                                name a file with sslrootcert"
                            .to_owned(),
                    );
                }
            }
        }
    }
    Ok(ServerProof {
        proof: settings.proof,
        roots,
        trusted,
        algorithms,
    })
}

fn pem(path: &Path, parameter: &str) -> Result<String, String> {
    let text = super::super::login::read_bounded(path, FILE_MAX);
    text.map_err(|error| format!("cannot read {} ({parameter}): {error}", path.display()))
}

fn certificates(path: &Path, parameter: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = pem(path, parameter)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(format!("{} ({parameter}) has no certificate in PEM", path.display())),
    }
}

/// Reads the key, unless other users can: libpq's rule, which allows a key of root to be read by its group.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let shown = path.display();
    let metadata = std::fs::metadata(path).map_err(|error| format!("cannot read {shown} (sslkey): {error}"))?;
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.mode() & forbidden != 0 {
        return Err(format!(
            "{shown} (sslkey) can be read by other users: set its mode to 600, or to 640 if root owns it"
        ));
    }
    PrivateKeyDer::from_pem_slice(pem(path, "sslkey")?.as_bytes())
        .map_err(|_| format!("{shown} (sslkey) has no private key in PEM, or one that is encrypted"))
}
