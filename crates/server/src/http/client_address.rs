//! Determines the client's address: that of the connection, or the one that trusted proxies report.

use crate::edge::Peer;
use hyper::HeaderMap;
use keyreeve_core::limits::{Networks, network};
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

const FORWARDED_FOR: &str = "x-forwarded-for";
/// The name of all proxies that connect by a Unix socket.
const UNIX: &str = "unix";

/// A proxy, or a network of proxies, whose `X-Forwarded-For` is trusted.
#[derive(Clone, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(try_from = "String")]
pub enum TrustedProxy {
    /// Connections from these addresses.
    Network(Networks),
    /// Connections by a Unix socket of `--listen`.
    Unix,
}

impl FromStr for TrustedProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == UNIX {
            return Ok(Self::Unix);
        }
        let networks = network(text).and_then(|network| Networks::new(vec![network]));
        networks.map(Self::Network).map_err(|error| {
            format!(
                "{text:?} is not a trusted proxy: write an address, a network such as 10.0.0.0/8, or unix ({error})"
            )
        })
    }
}

impl TryFrom<String> for TrustedProxy {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl TrustedProxy {
    /// Returns whether a hop is one of these proxies; `None` is a Unix socket.
    fn covers(&self, hop: Option<IpAddr>) -> bool {
        match (self, hop) {
            (Self::Network(networks), Some(hop)) => {
                networks.as_slice().iter().any(|one| one.contains(&hop.to_canonical()))
            }
            (Self::Unix, None) => true,
            _ => false,
        }
    }
}

/// Whether a peer is one of the proxies; `None` is a Unix socket.
pub(crate) fn is_trusted(trusted: &[TrustedProxy], peer: Option<IpAddr>) -> bool {
    trusted.iter().any(|proxy| proxy.covers(peer))
}

/// Returns the client's address: the last hop before the server that is no trusted proxy. Each trusted proxy appends
/// the address of its own peer to `X-Forwarded-For`, so the list is read from its end. Entries before the first
/// untrusted hop were written by that hop and are ignored.
pub(crate) fn client(trusted: &[TrustedProxy], peer: &Peer, headers: &HeaderMap) -> Option<IpAddr> {
    if trusted.is_empty() {
        return peer.address;
    }
    let is_trusted = |hop: Option<IpAddr>| !peer.is_operator && is_trusted(trusted, hop);
    let mut hop = peer.address;
    let said = headers.get_all(FORWARDED_FOR).iter().rev();
    let mut said = said.flat_map(|value| value.as_bytes().rsplit(|&byte| byte == b','));
    while is_trusted(hop) {
        match said.next().and_then(address) {
            Some(before) => hop = Some(before),
            None => break,
        }
    }
    hop
}

/// Parses an address as proxies write it: plain, in brackets, or with a port.
fn address(part: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(part).ok()?.trim_matches([' ', '\t']);
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let alone = bare.parse::<IpAddr>().ok();
    let address = alone.or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::seats::{SeatLimits, Seats};
    use hyper::header::HeaderValue;

    fn of(trusted: &[&str], peer: &Peer, said: &[&str]) -> Option<String> {
        let trusted: Vec<_> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for value in said {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(value).unwrap());
        }
        client(&trusted, peer, &headers).map(|address| address.to_string())
    }

    fn at(address: &str) -> Peer {
        let seat = Seats::new(SeatLimits::reserved()).take(None).unwrap();
        Peer::at(address.parse().unwrap(), seat)
    }

    #[test]
    fn without_trusted_proxies_the_other_end_is_the_client() {
        assert_eq!(of(&[], &at("10.0.0.1"), &["192.0.2.1"]).as_deref(), Some("10.0.0.1"));
        assert_eq!(
            of(&["10.0.0.2"], &at("10.0.0.1"), &["192.0.2.1"]).as_deref(),
            Some("10.0.0.1")
        );
    }

    #[test]
    fn the_client_is_the_last_hop_that_is_not_trusted() {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"];
        let client = |said: &[&str]| of(&trusted, &at("10.0.0.1"), said);
        assert_eq!(client(&["192.0.2.1"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(client(&["203.0.113.9, 192.0.2.1"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(
            client(&["203.0.113.9", "192.0.2.1, 10.9.9.9"]).as_deref(),
            Some("192.0.2.1")
        );
        assert_eq!(client(&["192.0.2.1,[2001:db8::1]:443"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(client(&["192.0.2.1:5000"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(client(&["::ffff:192.0.2.1"]).as_deref(), Some("192.0.2.1"));
        // All hops are trusted: the first one is the origin.
        assert_eq!(client(&["10.1.1.1, 10.2.2.2"]).as_deref(), Some("10.1.1.1"));
    }

    #[test]
    fn what_is_no_address_ends_the_list() {
        let client = |said: &[&str]| of(&["10.0.0.0/8"], &at("::ffff:10.0.0.1"), said);
        assert_eq!(client(&[]).as_deref(), Some("::ffff:10.0.0.1"));
        assert_eq!(client(&["192.0.2.1, unknown"]).as_deref(), Some("::ffff:10.0.0.1"));
        assert_eq!(client(&["192.0.2.1, , 10.2.2.2"]).as_deref(), Some("10.2.2.2"));
        assert_eq!(client(&[""]).as_deref(), Some("::ffff:10.0.0.1"));
    }

    #[test]
    fn a_unix_socket_is_trusted_by_name_and_the_operators_never() {
        let public = Peer {
            address: None,
            ..at("10.0.0.1")
        };
        assert_eq!(of(&["unix"], &public, &["192.0.2.1"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(of(&["127.0.0.1"], &public, &["192.0.2.1"]), None);
        let operator = Peer {
            is_operator: true,
            ..public
        };
        assert_eq!(of(&["unix"], &operator, &["192.0.2.1"]), None);
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for wrong in ["", "*", "10.0.0.1/8", "localhost", "Unix", "10.0.0.0/33"] {
            assert!(wrong.parse::<TrustedProxy>().is_err(), "{wrong}");
        }
    }
}
