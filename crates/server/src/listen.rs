//! Listen addresses: a network address, or a Unix socket.

use serde::Deserialize;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use thiserror::Error;

const UNIX: &str = "unix:";

/// A listen address.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub enum Listen {
    /// An address and a port; port 0 selects any free one.
    Tcp(SocketAddr),
    /// A Unix socket. A process that may open it can connect; its credential decides what it may do, as on the network.
    Unix(PathBuf),
}

/// The text is no listen address.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("write ADDRESS:PORT, such as 127.0.0.1:7300 or [::1]:7300, or unix: and the absolute path of a socket")]
pub struct NoPlace;

impl FromStr for Listen {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        match text.strip_prefix(UNIX) {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err(NoPlace),
            None => text.parse().map(Self::Tcp).map_err(|_| NoPlace),
        }
    }
}

impl TryFrom<String> for Listen {
    type Error = NoPlace;

    fn try_from(text: String) -> Result<Self, NoPlace> {
        text.parse()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_an_address_or_the_absolute_path_of_a_socket() {
        for text in ["127.0.0.1:7300", "[::1]:0", "unix:/run/keyreeve/api.sock"] {
            let place: Listen = text.parse().unwrap();
            assert_eq!(place.to_string(), text);
        }
        for text in [
            "",
            "7300",
            "localhost:7300",
            "127.0.0.1",
            "unix:",
            "unix:api.sock",
            "/run/api.sock",
        ] {
            assert_eq!(text.parse::<Listen>(), Err(NoPlace), "{text}");
        }
    }
}
