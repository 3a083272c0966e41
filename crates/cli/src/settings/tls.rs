//! The TLS settings: files, and defaults.

use crate::exit::Usage;
use clap::Args;
use keyreeve_server::tls::TlsFiles;
use std::path::PathBuf;

/// The files, as they were given.
#[derive(Debug, Default, Args)]
pub(super) struct TlsOptions {
    /// The certificate chain of the API and the dashboard, in PEM, leaf first. With it they are served by TLS only.
    /// Changed files are loaded while the server runs
    #[arg(long, env = "KEYREEVE_TLS_CERT", value_name = "FILE")]
    pub(super) tls_cert: Option<PathBuf>,
    /// The private key of the certificate, in PEM
    #[arg(long, env = "KEYREEVE_TLS_KEY", value_name = "FILE")]
    pub(super) tls_key: Option<PathBuf>,
    /// The certificate chain of the check listener, if it is not the API's
    #[arg(long, env = "KEYREEVE_CHECK_TLS_CERT", value_name = "FILE")]
    pub(super) check_tls_cert: Option<PathBuf>,
    /// The private key of that certificate
    #[arg(long, env = "KEYREEVE_CHECK_TLS_KEY", value_name = "FILE")]
    pub(super) check_tls_key: Option<PathBuf>,
    /// Serve the check listener only to clients with a certificate of a CA in this file (mTLS)
    #[arg(long, env = "KEYREEVE_CHECK_CLIENT_CA", value_name = "FILE")]
    pub(super) check_client_ca: Option<PathBuf>,
    /// Serve the check listener without TLS although the API has it: for gateways on the same machine
    #[arg(long, env = "KEYREEVE_CHECK_PLAIN")]
    pub(super) check_plain: bool,
}

impl TlsOptions {
    /// Adds the options of `other` that are missing here. A certificate and its key always come from the same place:
    /// half of one pair with half of another is never intended.
    pub(super) fn or(self, other: Self) -> Self {
        let pair = |cert: Option<PathBuf>, key: Option<PathBuf>, other_cert, other_key| match (&cert, &key) {
            (None, None) => (other_cert, other_key),
            _ => (cert, key),
        };
        let (tls_cert, tls_key) = pair(self.tls_cert, self.tls_key, other.tls_cert, other.tls_key);
        let (check_tls_cert, check_tls_key) = pair(
            self.check_tls_cert,
            self.check_tls_key,
            other.check_tls_cert,
            other.check_tls_key,
        );
        Self {
            tls_cert,
            tls_key,
            check_tls_cert,
            check_tls_key,
            check_client_ca: self.check_client_ca.or(other.check_client_ca),
            check_plain: self.check_plain || other.check_plain,
        }
    }

    /// Returns the TLS of the API, and that of the check listener.
    pub(super) fn settle(self) -> Result<(Option<TlsFiles>, Option<TlsFiles>), Usage> {
        let api = pair("tls", self.tls_cert, self.tls_key)?;
        let own = pair("check-tls", self.check_tls_cert, self.check_tls_key)?;
        if self.check_plain && (own.is_some() || self.check_client_ca.is_some()) {
            let why = "check-plain leaves the check listener without TLS, which check-tls-cert and check-client-ca are \
                       about: give one or the other";
            return Err(Usage(why.to_owned()));
        }
        if self.check_plain {
            return Ok((api, None));
        }
        let check = own.or_else(|| api.clone());
        if check.is_none() && self.check_client_ca.is_some() {
            let why = "check-client-ca asks callers for certificates, which only TLS can: give tls-cert and tls-key, or \
                       check-tls-cert and check-tls-key";
            return Err(Usage(why.to_owned()));
        }
        let client_ca = self.check_client_ca;
        Ok((api, check.map(|files| TlsFiles { client_ca, ..files })))
    }
}

fn pair(name: &str, cert: Option<PathBuf>, key: Option<PathBuf>) -> Result<Option<TlsFiles>, Usage> {
    match (cert, key) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => Ok(Some(TlsFiles {
            cert,
            key,
            client_ca: None,
        })),
        (Some(_), None) => Err(Usage(format!(
            "{name}-cert is given without {name}-key: TLS needs both"
        ))),
        (None, Some(_)) => Err(Usage(format!(
            "{name}-key is given without {name}-cert: TLS needs both"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(options: &[(&str, &str)]) -> TlsOptions {
        let path = |name: &str| {
            let found = options.iter().find(|(given, _)| *given == name);
            found.map(|(_, value)| PathBuf::from(value))
        };
        TlsOptions {
            tls_cert: path("cert"),
            tls_key: path("key"),
            check_tls_cert: path("check-cert"),
            check_tls_key: path("check-key"),
            check_client_ca: path("ca"),
            check_plain: path("plain").is_some(),
        }
    }

    fn settled(options: &[(&str, &str)]) -> Option<(Option<String>, Option<String>)> {
        let text = |files: TlsFiles| {
            let ca = files.client_ca.map_or(String::new(), |ca| format!(" {}", ca.display()));
            format!("{} {}{ca}", files.cert.display(), files.key.display())
        };
        let (api, check) = given(options).settle().ok()?;
        Some((api.map(text), check.map(text)))
    }

    #[test]
    fn the_check_listener_has_the_apis_tls_unless_somebody_says_otherwise() {
        let api = [("cert", "a"), ("key", "b")];
        let both = |api: &str, check: &str| {
            let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            Some((some(api), some(check)))
        };
        let with = |more: &[(&'static str, &'static str)]| settled(&[&api[..], more].concat());
        assert_eq!(settled(&[]), both("", ""));
        assert_eq!(with(&[]), both("a b", "a b"));
        assert_eq!(with(&[("plain", "")]), both("a b", ""));
        assert_eq!(with(&[("check-cert", "c"), ("check-key", "d")]), both("a b", "c d"));
        assert_eq!(with(&[("ca", "e")]), both("a b", "a b e"));
        assert_eq!(settled(&[("check-cert", "c"), ("check-key", "d")]), both("", "c d"));
        assert_eq!(settled(&[("plain", "")]), both("", ""));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for wrong in [
            &[("cert", "a")][..],
            &[("key", "a")],
            &[("check-cert", "a")],
            &[("check-key", "a")],
            &[("ca", "a")],
            &[("cert", "a"), ("key", "b"), ("ca", "c"), ("plain", "")],
            &[("check-cert", "a"), ("check-key", "b"), ("plain", "")],
        ] {
            assert_eq!(settled(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_pair_comes_from_one_place() {
        let merged = given(&[("cert", "mine")]).or(given(&[("cert", "theirs"), ("key", "theirs")]));
        assert_eq!((merged.tls_cert, merged.tls_key), (Some("mine".into()), None));
        let merged = given(&[]).or(given(&[("cert", "theirs"), ("key", "theirs")]));
        assert_eq!(merged.tls_key, Some("theirs".into()));
    }
}
