//! Reads the names and the validity period of a certificate. Whether to trust it is decided elsewhere.

use keyreeve_core::Timestamp;
use rustls::pki_types::CertificateDer;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// The parts of a certificate that are reported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// Host names of the certificate; a name may begin with `*.`.
    pub dns_names: Vec<String>,
    /// Addresses of the certificate.
    pub addresses: Vec<IpAddr>,
    /// Start of its validity.
    pub not_before: Timestamp,
    /// End of its validity.
    pub not_after: Timestamp,
}

impl Certificate {
    /// Parses a certificate; `None` if it is malformed.
    pub(super) fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let certificate = x509_cert::Certificate::from_der(der).ok()?;
        let facts = certificate.tbs_certificate();
        let (mut dns_names, mut addresses) = (Vec::new(), Vec::new());
        let names = facts.get_extension::<SubjectAltName>().ok()?;
        for name in names.into_iter().flat_map(|(_, names)| names.0) {
            match name {
                GeneralName::DnsName(name) => dns_names.push(name.to_string()),
                GeneralName::IpAddress(bytes) => addresses.extend(address(bytes.as_bytes())),
                _ => {}
            }
        }
        let validity = facts.validity();
        Some(Self {
            dns_names,
            addresses,
            not_before: timestamp(validity.not_before.to_unix_duration()),
            not_after: timestamp(validity.not_after.to_unix_duration()),
        })
    }

    /// Returns whether it has expired, or is not yet valid.
    pub fn is_out_of_time(&self, now: Timestamp) -> bool {
        now >= self.not_after || now < self.not_before
    }

    /// Returns the host to use in a URL of this machine: `None` if the certificate has the address itself, else its
    /// first name without a wildcard.
    pub fn host_for(&self, address: IpAddr) -> Option<String> {
        if self.addresses.contains(&address) {
            return None;
        }
        self.dns_names.iter().find(|name| !name.starts_with("*.")).cloned()
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = self.addresses.iter().map(ToString::to_string);
        let names: Vec<_> = self.dns_names.iter().cloned().chain(addresses).collect();
        let until = jiff::Timestamp::from_millisecond(self.not_after.millis()).unwrap_or(jiff::Timestamp::MAX);
        let names = if names.is_empty() {
            "no host".to_owned()
        } else {
            names.join(", ")
        };
        write!(f, "for {names}, valid until {}", until.strftime("%Y-%m-%dT%H:%M:%SZ"))
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(Ipv4Addr::from).map(IpAddr::V4);
    let sixteen = || <[u8; 16]>::try_from(bytes).map(Ipv6Addr::from).map(IpAddr::V6);
    four.or_else(|_| sixteen()).ok()
}

fn timestamp(since_epoch: Duration) -> Timestamp {
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
