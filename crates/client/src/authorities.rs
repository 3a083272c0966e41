//! Certificate authorities that are trusted in place of the system's.

use crate::ClientError;
use reqwest::{Certificate, ClientBuilder};
use std::fmt;

/// Certificates of authorities that are trusted in place of the system's.
#[derive(Clone)]
pub struct Authorities(Vec<Certificate>);

impl Authorities {
    /// Parses certificates in PEM, one or several. [`ClientError::Authorities`] if there is none.
    pub fn from_pem(pem: &[u8]) -> Result<Self, ClientError> {
        let found = Certificate::from_pem_bundle(pem).map_err(|error| ClientError::Authorities(error.to_string()))?;
        match found.is_empty() {
            true => Err(ClientError::Authorities("there is no BEGIN CERTIFICATE".to_owned())),
            false => Ok(Self(found)),
        }
    }
}

/// Makes the client trust only these authorities.
pub(crate) fn trust(builder: ClientBuilder, authorities: Option<&Authorities>) -> ClientBuilder {
    match authorities {
        Some(authorities) => builder.tls_certs_only(authorities.0.iter().cloned()),
        None => builder,
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authorities").field(&self.0.len()).finish()
    }
}
