//! What differs between gateways.

use hyper::{HeaderMap, StatusCode};
use std::net::{IpAddr, SocketAddr};

/// A gateway, as the path names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Profile {
    Nginx,
    Caddy,
    Traefik,
    Envoy,
    Haproxy,
    Generic,
}

impl Profile {
    pub(super) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "nginx" => Self::Nginx,
            "caddy" => Self::Caddy,
            "traefik" => Self::Traefik,
            "envoy" => Self::Envoy,
            "haproxy" => Self::Haproxy,
            "generic" => Self::Generic,
            _ => return None,
        })
    }

    /// Returns the one header in which this gateway reports the end user's address (G-08). Those of other gateways are
    /// never read: the client may have sent them.
    const fn address_header(self) -> &'static str {
        match self {
            // Envoy appends its own address to X-Forwarded-For on checks, so the last entry there is not the client's.
            Self::Nginx | Self::Envoy => "x-real-ip",
            Self::Caddy | Self::Traefik | Self::Haproxy | Self::Generic => "x-forwarded-for",
        }
    }

    /// Returns the end user's address: the last of several, which the gateway itself added. Those before it are
    /// unverified.
    pub(super) fn address(self, headers: &HeaderMap) -> Option<IpAddr> {
        let last = headers.get_all(self.address_header()).iter().next_back()?;
        let text = last.to_str().ok()?.rsplit(',').next()?.trim();
        let with_port = || text.parse::<SocketAddr>().map(|address| address.ip());
        text.parse().or_else(|_| with_port()).ok()
    }

    /// Returns the status of a denial. nginx passes on 401 and 403 and turns any other status into 500 (G-04).
    pub(super) fn status(self, status: StatusCode) -> StatusCode {
        match self {
            Self::Nginx if status != StatusCode::UNAUTHORIZED => StatusCode::FORBIDDEN,
            Self::Nginx | Self::Caddy | Self::Traefik | Self::Envoy | Self::Haproxy | Self::Generic => status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn each_profile_reads_one_header_of_addresses_and_the_last_entry_of_it() {
        let real = headers(&[("x-real-ip", "192.0.2.1"), ("x-forwarded-for", "192.0.2.2")]);
        assert_eq!(Profile::Nginx.address(&real), "192.0.2.1".parse().ok());
        assert_eq!(Profile::Envoy.address(&real), "192.0.2.1".parse().ok());
        assert_eq!(Profile::Caddy.address(&real), "192.0.2.2".parse().ok());
        for (value, expected) in [
            ("203.0.113.9, 192.0.2.2", Some("192.0.2.2")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("192.0.2.2:4711", Some("192.0.2.2")),
            ("[2001:db8::1]:4711", Some("2001:db8::1")),
            ("192.0.2.2,", None),
            ("unknown", None),
            ("", None),
        ] {
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(
                Profile::Traefik.address(&headers(&[("x-forwarded-for", value)])),
                expected,
                "{value}"
            );
        }
        let twice = headers(&[("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "192.0.2.2")]);
        assert_eq!(Profile::Generic.address(&twice), "192.0.2.2".parse().ok());
        assert_eq!(
            Profile::Nginx.address(&headers(&[("x-forwarded-for", "192.0.2.2")])),
            None
        );
    }

    #[test]
    fn only_nginx_hears_another_status() {
        let table = [(400, 403), (401, 401), (403, 403), (429, 403), (503, 403)];
        for (status, for_nginx) in table {
            let code = |code: u16| StatusCode::from_u16(code).unwrap();
            assert_eq!(Profile::Nginx.status(code(status)), code(for_nginx));
            assert_eq!(Profile::Haproxy.status(code(status)), code(status));
        }
    }
}
