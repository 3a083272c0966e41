//! The TLS settings: which files belong together.

use super::Options;
use crate::exit::UsageError;
use keyreeve_server::tls::TlsFiles;
use std::path::PathBuf;

impl Options {
    /// Removes what the file has of a pair if a part of it was given elsewhere. A certificate and its key always come
    /// from the same place: half of one pair with half of another is never intended.
    pub(super) fn forget_halves(&mut self, is_given: impl Fn(&str) -> bool) {
        if is_given("tls_cert") || is_given("tls_key") {
            (self.tls_cert, self.tls_key) = (None, None);
        }
        if is_given("check_tls_cert") || is_given("check_tls_key") {
            (self.check_tls_cert, self.check_tls_key) = (None, None);
        }
    }

    /// Takes the TLS of the API, and that of the check listener.
    pub(super) fn tls(&mut self) -> Result<(Option<TlsFiles>, Option<TlsFiles>), UsageError> {
        let api = pair("tls", self.tls_cert.take(), self.tls_key.take())?;
        let own = pair("check-tls", self.check_tls_cert.take(), self.check_tls_key.take())?;
        let client_ca = self.check_client_ca.take();
        if self.check_plain && (own.is_some() || client_ca.is_some()) {
            let why = "check-plain leaves the check listener without TLS, which check-tls-cert and check-client-ca are \
                       about: give one or the other";
            return Err(UsageError(why.to_owned()));
        }
        if self.check_plain {
            return Ok((api, None));
        }
        let check = own.or_else(|| api.clone());
        if check.is_none() && client_ca.is_some() {
            let why = "check-client-ca asks callers for certificates, which only TLS can: give tls-cert and tls-key, or \
                       check-tls-cert and check-tls-key";
            return Err(UsageError(why.to_owned()));
        }
        Ok((api, check.map(|files| TlsFiles { client_ca, ..files })))
    }
}

fn pair(name: &str, cert: Option<PathBuf>, key: Option<PathBuf>) -> Result<Option<TlsFiles>, UsageError> {
    match (cert, key) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => Ok(Some(TlsFiles {
            cert,
            key,
            client_ca: None,
        })),
        (Some(_), None) => Err(UsageError(format!(
            "{name}-cert is given without {name}-key: TLS needs both"
        ))),
        (None, Some(_)) => Err(UsageError(format!(
            "{name}-key is given without {name}-cert: TLS needs both"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::declared;

    fn given(options: &[(&str, &str)]) -> Options {
        let path = |name: &str| {
            let found = options.iter().find(|(given, _)| *given == name);
            found.map(|(_, value)| PathBuf::from(value))
        };
        Options {
            tls_cert: path("cert"),
            tls_key: path("key"),
            check_tls_cert: path("check-cert"),
            check_tls_key: path("check-key"),
            check_client_ca: path("ca"),
            check_plain: path("plain").is_some(),
            ..declared()
        }
    }

    fn settled(options: &[(&str, &str)]) -> Option<(Option<String>, Option<String>)> {
        let text = |files: TlsFiles| {
            let ca = files.client_ca.map_or(String::new(), |ca| format!(" {}", ca.display()));
            format!("{} {}{ca}", files.cert.display(), files.key.display())
        };
        let (api, check) = given(options).tls().ok()?;
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
}
