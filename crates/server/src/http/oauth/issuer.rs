//! The public name of this server.
//!
//! It is never taken from a request: the client chooses `Host`, and could redirect other clients with their keys. It is
//! the setting `public_url`, or else the listen address if only this machine can reach it. Otherwise the name is
//! unknown, and documents that need it are not served.

use std::net::SocketAddr;
use std::sync::OnceLock;

/// The server's own name, without a trailing slash.
#[derive(Debug, Default)]
pub(crate) struct Issuer {
    name: OnceLock<String>,
    /// The base of links: the public URL, else the URL at which this machine reaches the API.
    links: OnceLock<String>,
}

impl Issuer {
    /// Fixes the name, once the listen address and the origin for browsers are known.
    pub(crate) fn settle(&self, public_url: Option<&str>, bound: Option<SocketAddr>, origin: &str) {
        let is_ours_alone = bound.is_some_and(|address| address.ip().is_loopback());
        let own = || is_ours_alone.then(|| origin.to_owned());
        if let Some(name) = public_url.map(str::to_owned).or_else(own) {
            self.name.get_or_init(|| name);
        }
        self.links.get_or_init(|| public_url.unwrap_or(origin).to_owned());
    }

    /// Returns the name, if it is known.
    pub(crate) fn get(&self) -> Option<&str> {
        self.name.get().map(String::as_str)
    }

    /// Returns the base of links. It is empty with only Unix sockets and no public URL.
    pub(crate) fn base(&self) -> &str {
        self.links.get().map_or("", String::as_str)
    }

    /// Returns the URL of the page where the holder of a one-time token sets a password. With only Unix sockets and no
    /// public URL it is a path.
    pub(crate) fn setup_link(&self, token: &str) -> String {
        format!("{}/setup?token={token}", self.base())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_one_that_was_set_or_that_of_this_machine_alone() {
        let named = |url: Option<&str>, bound: &str| {
            let issuer = Issuer::default();
            issuer.settle(url, bound.parse().ok(), &format!("https://{bound}"));
            issuer.get().map(str::to_owned)
        };
        let url = Some("https://keys.example.com");
        assert_eq!(named(url, "127.0.0.1:7300").as_deref(), url);
        assert_eq!(named(url, "").as_deref(), url);
        assert_eq!(named(None, "127.0.0.1:7300").as_deref(), Some("https://127.0.0.1:7300"));
        assert_eq!(named(None, "[::1]:7300").as_deref(), Some("https://[::1]:7300"));
        for elsewhere in ["0.0.0.0:7300", "192.0.2.1:7300", "[::]:7300", ""] {
            assert_eq!(named(None, elsewhere), None, "{elsewhere}");
        }
    }

    #[test]
    fn links_begin_with_the_public_address_if_there_is_one() {
        let link = |url: Option<&str>, bound: &str, origin: &str| {
            let issuer = Issuer::default();
            issuer.settle(url, bound.parse().ok(), origin);
            issuer.setup_link("t")
        };
        let (url, own) = (Some("https://keys.example.com"), "http://127.0.0.1:7300");
        assert_eq!(
            link(url, "127.0.0.1:7300", own),
            "https://keys.example.com/setup?token=t"
        );
        assert_eq!(link(url, "", ""), "https://keys.example.com/setup?token=t");
        assert_eq!(link(None, "0.0.0.0:7300", own), "http://127.0.0.1:7300/setup?token=t");
        assert_eq!(link(None, "", ""), "/setup?token=t");
    }
}
