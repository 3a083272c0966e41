//! The binding of a login to the server's certificate (RFC 5929, section 4.1): its digest by the hash of its signature,
//! and SHA-256 for the weaker ones.

use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _};

const PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
/// Signatures with MD5, SHA-1 or SHA-256: of RSA and of ECDSA.
const SHA_256: [ObjectIdentifier; 5] = [
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.4"),
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5"),
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11"),
    ObjectIdentifier::new_unwrap("1.2.840.10045.4.1"),
    ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2"),
];
const SHA_384: [ObjectIdentifier; 2] = [
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12"),
    ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3"),
];
const SHA_512: [ObjectIdentifier; 2] = [
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13"),
    ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4"),
];
/// The hashes in the parameters of RSASSA-PSS (RFC 4055), as DER: the object identifier of each.
const PSS_SHA_256: &[u8] = &[0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
const PSS_SHA_384: &[u8] = &[0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
const PSS_SHA_512: &[u8] = &[0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03];

/// Returns the binding; `None` for a signature without a hash of its own (Ed25519), for which none is defined.
pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let parsed = x509_cert::Certificate::from_der(certificate).ok()?;
    let algorithm = parsed.signature_algorithm();
    let has = |hash: &[u8]| {
        let parameters = algorithm.parameters.as_ref().and_then(|any| any.to_der().ok());
        parameters.is_some_and(|der| der.windows(hash.len()).any(|part| part == hash))
    };
    match algorithm.oid {
        oid if SHA_256.contains(&oid) || (oid == PSS && has(PSS_SHA_256)) => Some(Sha256::digest(certificate).to_vec()),
        oid if SHA_384.contains(&oid) || (oid == PSS && has(PSS_SHA_384)) => Some(Sha384::digest(certificate).to_vec()),
        oid if SHA_512.contains(&oid) || (oid == PSS && has(PSS_SHA_512)) => Some(Sha512::digest(certificate).to_vec()),
        _ => None,
    }
}
