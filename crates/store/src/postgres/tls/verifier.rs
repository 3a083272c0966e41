//! Which certificate of a server is accepted.

use super::super::access::Proof;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::{Decode as _, Encode as _};

/// Accepts a certificate as `sslmode` requires it.
#[derive(Debug)]
pub(super) struct ServerProof {
    pub(super) proof: Proof,
    pub(super) roots: RootCertStore,
    /// Certificates that are trusted as they are: those of the file, because a server may have itself signed the one
    /// that it has.
    pub(super) trusted: Vec<CertificateDer<'static>>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for ServerProof {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.proof >= Proof::Chain {
            let parsed = ParsedCertificate::try_from(certificate)?;
            if self
                .trusted
                .iter()
                .any(|trusted| trusted.as_ref() == certificate.as_ref())
            {
                must_be_in_time(certificate, now)?;
            } else {
                let algorithms = self.algorithms.all;
                verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
            }
            if self.proof == Proof::Name {
                verify_server_name(&parsed, name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = verify_tls12_signature(message, certificate, signed, &self.algorithms);
        verified.or_else(|error| self.by_bare_key(error, message, certificate, (signed, usize::MAX)))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = verify_tls13_signature(message, certificate, signed, &self.algorithms);
        verified.or_else(|error| match signed.scheme {
            // TLS 1.3 has none of these.
            SignatureScheme::RSA_PKCS1_SHA1
            | SignatureScheme::RSA_PKCS1_SHA256
            | SignatureScheme::RSA_PKCS1_SHA384
            | SignatureScheme::RSA_PKCS1_SHA512 => Err(error),
            // And its schemes have one curve each.
            _ => self.by_bare_key(error, message, certificate, (signed, 1)),
        })
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ServerProof {
    /// Verifies the signature of a handshake with the key of a certificate that the library does not accept, for
    /// instance of version 1, if nothing of the certificate has to be proved. Otherwise fails with `error`. At most `algorithms_max`
    /// of the scheme are tried.
    fn by_bare_key(
        &self,
        error: Error,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        (signed, algorithms_max): (&DigitallySignedStruct, usize),
    ) -> Result<HandshakeSignatureValid, Error> {
        let Some((algorithm, key)) = bare_key(certificate).filter(|_| self.proof == Proof::Nothing) else {
            return Err(error);
        };
        let of_scheme = self
            .algorithms
            .mapping
            .iter()
            .find(|(scheme, _)| *scheme == signed.scheme);
        let mut possible = of_scheme
            .into_iter()
            .flat_map(|(_, all)| all.iter().take(algorithms_max));
        let is_signed = possible.any(|one| {
            one.public_key_alg_id().as_ref() == algorithm
                && one.verify_signature(&key, message, signed.signature()).is_ok()
        });
        match is_signed {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(error),
        }
    }
}

/// Returns the algorithm of a certificate's key, as the content of its DER, and the key.
fn bare_key(certificate: &CertificateDer<'_>) -> Option<(Vec<u8>, Vec<u8>)> {
    let parsed = x509_cert::Certificate::from_der(certificate).ok()?;
    let info = parsed.tbs_certificate().subject_public_key_info();
    let algorithm = info.algorithm.to_der().ok()?;
    let content = AnyRef::from_der(&algorithm).ok()?.value().to_vec();
    Some((content, info.subject_public_key.as_bytes()?.to_vec()))
}

/// The library checks the times of a chain only, and a certificate that is trusted as it is has none.
fn must_be_in_time(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let parsed = x509_cert::Certificate::from_der(certificate);
    let parsed = parsed.map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let validity = parsed.tbs_certificate().validity();
    let seconds = now.as_secs();
    if seconds > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    if seconds < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};
    use rustls::crypto::aws_lc_rs;
    use rustls::server::{ClientHello, ResolvesServerCert};
    use rustls::sign::CertifiedKey;
    use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, SupportedProtocolVersion, version};
    use std::sync::Arc;
    use x509_cert::der::Tag;

    /// Returns a sequence of elements.
    fn sequence(elements: &[Vec<u8>]) -> Vec<u8> {
        let content = elements.concat();
        AnyRef::new(Tag::Sequence, &content).unwrap().to_der().unwrap()
    }

    /// Returns the elements in the content of one.
    fn elements(outer: &[u8]) -> Vec<Vec<u8>> {
        let mut rest = AnyRef::from_der(outer).unwrap().value();
        let mut all = Vec::new();
        while !rest.is_empty() {
            let (_, after) = AnyRef::from_der_partial(rest).unwrap();
            all.push(rest[..rest.len() - after.len()].to_vec());
            rest = after;
        }
        all
    }

    /// Returns a certificate of version 1, which has neither a version nor extensions.
    fn of_version_1(key: &KeyPair) -> CertificateDer<'static> {
        let newest = CertificateParams::new(vec!["db.example".to_owned()]).unwrap();
        let parts = elements(newest.self_signed(key).unwrap().der());
        let kept = elements(&parts[0])
            .into_iter()
            .filter(|one| one[0] != 0xa0 && one[0] != 0xa3);
        let body = sequence(&kept.collect::<Vec<_>>());
        sequence(&[body, parts[1].clone(), parts[2].clone()]).into()
    }

    #[derive(Debug)]
    struct Fixed(Arc<CertifiedKey>);

    impl ResolvesServerCert for Fixed {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
    }

    /// Makes a handshake with a server that has the certificate and signs with the key.
    fn handshake(
        certificate: CertificateDer<'static>,
        key: &KeyPair,
        proof: Proof,
        version: &'static SupportedProtocolVersion,
    ) -> Result<(), Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let key = aws_lc_rs::sign::any_supported_type(&key.serialize_der().try_into().unwrap()).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Fixed(Arc::new(CertifiedKey::new(vec![certificate], key)))));
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ServerProof {
                proof,
                roots: RootCertStore::empty(),
                trusted: Vec::new(),
                algorithms,
            }))
            .with_no_client_auth();
        let mut client = ClientConnection::new(Arc::new(client), "db.example".try_into().unwrap()).unwrap();
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        while client.is_handshaking() {
            let mut sent = Vec::new();
            client.write_tls(&mut sent).unwrap();
            server.read_tls(&mut sent.as_slice()).unwrap();
            drop(server.process_new_packets());
            let mut answer = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut answer).unwrap();
            }
            let mut rest = answer.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets()?;
            }
        }
        Ok(())
    }

    #[test]
    fn a_certificate_of_version_1_is_accepted_where_nothing_is_proved_and_its_key_has_to_sign() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        for version in [&version::TLS12, &version::TLS13] {
            let tried = |key, proof| handshake(of_version_1(&other), key, proof, version);
            assert_eq!(tried(&other, Proof::Nothing), Ok(()), "{version:?}");
            assert!(tried(&key, Proof::Nothing).is_err(), "the key of another: {version:?}");
            assert!(tried(&other, Proof::Chain).is_err(), "{version:?}");
        }
    }
}
